"""The convolutions and moments that inversion spends its time in: pure functions, NHWC images, HWIO kernels.

What runs on which platform is decided in one place, `_by_platform`, when a program is lowered, or, where JAX's default is a
CPU, when it is traced. A CPU program uses sums of shifted products for depthwise convolutions (XLA:CPU's own are 10-100 times
slower), sums of taps for small kernels over pictures, dense convolutions for grouped ones, matrix products for 1x1 ones and
for strided ones' gradients, Winograd's algorithm for 3x3 ones whose kernels are frozen, and variances in one pass where
rounding allows; a CUDA program the same sums for depthwise convolutions (as fast as cuDNN's quickest, which a deterministic
program does not search for); every other program the library's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from jinv.models import formulations as ways
from jinv.models import winograd
from jinv.models.formulations import Padding, Result

NO_PADDING: Padding = ((0, 0), (0, 0))
MOST_TAPS = 3 * 3 * 3 * 32
"""A stem's kernel of more numbers is faster as XLA's convolution than as a sum of taps: of 7x7, or of 64 features."""
MOST_PRODUCTS = 3 * 3
"""A strided kernel of more taps has no product of its own for each of them in the image's gradient."""


def symmetric(pad: int) -> Padding:
    """torch's integer padding."""
    return ((pad, pad), (pad, pad))


_FOR_SHAPES = ContextVar("_FOR_SHAPES", default=False)


@contextmanager
def for_shapes() -> Iterator[None]:
    """Inside, a trace holds the library's formulation of each operation, which is the quickest to trace."""
    token = _FOR_SHAPES.set(True)
    try:
        yield
    finally:
        _FOR_SHAPES.reset(token)


def _by_platform(
    *args: Any, cpu: Callable[..., Result], default: Callable[..., Result], cuda: Callable[..., Result] | None = None
) -> Result:
    """The one place where a formulation is chosen: at lowering, so that a check on a GPU machine's CPU is fast too.

    Where JAX's default is a CPU the others' are not even traced; `jit` is for JAX to keep this one's trace, as a switch would.
    """
    if _FOR_SHAPES.get():
        return default(*args)
    if jax.default_backend() == "cpu":
        alone: Result = jax.jit(cpu, inline=True)(*args)
        return alone
    others = {} if cuda is None else {"cuda": cuda}
    chosen: Result = lax.platform_dependent(*args, cpu=cpu, default=default, **others)
    return chosen


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: Padding = NO_PADDING,
    groups: int = 1,
    derived: Any = None,
) -> Array:
    """2-D convolution (cross-correlation, as torch's) of (N, H, W, C) with (kh, kw, C / groups, features).

    Args:
      derived: `derive` of this kernel, where the caller has it. It is a constant: the kernel's gradient goes through
        `kernel`.
    """
    library = ways.fixed(ways.library_conv, stride=stride, padding=padding, groups=groups)
    if groups > 1:
        return _by_platform(x, kernel, cpu=ways.fixed(ways.split_conv, stride, padding, groups), default=library)
    if derived is not None and x.dtype == jax.tree.leaves(derived)[0].dtype:
        return _frozen_conv(padding, x, kernel, derived)
    if kernel.shape[:2] == (1, 1) and padding == NO_PADDING:
        return _by_platform(x, kernel, cpu=ways.fixed(ways.pointwise_conv, stride), default=library)
    if _is_thin(x) or (stride > 1 and _has_few_taps(kernel)):
        return _conv_of_products(stride, padding, x, kernel)
    return library(x, kernel)


def _is_thin(x: Array) -> bool:
    return x.shape[-1] <= 4


def _has_few_taps(kernel: Array) -> bool:
    return kernel.shape[0] * kernel.shape[1] <= MOST_PRODUCTS


def derive(kernel: Array, *, stride: int, padding: Padding, groups: int) -> Any:
    """What `conv` can use instead of computing it from the frozen kernel every step; None where nothing is gained."""
    narrowest = min(kernel.shape[2:])
    # float32 alone: bfloat16 is too coarse for the sums, and float64 is asked for where exactness counts, not speed.
    if kernel.shape[:2] != (3, 3) or stride > 1 or groups > 1 or narrowest < 32 or kernel.dtype != jnp.float32:
        return None
    return winograd.transform_kernel(kernel) if max(map(max, padding)) <= 2 else None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _frozen_conv(padding: Padding, x: Array, kernel: Array, derived: Any) -> Array:
    return _by_platform(
        x,
        kernel,
        derived,
        cpu=ways.fixed(_winograd, padding),
        default=ways.fixed(_without_derived, ways.fixed(ways.library_conv, stride=1, padding=padding)),
    )


def _winograd(padding: Padding, x: Array, _: Array, derived: winograd.Transformed) -> Array:
    return winograd.conv(x, derived, padding=padding)


def _winograd_transposed(padding: Padding, g: Array, _: Array, derived: winograd.Transformed) -> Array:
    return winograd.conv_transposed(g, derived, padding=padding)


def _without_derived(way: Callable[[Array, Array], Array], x: Array, kernel: Array, _: Any) -> Array:
    return way(x, kernel)


def _frozen_conv_forward(padding: Padding, x: Array, kernel: Array, derived: Any) -> tuple[Array, tuple[Any, ...]]:
    return _frozen_conv(padding, x, kernel, derived), (x, kernel, derived)


def _frozen_conv_backward(padding: Padding, residuals: tuple[Any, ...], cotangent: Array) -> tuple[Any, ...]:
    x, kernel, derived = residuals
    to_image, to_kernel = ways.library_transposes(x, kernel, stride=1, padding=padding)
    image_gradient = _by_platform(
        cotangent,
        kernel,
        derived,
        cpu=ways.fixed(_winograd_transposed, padding),
        default=ways.fixed(_without_derived, to_image),
    )
    return image_gradient, to_kernel(cotangent, x), jax.tree.map(jnp.zeros_like, derived)


_frozen_conv.defvjp(_frozen_conv_forward, _frozen_conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv_of_products(stride: int, padding: Padding, x: Array, kernel: Array) -> Array:
    """Of a stem, or strided: on a CPU its image's gradient is of matrix products, and a small stem a sum of taps."""
    library = ways.fixed(ways.library_conv, stride=stride, padding=padding)
    if not _is_thin(x) or kernel.size > MOST_TAPS or x.dtype == jnp.bfloat16:  # too coarse for so many terms of a sum
        return library(x, kernel)
    return _by_platform(x, kernel, cpu=ways.fixed(ways.summed_taps, stride, padding), default=library)


def _conv_of_products_forward(
    stride: int, padding: Padding, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _conv_of_products(stride, padding, x, kernel), (x, kernel)


def _conv_of_products_backward(
    stride: int, padding: Padding, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    to_image, to_kernel = ways.library_transposes(x, kernel, stride=stride, padding=padding)
    on_cpu: Callable[[Array, Array], Array] = to_image
    if stride > 1:
        way = ways.tap_products_transposed if _has_few_taps(kernel) else ways.row_products_transposed
        on_cpu = ways.fixed(way, stride, padding, x.shape)
    elif kernel[..., 0].size <= 2 * kernel.shape[-1]:  # else its parts would be most of a narrow network's memory
        on_cpu = ways.fixed(ways.taps_transposed, padding, x.shape)
    return _by_platform(cotangent, kernel, cpu=on_cpu, default=to_image), to_kernel(cotangent, x)


_conv_of_products.defvjp(_conv_of_products_forward, _conv_of_products_backward)


def depthwise_conv(x: Array, kernel: Array, *, stride: int = 1, padding: Padding = NO_PADDING) -> Array:
    """One (kh, kw) filter per channel: (N, H, W, C) with (kh, kw, 1, C). Reverse-mode differentiable only."""
    return _depthwise(stride, padding, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _depthwise(stride: int, padding: Padding, x: Array, kernel: Array) -> Array:
    shifted = ways.fixed(ways.shifted_sum, stride, padding)
    return _by_platform(
        x,
        kernel,
        cpu=shifted,
        cuda=ways.fixed(_in_float32, shifted),
        default=ways.fixed(ways.library_conv, stride=stride, padding=padding, groups=x.shape[-1]),
    )


def _in_float32(way: Callable[[Array, Array], Array], x: Array, kernel: Array) -> Array:
    """With sums in float32, for a GPU in whose registers they are; the library's own are there too."""
    wide = at_least_float32(x)
    return way(x.astype(wide), kernel.astype(wide)).astype(x.dtype)


def _depthwise_forward(stride: int, padding: Padding, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(stride, padding, x, kernel), (x, kernel)


def _depthwise_backward(
    stride: int, padding: Padding, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    to_image, to_kernel = ways.library_transposes(x, kernel, stride=stride, padding=padding, groups=x.shape[-1])
    shifted = ways.fixed(ways.shifted_sum_transposed, stride, padding, x.shape)
    image_gradient = _by_platform(
        cotangent, kernel, cpu=shifted, cuda=ways.fixed(_in_float32, shifted), default=to_image
    )
    # Unused where the network is frozen, and then removed by the compiler together with the saved x.
    kernel_gradient = _by_platform(
        cotangent,
        x,
        cpu=ways.fixed(ways.shifted_products, stride, padding, kernel.shape),
        default=to_kernel,
    )
    return image_gradient, kernel_gradient


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def global_average_pool(x: Array) -> Array:
    """(N, C) means over height and width, at least float32."""
    return x.mean((1, 2), dtype=at_least_float32(x))


def at_least_float32(x: Array) -> jnp.dtype:
    """The dtype in which statistics of `x` are accumulated: float32, or float64 for float64."""
    return jnp.promote_types(x.dtype, jnp.float32)


_PIXELS = (-4, -3, -2)
"""The axes of statistics, N, H and W, whatever vmap put before them."""


@jax.custom_vjp
def moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance E[(x - m)^2] of each channel over (N, H, W), at least float32."""
    found: tuple[Array, Array] = _by_platform(x.astype(at_least_float32(x)), cpu=_quick_moments, default=_exact_moments)
    return found


def _exact_moments(x: Array) -> tuple[Array, Array]:
    mean = x.mean(_PIXELS)
    return mean, jnp.square(x - mean[..., None, None, None, :]).mean(_PIXELS)


@custom_vmap
def _quick_moments(x: Array) -> tuple[Array, Array]:
    """The variance as E[x^2] - m^2, for which XLA:CPU need not write x - m down, unless that would lose digits."""
    mean = x.mean(_PIXELS)
    variance = jnp.square(x).mean(_PIXELS) - jnp.square(mean)
    # The difference is off by a few roundings of m^2: here at most 1e-5 of the largest variance. False for a NaN.
    sound = jnp.all(jnp.max(jnp.square(mean), axis=-1) < 64 * jnp.max(variance, axis=-1))
    return mean, lax.cond(sound, lambda x: jnp.maximum(variance, 0), lambda x: _exact_moments(x)[1], x)


@_quick_moments.def_vmap
def _quick_moments_of_many(axis_size: int, in_batched: list[bool], x: Array) -> tuple[Any, Any]:
    # One decision for all: vmap would make of each its own, and then both variances are computed and one dropped.
    return _quick_moments(x), (True, True)


def _moments_forward(x: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    mean, variance = moments(x)
    return (mean, variance), (x, mean)


def _moments_backward(residuals: tuple[Array, Array], cotangents: tuple[Array, Array]) -> tuple[Array]:
    # The variance's path through the mean is zero, E[x - m] = 0; automatic differentiation sums it over the image.
    x, mean = residuals
    mean_gradient, variance_gradient = (g.reshape(1, 1, 1, -1) / (x.size // x.shape[-1]) for g in cotangents)
    gradient = mean_gradient + 2 * variance_gradient * (x.astype(mean.dtype) - mean.reshape(1, 1, 1, -1))
    return (gradient.astype(x.dtype),)


moments.defvjp(_moments_forward, _moments_backward)
