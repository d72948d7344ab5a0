"""torchvision's DenseNets: every layer sees all earlier outputs of its block; norms come before convolutions."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops, pooling
from jinv.models.layers import BatchNorm, Conv, Dense, Stats, recomputed


class DenseLayer(nn.Module):
    """1x1 to four times the growth rate, 3x3 to the growth rate."""

    growth_rate: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        x, stats1 = BatchNorm(name="norm1")(x)
        x, stats2 = BatchNorm(name="norm2")(Conv(4 * self.growth_rate, 1, name="conv1")(nn.relu(x)))
        return Conv(self.growth_rate, name="conv2")(nn.relu(x)), (stats1, stats2)


class DenseBlock(nn.Module):
    """Appends every layer's output to its input."""

    num_layers: int
    growth_rate: int
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        layer = recomputed(DenseLayer, self.remat)
        for index in range(1, self.num_layers + 1):
            y, layer_stats = layer(self.growth_rate, name=f"denselayer{index}")(x)
            x, stats = jnp.concatenate([x, y], axis=-1), stats + layer_stats
        return x, stats


class Transition(nn.Module):
    """Halves channels, height and width."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Stats]:
        y, stats = BatchNorm(name="norm")(x)
        return pooling.average_pool(Conv(x.shape[-1] // 2, 1, name="conv")(nn.relu(y)), window=2), (stats,)


class Features(nn.Module):
    """Everything before the classifier."""

    block_sizes: tuple[int, ...]
    growth_rate: int
    width: int
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stem = BatchNorm(name="norm0")(Conv(self.width, 7, 2, name="conv0")(image))
        x = pooling.max_pool(nn.relu(x), window=3, stride=2, padding=ops.symmetric(1))
        stats: Stats = (stem,)
        for index, num_layers in enumerate(self.block_sizes, 1):
            x, block_stats = DenseBlock(num_layers, self.growth_rate, self.remat, name=f"denseblock{index}")(x)
            stats += block_stats
            if index < len(self.block_sizes):
                x, transition_stats = Transition(name=f"transition{index}")(x)
                stats += transition_stats
        x, last = BatchNorm(name="norm5")(x)
        return nn.relu(x), (*stats, last)


class DenseNet(nn.Module):
    """(N, H, W, 3) -> (logits, statistics)."""

    num_classes: int
    block_sizes: tuple[int, ...]
    growth_rate: int = 32
    width: int = 64
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x, stats = Features(self.block_sizes, self.growth_rate, self.width, self.remat, name="features")(image)
        return Dense(self.num_classes, name="classifier")(ops.global_average_pool(x)), stats
