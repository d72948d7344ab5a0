"""torchvision's MobileNetV2, and the same under older names; the activation is ReLU6, as in EfficientNet-Lite."""

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.activations import relu6
from jinv.models.efficientnet_lite import scale_features
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed

# expansion, features, repeats, stride
BLOCK_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand 1x1 (absent where `expansion` is 1), depthwise 3x3, project 1x1 without activation."""

    features: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        y, index = x, 0
        if self.expansion != 1:
            y = Conv(x.shape[-1] * self.expansion, 1, name="conv_0_0")(x)
            y, expand = BatchNorm(name="conv_0_1")(y)
            y, stats, index = relu6(y), (expand,), 1
        channels = y.shape[-1]
        y = Conv(channels, 3, self.stride, groups=channels, name=f"conv_{index}_0")(y)
        y, depthwise = BatchNorm(name=f"conv_{index}_1")(y)
        y = Conv(self.features, 1, name=f"conv_{index + 1}")(relu6(y))
        y, project = BatchNorm(name=f"conv_{index + 2}")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            y += x
        return y, (*stats, depthwise, project)


class MobileNetV2(nn.Module):
    """(N, H, W, 3) -> (logits, statistics)."""

    num_classes: int
    width_coefficient: float = 1.0
    remat: bool = False

    @property
    def stem_features(self) -> int:
        """Channels after the first convolution."""
        return scale_features(32, self.width_coefficient)

    @property
    def head_inputs(self) -> int:
        """Channels that the last block hands to the head."""
        return scale_features(BLOCK_GROUPS[-1][1], self.width_coefficient)

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x = Conv(self.stem_features, 3, 2, name="features_0_0")(image)
        x, stem = BatchNorm(name="features_0_1")(x)
        stats: Stats = (stem,)
        block = recomputed(InvertedResidual, self.remat)
        x, index = relu6(x), 1
        for expansion, features, repeats, first_stride in BLOCK_GROUPS:
            for repeat in range(repeats):
                features_scaled = scale_features(features, self.width_coefficient)
                stride = first_stride if repeat == 0 else 1
                x, block_stats = block(features_scaled, stride, expansion, name=f"features_{index}")(x)
                stats, index = stats + block_stats, index + 1
        x = Conv(scale_features(1280, max(1.0, self.width_coefficient)), 1, name=f"features_{index}_0")(x)
        x, head = BatchNorm(name=f"features_{index}_1")(x)
        return Dense(self.num_classes, name="classifier_1")(ops.global_average_pool(relu6(x))), (*stats, head)


class FlatMobileNetV2(MobileNetV2):
    """The same network in files of before torchvision had one, whose blocks are Sequentials without Sequentials inside."""
