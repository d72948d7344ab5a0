"""EfficientNet-Lite0/1/2: MobileNet-like blocks, ReLU6, no squeeze-and-excitation, stem and head not scaled.

Padding is TensorFlow's "SAME" *at the nominal image size*, kept at every other size: the PyTorch files are run
that way, and true "SAME" moves the logits by 1.7 at 112 pixels.
"""

import math
from typing import NamedTuple

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.activations import relu6
from jinv.models.formulations import Padding
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed

EPSILON = 1e-3


class BlockGroup(NamedTuple):
    """A stage before scaling."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    features: int


BLOCK_GROUPS = (
    BlockGroup(1, 3, 1, 1, 16),
    BlockGroup(2, 3, 2, 6, 24),
    BlockGroup(2, 5, 2, 6, 40),
    BlockGroup(3, 3, 2, 6, 80),
    BlockGroup(3, 5, 1, 6, 112),
    BlockGroup(4, 5, 2, 6, 192),
    BlockGroup(1, 3, 1, 6, 320),
)


def scale_features(features: int, coefficient: float) -> int:
    """The nearest multiple of 8, at least 8 and at least 90 % of the exact product."""
    exact = features * coefficient
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def same_padding(size: int, kernel_size: int, stride: int) -> Padding:
    """TensorFlow's pads for a square image of `size`: the odd pixel goes below and to the right."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
    pads = (total // 2, total - total // 2)
    return (pads, pads)


class InvertedResidual(nn.Module):
    """Expand 1x1 (absent where `expansion` is 1), depthwise, project 1x1 without activation."""

    features: int
    kernel_size: int
    stride: int
    expansion: int
    padding: Padding

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        y = x
        if self.expansion != 1:
            y, expand = BatchNorm(EPSILON, name="bn0")(Conv(x.shape[-1] * self.expansion, 1, name="expand_conv")(x))
            y, stats = relu6(y), (expand,)
        channels = y.shape[-1]
        y = Conv(channels, self.kernel_size, self.stride, self.padding, channels, name="depthwise_conv")(y)
        y, depthwise = BatchNorm(EPSILON, name="bn1")(y)
        y, project = BatchNorm(EPSILON, name="bn2")(Conv(self.features, 1, name="project_conv")(relu6(y)))
        if self.stride == 1 and x.shape[-1] == self.features:
            y += x
        return y, (*stats, depthwise, project)


class EfficientNetLite(nn.Module):
    """(N, H, W, 3) -> (logits, statistics)."""

    num_classes: int
    width_coefficient: float
    depth_coefficient: float
    nominal_size: int
    remat: bool = False

    @property
    def groups(self) -> tuple[BlockGroup, ...]:
        """The stages after scaling; the first and the last are never repeated more often."""
        first, *middle, last = BLOCK_GROUPS
        deeper = [group._replace(repeats=math.ceil(group.repeats * self.depth_coefficient)) for group in middle]
        return tuple(
            group._replace(features=scale_features(group.features, self.width_coefficient))
            for group in (first, *deeper, last)
        )

    @property
    def num_blocks(self) -> int:
        """Length of the chain of blocks."""
        return sum(group.repeats for group in self.groups)

    @property
    def head_inputs(self) -> int:
        """Channels that the last block hands to the head."""
        return self.groups[-1].features

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        size = self.nominal_size
        x = Conv(32, 3, 2, same_padding(size, 3, 2), name="conv_stem")(image)
        x, stem = BatchNorm(EPSILON, name="bn0")(x)
        stats: Stats = (stem,)
        x, size = relu6(x), math.ceil(size / 2)
        blocks = [(group, repeat) for group in self.groups for repeat in range(group.repeats)]
        for index, (group, repeat) in enumerate(blocks):
            stride = group.stride if repeat == 0 else 1
            x, block_stats = recomputed(InvertedResidual, self.remat)(
                features=group.features,
                kernel_size=group.kernel_size,
                stride=stride,
                expansion=group.expansion,
                padding=same_padding(size, group.kernel_size, stride),
                name=f"blocks_{index}",
            )(x)
            stats += block_stats
            size = math.ceil(size / stride)
        x, head = BatchNorm(EPSILON, name="bn1")(Conv(1280, 1, name="conv_head")(x))
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(relu6(x))), (*stats, head)
