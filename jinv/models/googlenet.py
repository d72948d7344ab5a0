"""torchvision's GoogLeNet (Szegedy et al. 2014) with batch normalization, without its auxiliary heads.

Its third branch has 3x3 kernels where the paper has 5x5 ones: the published weights were trained so.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops, pooling
from jinv.models.formulations import Padding
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed

EPSILON = 1e-3

# of each branch: 1x1; reduced, 3x3; reduced, the other 3x3; behind the pool
BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
POOLS = (3, 2, None)
"""Window of the maximum, stride 2, behind each stage."""


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    features: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: Padding | None = None

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        x = Conv(self.features, self.kernel_size, self.stride, self.padding, name="conv")(x)
        x, stats = BatchNorm(EPSILON, name="bn")(x)
        return nn.relu(x), (stats,)


class Inception(nn.Module):
    """Four branches side by side."""

    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        one, reduced, three, reduced_again, three_again, projected = self.features
        y1, stats1 = ConvNorm(one, name="branch1")(x)
        y2, stats2 = ConvNorm(reduced, name="branch2_0")(x)
        y2, stats3 = ConvNorm(three, 3, name="branch2_1")(y2)
        y3, stats4 = ConvNorm(reduced_again, name="branch3_0")(x)
        y3, stats5 = ConvNorm(three_again, 3, name="branch3_1")(y3)
        y4 = pooling.max_pool(x, window=3, stride=1, padding=ops.symmetric(1))
        y4, stats6 = ConvNorm(projected, name="branch4_1")(y4)
        return jnp.concatenate([y1, y2, y3, y4], axis=-1), stats1 + stats2 + stats3 + stats4 + stats5 + stats6


class GoogLeNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); of each stage's blocks the first `stage_sizes`."""

    num_classes: int
    width: int = 64
    stage_sizes: tuple[int, ...] = (2, 5, 2)
    remat: bool = False

    def scaled(self, features: int) -> int:
        """Channels where the published network has `features`."""
        return max(features * self.width // 64, 1)

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stats = ConvNorm(self.width, 7, 2, name="conv1")(image)
        x, more = ConvNorm(self.width, name="conv2")(pooling.ceil_max_pool(x, window=3, stride=2))
        stats += more
        x, more = ConvNorm(3 * self.width, 3, name="conv3")(x)
        x, stats = pooling.ceil_max_pool(x, window=3, stride=2), stats + more
        for stage, (blocks, window) in enumerate(zip(BLOCKS, POOLS, strict=True)):
            for letter, features in zip("abcde", blocks[: self.stage_sizes[stage]], strict=False):
                scaled = tuple(map(self.scaled, features))
                x, more = recomputed(Inception, self.remat)(scaled, name=f"inception{stage + 3}{letter}")(x)
                stats += more
            x = pooling.ceil_max_pool(x, window=window, stride=2) if window else x
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(x)), stats
