"""torchvision's Inception v3 (Szegedy et al. 2015), without its auxiliary head.

Before the mixed blocks one convolution alone is padded, and those that halve the image are not: it has at least 75 pixels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops, pooling
from jinv.models.googlenet import ConvNorm
from jinv.models.layers import Dense, Stats, recomputed

WIDTHS_OF_7X7 = (128, 160, 160, 192)
WIDTHS_OF_POOLS = (32, 64, 64)
ROW, COLUMN = (1, 7), (7, 1)
SHORT_ROW, SHORT_COLUMN = (1, 3), (3, 1)

Layer = tuple[str, int, int | tuple[int, int]]
"""Name, features and kernel."""


class _Mixed(nn.Module):
    """Branches side by side; `unit` is what one of 32 channels of the published network has become, in 32nds."""

    unit: int

    def scaled(self, features: int) -> int:
        """Channels where the published network has `features`."""
        return max(features * self.unit // 32, 1)

    def chain(self, x: Array, *layers: Layer, last: tuple[int, bool] = (1, True)) -> tuple[Array, Stats]:
        """Convolutions one after another; the last one's stride, and whether it is padded, may be others."""
        stats: Stats = ()
        for number, (name, features, kernel) in enumerate(layers, 1):
            stride, padded = last if number == len(layers) else (1, True)
            padding = None if padded else ops.NO_PADDING
            x, more = ConvNorm(self.scaled(features), kernel, stride, padding, name=name)(x)
            stats += more
        return x, stats

    def fork(self, x: Array, name: str, features: int) -> tuple[Array, Stats]:
        """A row and a column of three pixels side by side."""
        row, stats = self.chain(x, (f"{name}a", features, SHORT_ROW))
        column, more = self.chain(x, (f"{name}b", features, SHORT_COLUMN))
        return jnp.concatenate([row, column], axis=-1), stats + more

    def pooled(self, x: Array, features: int) -> tuple[Array, Stats]:
        """The branch behind a mean over 3x3 pixels."""
        return self.chain(pooling.smoothed(x), ("branch_pool", features, 1))


def _side_by_side(*branches: tuple[Array, Stats]) -> tuple[Array, Stats]:
    outputs, stats = zip(*branches, strict=True)
    return jnp.concatenate(outputs, axis=-1), sum(stats, start=())


class InceptionA(_Mixed):
    """At 35x35 pixels of 299: 1x1, 5x5, two 3x3."""

    pool_features: int = 64

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        return _side_by_side(
            self.chain(x, ("branch1x1", 64, 1)),
            self.chain(x, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
            self.chain(x, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
            self.pooled(x, self.pool_features),
        )


class InceptionB(_Mixed):
    """From 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        double = ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)
        return _side_by_side(
            self.chain(x, ("branch3x3", 384, 3), last=(2, False)),
            self.chain(x, *double, last=(2, False)),
            (pooling.max_pool(x, window=3, stride=2), ()),
        )


class InceptionC(_Mixed):
    """At 17x17: rows and columns of seven pixels."""

    features: int = 128

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        kernels = (1, COLUMN, ROW, COLUMN, ROW)
        features = (*[self.features] * 4, 192)
        double = [(f"branch7x7dbl_{i + 1}", features[i], kernels[i]) for i in range(5)]
        return _side_by_side(
            self.chain(x, ("branch1x1", 192, 1)),
            self.chain(
                x, ("branch7x7_1", self.features, 1), ("branch7x7_2", self.features, ROW), ("branch7x7_3", 192, COLUMN)
            ),
            self.chain(x, *double),
            self.pooled(x, 192),
        )


class InceptionD(_Mixed):
    """From 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        kernels = (1, ROW, COLUMN, 3)
        return _side_by_side(
            self.chain(x, ("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3), last=(2, False)),
            self.chain(x, *((f"branch7x7x3_{i + 1}", 192, kernels[i]) for i in range(4)), last=(2, False)),
            (pooling.max_pool(x, window=3, stride=2), ()),
        )


class InceptionE(_Mixed):
    """At 8x8: rows and columns of three pixels side by side."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        one = self.chain(x, ("branch1x1", 320, 1))
        y, stats = self.chain(x, ("branch3x3_1", 384, 1))
        y, more = self.fork(y, "branch3x3_2", 384)
        z, stats_of_double = self.chain(x, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
        z, more_of_double = self.fork(z, "branch3x3dbl_3", 384)
        return _side_by_side(one, (y, stats + more), (z, stats_of_double + more_of_double), self.pooled(x, 192))


class InceptionV3(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); `stage_sizes` are the blocks of kinds A, C and E, `width` the stem's."""

    num_classes: int
    width: int = 32
    stage_sizes: tuple[int, ...] = (3, 4, 2)
    remat: bool = False

    @property
    def blocks(self) -> list[tuple[str, Callable[..., Any]]]:
        """Name and class of each mixed block, in order."""
        of_pools, of_rows, last = self.stage_sizes
        stages: tuple[list[Callable[..., Any]], ...] = (
            [partial(InceptionA, pool_features=features) for features in WIDTHS_OF_POOLS[:of_pools]],
            [InceptionB, *(partial(InceptionC, features=features) for features in WIDTHS_OF_7X7[:of_rows])],
            [InceptionD, *[InceptionE] * last],
        )
        first = "baa"
        return [
            (f"Mixed_{stage + 5}{chr(ord(first[stage]) + index)}", block)
            for stage, blocks in enumerate(stages)
            for index, block in enumerate(blocks)
        ]

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        bare, width = ops.NO_PADDING, self.width
        x, stats = ConvNorm(width, 3, 2, bare, name="Conv2d_1a_3x3")(image)
        x, more = ConvNorm(width, 3, 1, bare, name="Conv2d_2a_3x3")(x)
        stats += more
        x, more = ConvNorm(2 * width, 3, name="Conv2d_2b_3x3")(x)
        stats += more
        x, more = ConvNorm(80 * width // 32, name="Conv2d_3b_1x1")(pooling.max_pool(x, window=3, stride=2))
        stats += more
        x, more = ConvNorm(6 * width, 3, 1, bare, name="Conv2d_4a_3x3")(x)
        x, stats = pooling.max_pool(x, window=3, stride=2), stats + more
        for name, block in self.blocks:
            x, more = recomputed(block, self.remat)(unit=width, name=name)(x)
            stats += more
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(x)), stats
