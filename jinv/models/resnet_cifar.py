"""The ResNets for 32-pixel images of He et al. (2015), section 4.2: 3x3 stem, three stages, "option A" shortcuts."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an "option A" shortcut."""

    planes: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        y, stats1 = BatchNorm(name="bn1")(Conv(self.planes, stride=self.stride, name="conv1")(x))
        y, stats2 = BatchNorm(name="bn2")(Conv(self.planes, name="conv2")(nn.relu(y)))
        if self.stride != 1 or x.shape[-1] != self.planes:
            # Every second pixel; the new channels are zeros, a quarter of the new width on each side.
            quarter = self.planes // 4
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (quarter, quarter)))
        return nn.relu(y + x), (stats1, stats2)


class ResNetCifar(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); depth is 6 * blocks_per_stage + 2."""

    num_classes: int
    blocks_per_stage: int
    width: int = 16
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="bn1")(Conv(self.width, name="conv1")(image))
        x = nn.relu(x)
        stats: Stats = (stem,)
        block_class = recomputed(BasicBlock, self.remat)
        for stage in range(3):
            for index in range(self.blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                block = block_class(self.width * 2**stage, stride, name=f"layer{stage + 1}_{index}")
                x, block_stats = block(x)
                stats += block_stats
        return Dense(self.num_classes, name="linear")(ops.global_average_pool(x)), stats
