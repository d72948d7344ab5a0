"""torchvision's RegNets (Radosavovic et al. 2020): X, and Y, which has squeeze-and-excitation as well.

What the paper's parameterisation gives, widths in steps of 8 that their groups divide, is in the registry, stage by stage.
"""

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed
from jinv.models.squeeze_excitation import SqueezeExcitation


class Block(nn.Module):
    """1x1, 3x3 (grouped and strided), squeezed to a quarter of the *input*, 1x1; nothing is wider than the rest."""

    features: int
    stride: int
    group_width: int
    excited: bool

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        shortcut = x
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut, projected = BatchNorm(name="proj_1")(Conv(self.features, 1, self.stride, name="proj_0")(x))
            stats = (projected,)
        y, a = BatchNorm(name="a_1")(Conv(self.features, 1, name="a_0")(x))
        groups = self.features // self.group_width
        y, b = BatchNorm(name="b_1")(Conv(self.features, 3, self.stride, groups=groups, name="b_0")(nn.relu(y)))
        y = nn.relu(y)
        if self.excited:
            y = SqueezeExcitation(round(x.shape[-1] / 4), name="se")(y)
        y, c = BatchNorm(name="c_1")(Conv(self.features, 1, name="c_0")(y))
        return nn.relu(shortcut + y), (*stats, a, b, c)


class RegNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); stage by stage the number of blocks, their channels, and those of a group."""

    num_classes: int
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    excited: bool
    stem_features: int = 32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="stem_1")(Conv(self.stem_features, 3, 2, name="stem_0")(image))
        x, stats = nn.relu(x), (stem,)
        block = recomputed(Block, self.remat)
        stages = zip(self.stage_sizes, self.widths, self.group_widths, strict=True)
        for stage, (blocks, features, group_width) in enumerate(stages, start=1):
            for index in range(blocks):
                stride = 2 if index == 0 else 1
                x, block_stats = block(features, stride, group_width, self.excited, name=f"block{stage}_{index}")(x)
                stats += block_stats
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(x)), stats
