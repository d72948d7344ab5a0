"""ResNets with norms before convolutions (He et al. 2016, "Identity mappings") for 32-pixel images, as kuangliu names them."""

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 to four times the planes; a projected shortcut has no norm of its own.

    The projection sees what is behind the first ReLU; with `raw_shortcut`, the block's input.
    """

    planes: int
    bottleneck: bool
    stride: int = 1
    raw_shortcut: bool = False

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        features = self.planes * (4 if self.bottleneck else 1)
        layers: tuple[tuple[int, int, int], ...] = ((self.planes, 3, self.stride), (self.planes, 3, 1))
        if self.bottleneck:
            layers = ((self.planes, 1, 1), (self.planes, 3, self.stride), (features, 1, 1))
        stats: Stats = ()
        y, shortcut = x, x
        for number, (outputs, kernel_size, stride) in enumerate(layers, 1):
            y, layer_stats = BatchNorm(name=f"bn{number}")(y)
            y, stats = nn.relu(y), (*stats, layer_stats)
            if number == 1 and (self.stride != 1 or x.shape[-1] != features):
                shortcut = Conv(features, 1, self.stride, name="shortcut_0")(x if self.raw_shortcut else y)
            y = Conv(outputs, kernel_size, stride, name=f"conv{number}")(y)
        return y + shortcut, stats


class ResNetPreAct(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); only networks with `final_norm` have norm and ReLU after the last block."""

    num_classes: int
    stage_sizes: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    final_norm: bool = False
    raw_shortcut: bool = False
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x = Conv(self.width, name="conv1")(image)
        stats: Stats = ()
        block_class = recomputed(PreActBlock, self.remat)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"layer{stage + 1}_{index}"
                block = block_class(self.width * 2**stage, self.bottleneck, stride, self.raw_shortcut, name=name)
                x, block_stats = block(x)
                stats += block_stats
        if self.final_norm:
            x, last = BatchNorm(name="bn")(x)
            x, stats = nn.relu(x), (*stats, last)
        return Dense(self.num_classes, name="linear")(ops.global_average_pool(x)), stats
