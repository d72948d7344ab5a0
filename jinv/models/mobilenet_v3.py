"""torchvision's MobileNetV3, small and large (Howard et al. 2019); every width is a multiple of 8."""

from typing import NamedTuple

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.activations import hardsigmoid, hardswish
from jinv.models.efficientnet_lite import scale_features
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed
from jinv.models.squeeze_excitation import SqueezeExcitation

EPSILON = 1e-3


class Row(NamedTuple):
    """A block before scaling: its channels inside and behind it, whether it is squeezed, and whether it has hardswish."""

    kernel_size: int
    stride: int
    expanded: int
    features: int
    squeezed: bool
    swish: bool


# The paper's tables 1 (large) and 2 (small).
ROWS = {
    "large": (
        Row(3, 1, 16, 16, False, False),
        Row(3, 2, 64, 24, False, False),
        Row(3, 1, 72, 24, False, False),
        Row(5, 2, 72, 40, True, False),
        Row(5, 1, 120, 40, True, False),
        Row(5, 1, 120, 40, True, False),
        Row(3, 2, 240, 80, False, True),
        Row(3, 1, 200, 80, False, True),
        Row(3, 1, 184, 80, False, True),
        Row(3, 1, 184, 80, False, True),
        Row(3, 1, 480, 112, True, True),
        Row(3, 1, 672, 112, True, True),
        Row(5, 2, 672, 160, True, True),
        Row(5, 1, 960, 160, True, True),
        Row(5, 1, 960, 160, True, True),
    ),
    "small": (
        Row(3, 2, 16, 16, True, False),
        Row(3, 2, 72, 24, False, False),
        Row(3, 1, 88, 24, False, False),
        Row(5, 2, 96, 40, True, True),
        Row(5, 1, 240, 40, True, True),
        Row(5, 1, 240, 40, True, True),
        Row(5, 1, 120, 48, True, True),
        Row(5, 1, 144, 48, True, True),
        Row(5, 2, 288, 96, True, True),
        Row(5, 1, 576, 96, True, True),
        Row(5, 1, 576, 96, True, True),
    ),
}
HIDDEN = {"large": 1280, "small": 1024}


class InvertedResidual(nn.Module):
    """Expand 1x1 (absent where nothing is added), depthwise, squeeze-and-excitation where the row has it, project 1x1."""

    row: Row

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        kernel_size, stride, expanded, features, squeezed, swish = self.row
        activation = hardswish if swish else nn.relu
        stats: Stats = ()
        y, place = x, 0
        if expanded != x.shape[-1]:
            y, expand = BatchNorm(EPSILON, name="block_0_1")(Conv(expanded, 1, name="block_0_0")(x))
            y, stats, place = activation(y), (expand,), 1
        y = Conv(expanded, kernel_size, stride, groups=expanded, name=f"block_{place}_0")(y)
        y, depthwise = BatchNorm(EPSILON, name=f"block_{place}_1")(y)
        y, place = activation(y), place + 1
        if squeezed:
            y = SqueezeExcitation(scale_features(expanded // 4, 1.0), nn.relu, hardsigmoid, name=f"block_{place}")(y)
            place += 1
        y, project = BatchNorm(EPSILON, name=f"block_{place}_1")(Conv(features, 1, name=f"block_{place}_0")(y))
        if stride == 1 and x.shape[-1] == features:
            y += x
        return y, (*stats, depthwise, project)


class MobileNetV3(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); `variant` is "large" or "small"."""

    num_classes: int
    variant: str
    width_coefficient: float = 1.0
    remat: bool = False

    @property
    def rows(self) -> tuple[Row, ...]:
        """The blocks after scaling."""
        return tuple(
            row._replace(expanded=self._scaled(row.expanded), features=self._scaled(row.features))
            for row in ROWS[self.variant]
        )

    @property
    def num_blocks(self) -> int:
        """Length of the chain of blocks."""
        return len(ROWS[self.variant])

    @property
    def stem_features(self) -> int:
        """Channels after the first convolution."""
        return self._scaled(16)

    @property
    def head_inputs(self) -> int:
        """Channels that the last block hands to the head."""
        return self.rows[-1].features

    @property
    def hidden(self) -> int:
        """Width of the layer before the last."""
        return self._scaled(HIDDEN[self.variant])

    def _scaled(self, features: int) -> int:
        return scale_features(features, self.width_coefficient)

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(EPSILON, name="features_0_1")(Conv(self.stem_features, 3, 2, name="features_0_0")(image))
        x, stats = hardswish(x), (stem,)
        block = recomputed(InvertedResidual, self.remat)
        for index, row in enumerate(self.rows, start=1):
            x, block_stats = block(row, name=f"features_{index}")(x)
            stats += block_stats
        last = f"features_{self.num_blocks + 1}"
        x, head = BatchNorm(EPSILON, name=f"{last}_1")(Conv(6 * x.shape[-1], 1, name=f"{last}_0")(x))
        x = hardswish(Dense(self.hidden, name="classifier_0")(ops.global_average_pool(hardswish(x))))
        return Dense(self.num_classes, name="classifier_3")(x), (*stats, head)
