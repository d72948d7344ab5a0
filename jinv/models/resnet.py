"""torchvision's ResNets, ResNeXts and Wide ResNets (v1.5: the stride is on the 3x3 convolution)."""

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
    expansion = 1

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        y, stats1 = BatchNorm(name="bn1")(Conv(self.planes, stride=self.stride, name="conv1")(x))
        y, stats2 = BatchNorm(name="bn2")(Conv(self.planes, name="conv2")(nn.relu(y)))
        shortcut, stats = _shortcut(x, y.shape[-1], self.stride)
        return nn.relu(y + shortcut), (stats1, stats2, *stats)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped and strided), 1x1 to four times the planes."""

    planes: int
    stride: int = 1
    groups: int = 1
    width_per_group: int = 64
    expansion = 4

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        width = self.planes * self.width_per_group // 64 * self.groups
        y, stats1 = BatchNorm(name="bn1")(Conv(width, 1, name="conv1")(x))
        y = Conv(width, stride=self.stride, groups=self.groups, name="conv2")(nn.relu(y))
        y, stats2 = BatchNorm(name="bn2")(y)
        y, stats3 = BatchNorm(name="bn3")(Conv(self.expansion * self.planes, 1, name="conv3")(nn.relu(y)))
        shortcut, stats = _shortcut(x, y.shape[-1], self.stride)
        return nn.relu(y + shortcut), (stats1, stats2, stats3, *stats)


def _shortcut(x: Array, features: int, stride: int) -> tuple[Array, Stats]:
    """The block's input, projected where its shape changes; the layers belong to the block that calls this."""
    if stride == 1 and x.shape[-1] == features:
        return x, ()
    x, stats = BatchNorm(name="downsample_1")(Conv(features, 1, stride, name="downsample_0")(x))
    return x, (stats,)


class ResNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); `width` is that of the stem and of the first stage's planes."""

    num_classes: int
    stage_sizes: tuple[int, ...]
    bottleneck: bool
    groups: int = 1
    width_per_group: int = 64
    width: int = 64
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="bn1")(Conv(self.width, 7, 2, name="conv1")(image))
        x = pooling.max_pool(nn.relu(x), window=3, stride=2, padding=ops.symmetric(1))
        stats: Stats = (stem,)
        block = recomputed(Bottleneck if self.bottleneck else BasicBlock, self.remat)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                x, block_stats = block(
                    planes=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    groups=self.groups,
                    width_per_group=self.width_per_group,
                    name=f"layer{stage + 1}_{index}",
                )(x)
                stats += block_stats
        return Dense(self.num_classes, name="fc")(ops.global_average_pool(x)), stats
