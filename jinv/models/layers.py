"""Convolutions, batch norms and dense layers as named linen modules; the compute dtype follows the input, the parameters are cast.

A third collection, "derived", can hold what a convolution would otherwise compute from its frozen kernel in every step:
`prepare` adds it.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.nn.initializers import Initializer

from jinv.core.types import NormStats
from jinv.models import ops
from jinv.models.formulations import Padding


class Conv(nn.Module):
    """2-D convolution, square or of (height, width); `padding` None is torch's usual `kernel_size // 2` on every side."""

    features: int
    kernel_size: int | tuple[int, int] = 3
    stride: int = 1
    padding: Padding | None = None
    groups: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = self.kernel_size
        height, width = (size, size) if isinstance(size, int) else size
        usual = (height // 2, height // 2), (width // 2, width // 2)
        padding = usual if self.padding is None else self.padding
        shape = (height, width, x.shape[-1] // self.groups, self.features)
        kernel = leaf(self, "params", "kernel", shape, nn.initializers.zeros).astype(x.dtype)
        if 1 < self.groups == x.shape[-1] == self.features:
            y = ops.depthwise_conv(x, kernel, stride=self.stride, padding=padding)
        else:
            derived = self._derived(kernel, padding)
            y = ops.conv(x, kernel, stride=self.stride, padding=padding, groups=self.groups, derived=derived)
        if self.use_bias:
            bias = leaf(self, "params", "bias", (self.features,), nn.initializers.zeros)
            y += bias.astype(x.dtype).reshape(1, 1, 1, -1)
        return y

    def _derived(self, kernel: Array, padding: Padding) -> Any:
        if self.has_variable("derived", "kernel"):
            return self.get_variable("derived", "kernel")
        if self.is_mutable_collection("derived") and not self.is_initializing():
            derived = ops.derive(kernel, stride=self.stride, padding=padding, groups=self.groups)
            if derived is not None:
                self.put_variable("derived", "kernel", derived)
        return None


class Head(Conv):
    """A convolution that is a network's last layer; the mean of what it is given are the network's features."""


def recomputed(block: Any, remat: bool) -> Any:
    """The block's class; with `remat` its backward pass starts from the block's input and computes the inside again.

    Not flax's own `nn.remat`: XLA's CPU compiler drops the barriers that keep the second computation apart from the first,
    and then keeps everything after all.
    """
    if not remat:
        return block

    def make(*fields: Any, name: str, **named: Any) -> Any:
        module = block(*fields, name=name, **named)

        def call(x: Array) -> Any:
            if module.is_initializing():
                return module(x)
            alone = module.clone(parent=None, name=None)
            return _recomputing(lambda variables, x: alone.apply(variables, x))(module.variables, x)

        return call

    return make


def _recomputing(block: Any) -> Any:
    """`(variables, x) -> (y, stats)` with only its arguments kept for the backward pass."""

    @jax.custom_vjp
    def run(variables: Any, x: Array) -> Any:
        return block(variables, x)

    def forward(variables: Any, x: Array) -> tuple[Any, Any]:
        return block(variables, x), (variables, x)

    def backward(arguments: Any, cotangents: Any) -> Any:
        variables, x = arguments
        # Zero, but only known once the gradient has come down to this block: nothing can be computed ahead of that, nor
        # be taken from the first computation. A gradient that is not finite makes it NaN, and is lost anyway.
        zero = cotangents[0].reshape(-1)[0] * 0
        return jax.vjp(block, variables, x + zero.astype(x.dtype))[1](cotangents)

    run.defvjp(forward, backward)
    return run


def prepare(module: nn.Module, variables: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The variables with what long runs on the CPU gain from: same results to rounding, up to twice the memory.

    Args:
      size: height and width of any image that the network takes.
    """
    if jax.default_backend() != "cpu":
        return dict(variables)

    @jax.jit
    def derive(variables: Mapping[str, Any]) -> Any:
        # The activations are never computed: nothing that is returned depends on them.
        plain = module.clone(remat=False) if hasattr(module, "remat") else module
        return plain.apply(variables, jnp.zeros((1, size, size, 3), jnp.float32), mutable="derived")[1]

    return {**variables, **derive(variables)}


class Dense(nn.Module):
    """Linear layer on (N, features), kernel (in, out); of no features it has no parameters: a network without a head."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.features == 0:
            return x[:, :0]
        kernel = leaf(self, "params", "kernel", (x.shape[-1], self.features), nn.initializers.zeros)
        bias = leaf(self, "params", "bias", (self.features,), nn.initializers.zeros)
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype).reshape(1, -1)


def leaf(module: nn.Module, collection: str, name: str, shape: tuple[int, ...], initial: Initializer) -> Array:
    """The module's variable of that name; made by `initial` where the module is being initialised.

    Flax's own `param` traces the initializer in every trace, to compare shapes: a second or two per network. Here shapes
    are compared when a file is loaded, and that is enough.
    """
    value: Array
    if module.has_variable(collection, name):
        value = module.get_variable(collection, name)
    elif collection == "params":
        value = module.param(name, initial, shape)
    else:
        value = module.variable(collection, name, initial, None, shape).value
    return value


Stats = tuple[NormStats, ...]
"""What a block returns beside its output: one `NormStats` per batch-norm layer, in network order."""


MOMENTUM = 0.1
"""How much of a running statistic is a training batch's; torch's default."""


class BatchNorm(nn.Module):
    """Normalizes with the running statistics and returns (y, NormStats of the input).

    Where "batch_stats" is mutable, as it is in training alone, it normalizes with the batch's own statistics and moves the
    running ones towards them, the variance unbiased, as torch does. Statistics are accumulated in at least float32; where
    no term uses them the compiler removes them.
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
        count, used, moments = x.size // x.shape[-1], (mean, var), None
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            used = moments = ops.moments(x)
            unbiased = moments[1] * (count / max(count - 1, 1))
            self.put_variable("batch_stats", "mean", (1 - MOMENTUM) * mean + MOMENTUM * moments[0])
            self.put_variable("batch_stats", "var", (1 - MOMENTUM) * var + MOMENTUM * unbiased)
        # One multiply-add per pixel, torch's own order of operations at inference.
        slope = scale * lax.rsqrt(used[1] + self.epsilon)
        offset = bias - used[0] * slope
        y = (x * slope.reshape(1, 1, 1, -1) + offset.reshape(1, 1, 1, -1)).astype(x.dtype)
        # Taken behind y, where training has not taken them already: the order of a program decides its last bits.
        return y, NormStats(*(moments or ops.moments(x)), mean, var, count=count)
