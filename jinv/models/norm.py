"""Batch normalization at inference, which also measures what it sees."""

import flax.linen as nn
from jax import Array, lax

from jinv.core.types import NormStats
from jinv.models import ops
from jinv.models.leaves import leaf

Stats = tuple[NormStats, ...]
"""What a block returns beside its output: one `NormStats` per batch-norm layer, in network order."""


class BatchNorm(nn.Module):
    """Normalizes with the running statistics and returns (y, NormStats of the input).

    Statistics are accumulated in at least float32; where no term uses them the compiler removes them.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, NormStats]:
        channels = (x.shape[-1],)
        scale = leaf(self, "params", "scale", channels, nn.initializers.ones)
        bias = leaf(self, "params", "bias", channels, nn.initializers.zeros)
        mean = leaf(self, "batch_stats", "mean", channels, nn.initializers.zeros)
        var = leaf(self, "batch_stats", "var", channels, nn.initializers.ones)
        dtype = ops.at_least_float32(x)
        scale, bias, mean, var = (parameter.astype(dtype) for parameter in (scale, bias, mean, var))
        # One multiply-add per pixel, torch's own order of operations at inference.
        slope = scale * lax.rsqrt(var + self.epsilon)
        offset = bias - mean * slope
        y = (x * slope.reshape(1, 1, 1, -1) + offset.reshape(1, 1, 1, -1)).astype(x.dtype)
        return y, NormStats(*ops.moments(x), mean, var, count=x.size // x.shape[-1])
