"""torchvision's ShuffleNetV2 (Ma et al. 2018): half of the channels pass each block, and then both halves are interleaved."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops, pooling
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class ShuffleBlock(nn.Module):
    """To `features` channels; the second half of the input alone is worked on, all of it twice where the stride is 2."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        half = self.features // 2
        stats: Stats = ()
        if self.stride == 1:
            passed, x = jnp.split(x, 2, axis=-1)
        else:
            y = Conv(x.shape[-1], 3, self.stride, groups=x.shape[-1], name="branch1_0")(x)
            y, depthwise = BatchNorm(name="branch1_1")(y)
            y, pointwise = BatchNorm(name="branch1_3")(Conv(half, 1, name="branch1_2")(y))
            passed, stats = nn.relu(y), (depthwise, pointwise)
        y, first = BatchNorm(name="branch2_1")(Conv(half, 1, name="branch2_0")(x))
        y = Conv(half, 3, self.stride, groups=half, name="branch2_3")(nn.relu(y))
        y, depthwise = BatchNorm(name="branch2_4")(y)
        y, last = BatchNorm(name="branch2_6")(Conv(half, 1, name="branch2_5")(y))
        return interleaved(passed, nn.relu(y)), (*stats, first, depthwise, last)


def interleaved(a: Array, b: Array) -> Array:
    """(N, H, W, C) twice -> (N, H, W, 2 C): a channel of `a`, one of `b`, and so on."""
    return jnp.stack((a, b), axis=-1).reshape(*a.shape[:3], -1)


class ShuffleNetV2(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); `width` is that of the first stage and doubles in each that follows."""

    num_classes: int
    width: int
    head_features: int = 1024
    stage_sizes: tuple[int, ...] = (4, 8, 4)
    stem_features: int = 24
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="conv1_1")(Conv(self.stem_features, 3, 2, name="conv1_0")(image))
        x = pooling.max_pool(nn.relu(x), window=3, stride=2, padding=ops.symmetric(1))
        stats: Stats = (stem,)
        block = recomputed(ShuffleBlock, self.remat)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                stride = 2 if index == 0 else 1
                x, block_stats = block(self.width * 2**stage, stride, name=f"stage{stage + 2}_{index}")(x)
                stats += block_stats
        x, head = BatchNorm(name="conv5_1")(Conv(self.head_features, 1, name="conv5_0")(x))
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(nn.relu(x))), (*stats, head)
