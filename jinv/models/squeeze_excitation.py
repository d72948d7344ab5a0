"""Squeeze-and-excitation (Hu et al. 2018): channels weighed by what the whole image says; no batch norm."""

from collections.abc import Callable

import flax.linen as nn
from jax import Array

from jinv.models import ops
from jinv.models.layers import Conv


class SqueezeExcitation(nn.Module):
    """(N, H, W, C) times `gate(fc2(activation(fc1(mean over H and W))))`; both layers are 1x1 convolutions with a bias."""

    squeezed: int
    activation: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n, channels = x.shape[0], x.shape[-1]
        means = ops.global_average_pool(x).astype(x.dtype).reshape(n, 1, 1, channels)
        narrow = self.activation(Conv(self.squeezed, 1, use_bias=True, name="fc1")(means))
        return x * self.gate(Conv(channels, 1, use_bias=True, name="fc2")(narrow))
