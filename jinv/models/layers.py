"""Convolution and dense layers as named linen modules; the compute dtype follows the input, the parameters are cast."""

import flax.linen as nn
from jax import Array

from jinv.models import ops


class Conv(nn.Module):
    """Square 2-D convolution; `padding` None is torch's usual `kernel_size // 2` on every side."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: ops.Padding | None = None
    groups: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        padding = ops.symmetric(self.kernel_size // 2) if self.padding is None else self.padding
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        if 1 < self.groups == x.shape[-1] == self.features:
            y = ops.depthwise_conv(x, kernel, stride=self.stride, padding=padding)
        else:
            y = ops.conv(x, kernel, stride=self.stride, padding=padding, groups=self.groups)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype).reshape(1, 1, 1, -1)
        return y


class Dense(nn.Module):
    """Linear layer on (N, features), kernel (in, out)."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype).reshape(1, -1)
