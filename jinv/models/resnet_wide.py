"""Wide ResNets for 32-pixel images (Zagoruyko and Komodakis 2016), as distillation and robust training name their layers."""

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class WideBlock(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice; where the width changes the shortcut starts behind the first ReLU."""

    planes: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        y, stats1 = BatchNorm(name="bn1")(x)
        y = nn.relu(y)
        if x.shape[-1] != self.planes:
            x = Conv(self.planes, 1, self.stride, name="convShortcut")(y)
        y, stats2 = BatchNorm(name="bn2")(Conv(self.planes, stride=self.stride, name="conv1")(y))
        return x + Conv(self.planes, name="conv2")(nn.relu(y)), (stats1, stats2)


class ResNetWide(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); depth is 6 * blocks_per_stage + 4, `width` that of the first stage."""

    num_classes: int
    blocks_per_stage: int
    width: int
    stem_width: int = 16
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x = Conv(self.stem_width, name="conv1")(image)
        stats: Stats = ()
        block_class = recomputed(WideBlock, self.remat)
        for stage in range(3):
            for index in range(self.blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                block = block_class(self.width * 2**stage, stride, name=f"block{stage + 1}_layer_{index}")
                x, block_stats = block(x)
                stats += block_stats
        x, last = BatchNorm(name="bn1")(x)
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(nn.relu(x))), (*stats, last)
