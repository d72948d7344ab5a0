"""MobileNetV1 (Howard et al. 2017): a depthwise and a pointwise convolution in turn, each with norm and activation.

Twice: as the first PyTorch implementations have it, with ReLU, and timm's, with ReLU6 and other names.
"""

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.activations import relu6
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class Separable(nn.Module):
    """Depthwise 3x3, then 1x1."""

    features: int
    stride: int
    relu6: bool

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        activated = relu6 if self.relu6 else nn.relu
        channels = x.shape[-1]
        x, depthwise = BatchNorm(name="bn1")(Conv(channels, 3, self.stride, groups=channels, name="conv_dw")(x))
        x, pointwise = BatchNorm(name="bn2")(Conv(self.features, 1, name="conv_pw")(activated(x)))
        return activated(x), (depthwise, pointwise)


class MobileNetV1(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); a mean over the whole map, where the first implementations took 7x7 of it."""

    num_classes: int
    width: int = 32
    stage_sizes: tuple[int, ...] = (1, 2, 2, 6, 2)
    remat: bool = False
    relu6 = False

    def block_name(self, stage: int, index: int) -> str:
        """Its place among all blocks, the stem being the first."""
        return f"model_{1 + sum(self.stage_sizes[:stage]) + index}"

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="bn1")(Conv(self.width, 3, 2, name="conv_stem")(image))
        x, stats = (relu6 if self.relu6 else nn.relu)(x), (stem,)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                x, block_stats = recomputed(Separable, self.remat)(
                    features=self.width * 2 ** (stage + 1),
                    stride=2 if stage > 0 and index == 0 else 1,
                    relu6=self.relu6,
                    name=self.block_name(stage, index),
                )(x)
                stats += block_stats
        return Dense(self.num_classes, name="classifier")(ops.global_average_pool(x)), stats


class TimmMobileNetV1(MobileNetV1):
    """timm's `mobilenetv1_100`."""

    relu6 = True

    def block_name(self, stage: int, index: int) -> str:
        """Its place in its stage."""
        return f"blocks_{stage}_{index}"
