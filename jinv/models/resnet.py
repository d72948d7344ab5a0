"""torchvision's ResNets, ResNeXts and Wide ResNets (v1.5: the stride is on the 3x3 convolution), CIFAR's, timm's ResNet-D.

ResNet-D (He et al. 2018, "Bag of tricks") has three 3x3 convolutions for the 7x7 one and halves a shortcut's image by means.
"""

from typing import Literal

import flax.linen as nn
from jax import Array

from jinv.models import ops, pooling
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    planes: int
    stride: int = 1
    groups: int = 1
    width_per_group: int = 64
    pooled_shortcut: bool = False
    expansion = 1

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        y, stats1 = BatchNorm(name="bn1")(Conv(self.planes, stride=self.stride, name="conv1")(x))
        y, stats2 = BatchNorm(name="bn2")(Conv(self.planes, name="conv2")(nn.relu(y)))
        shortcut, stats = _shortcut(x, y.shape[-1], self.stride, self.pooled_shortcut)
        return nn.relu(y + shortcut), (stats1, stats2, *stats)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped and strided), 1x1 to four times the planes."""

    planes: int
    stride: int = 1
    groups: int = 1
    width_per_group: int = 64
    pooled_shortcut: bool = False
    expansion = 4

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        width = self.planes * self.width_per_group // 64 * self.groups
        y, stats1 = BatchNorm(name="bn1")(Conv(width, 1, name="conv1")(x))
        y = Conv(width, stride=self.stride, groups=self.groups, name="conv2")(nn.relu(y))
        y, stats2 = BatchNorm(name="bn2")(y)
        y, stats3 = BatchNorm(name="bn3")(Conv(self.expansion * self.planes, 1, name="conv3")(nn.relu(y)))
        shortcut, stats = _shortcut(x, y.shape[-1], self.stride, self.pooled_shortcut)
        return nn.relu(y + shortcut), (stats1, stats2, stats3, *stats)


def _shortcut(x: Array, features: int, stride: int, pooled: bool) -> tuple[Array, Stats]:
    """The block's input, projected where its shape changes; the layers belong to the block that calls this.

    With `pooled` means halve it, the last one of an odd length of what is there, and the names count that as a place.
    """
    if stride == 1 and x.shape[-1] == features:
        return x, ()
    if pooled:
        x = pooling.average_pool(x, window=2, ceil=True) if stride == 2 else x
        x, stats = BatchNorm(name="downsample_2")(Conv(features, 1, name="downsample_1")(x))
    else:
        x, stats = BatchNorm(name="downsample_1")(Conv(features, 1, stride, name="downsample_0")(x))
    return x, (stats,)


class ResNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); `width` is that of the first stage's planes, and of the stem if not stated.

    `stem` is the first convolution: 7x7 with stride 2 before a max-pool, or, for 32-pixel images, 3x3 with stride 1,
    which only few networks pool after. Those have three stages or four.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    bottleneck: bool
    groups: int = 1
    width_per_group: int = 64
    width: int = 64
    stem: Literal["7x7", "3x3", "3x3 pooled"] = "7x7"
    stem_width: int | None = None
    remat: bool = False
    pooled_shortcut = False

    @property
    def stem_kernel(self) -> int:
        """Height and width of the first kernel."""
        return int(self.stem[0])

    def convolved(self, image: Array) -> tuple[Array, Stats]:
        """What the first norm that all kinds have is given."""
        stride = 2 if self.stem == "7x7" else 1
        return Conv(self.stem_width or self.width, self.stem_kernel, stride, name="conv1")(image), ()

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stats = self.convolved(image)
        x, last = BatchNorm(name="bn1")(x)
        x, stats = nn.relu(x), (*stats, last)
        if self.stem != "3x3":
            x = pooling.max_pool(x, window=3, stride=2, padding=ops.symmetric(1))
        block = recomputed(Bottleneck if self.bottleneck else BasicBlock, self.remat)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                x, block_stats = block(
                    planes=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    groups=self.groups,
                    width_per_group=self.width_per_group,
                    pooled_shortcut=self.pooled_shortcut,
                    name=f"layer{stage + 1}_{index}",
                )(x)
                stats += block_stats
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(x)), stats


class ShortcutResNet(ResNet):
    """The same where the layers are called `shortcut` and `linear`: kuangliu's, the robustness package's, "option B"."""


class ResNetD(ResNet):
    """timm's `resnet50d` and its like."""

    pooled_shortcut = True

    def convolved(self, image: Array) -> tuple[Array, Stats]:
        """Three 3x3 convolutions, the first two half as wide."""
        x, first = BatchNorm(name="conv1_1")(Conv(self.width // 2, 3, 2, name="conv1_0")(image))
        x, second = BatchNorm(name="conv1_4")(Conv(self.width // 2, 3, name="conv1_3")(nn.relu(x)))
        return Conv(self.width, 3, name="conv1_6")(nn.relu(x)), (first, second)
