"""torchvision's EfficientNets (Tan and Le 2019): EfficientNet-Lite's stages, all of them scaled, with torch's own padding.

Every activation is SiLU, and each block weighs its channels by squeeze-and-excitation. B5 to B7 were trained with another
epsilon than B0 to B4, which no file records.
"""

import math

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.activations import silu
from jinv.models.efficientnet_lite import BLOCK_GROUPS, BlockGroup, scale_features
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed
from jinv.models.squeeze_excitation import SqueezeExcitation


class MBConv(nn.Module):
    """Expand 1x1 (absent where `expansion` is 1), depthwise, squeeze to a quarter of the input, project 1x1."""

    features: int
    kernel_size: int
    stride: int
    expansion: int
    epsilon: float

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        y, place = x, 0
        if self.expansion != 1:
            y = Conv(x.shape[-1] * self.expansion, 1, name="block_0_0")(x)
            y, expand = BatchNorm(self.epsilon, name="block_0_1")(y)
            y, stats, place = silu(y), (expand,), 1
        channels = y.shape[-1]
        y = Conv(channels, self.kernel_size, self.stride, groups=channels, name=f"block_{place}_0")(y)
        y, depthwise = BatchNorm(self.epsilon, name=f"block_{place}_1")(y)
        y = SqueezeExcitation(max(1, x.shape[-1] // 4), silu, name=f"block_{place + 1}")(silu(y))
        y = Conv(self.features, 1, name=f"block_{place + 2}_0")(y)
        y, project = BatchNorm(self.epsilon, name=f"block_{place + 2}_1")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            y += x
        return y, (*stats, depthwise, project)


class EfficientNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics)."""

    num_classes: int
    width_coefficient: float = 1.0
    depth_coefficient: float = 1.0
    epsilon: float = 1e-5
    remat: bool = False

    @property
    def groups(self) -> tuple[BlockGroup, ...]:
        """The stages after scaling."""
        return tuple(
            group._replace(
                repeats=math.ceil(group.repeats * self.depth_coefficient),
                features=scale_features(group.features, self.width_coefficient),
            )
            for group in BLOCK_GROUPS
        )

    @property
    def stem_features(self) -> int:
        """Channels after the first convolution."""
        return scale_features(32, self.width_coefficient)

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        return tuple(group.repeats for group in self.groups)

    @property
    def stage_features(self) -> tuple[int, ...]:
        """Channels after each stage."""
        return tuple(group.features for group in self.groups)

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(self.epsilon, name="features_0_1")(
            Conv(self.stem_features, 3, 2, name="features_0_0")(image)
        )
        x, stats = silu(x), (stem,)
        block = recomputed(MBConv, self.remat)
        for stage, group in enumerate(self.groups, start=1):
            for index in range(group.repeats):
                x, block_stats = block(
                    features=group.features,
                    kernel_size=group.kernel_size,
                    stride=group.stride if index == 0 else 1,
                    expansion=group.expansion,
                    epsilon=self.epsilon,
                    name=f"features_{stage}_{index}",
                )(x)
                stats += block_stats
        last = f"features_{len(self.groups) + 1}"
        x, head = BatchNorm(self.epsilon, name=f"{last}_1")(Conv(4 * x.shape[-1], 1, name=f"{last}_0")(x))
        return Dense(self.num_classes, name="classifier_1")(ops.global_average_pool(silu(x))), (*stats, head)
