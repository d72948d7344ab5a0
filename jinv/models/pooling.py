"""Pooling as torch has it: pure functions on NHWC images, the same on every platform.

torch's `ceil_mode` keeps a last window that the image does not fill. It is ordinary pooling of an image that is padded
below and to the right: with -inf for maxima, with pixels that are not counted for means.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jinv.models import formulations as ways
from jinv.models.formulations import Padding
from jinv.models.ops import NO_PADDING, symmetric


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: Array, window: int, stride: int, padding: Padding) -> Array:
    return ways.largest(stride, padding, window, x)[0]


def _max_pool_forward(x: Array, window: int, stride: int, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    best, which = ways.largest(stride, padding, window, x)
    return best, (which, x)


def _max_pool_backward(
    window: int, stride: int, padding: Padding, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array]:
    which, x = residuals  # of x only the shape: the compiler drops it
    return (ways.largest_transposed(stride, padding, window, x.shape, cotangent, which),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def max_pool(x: Array, *, window: int, stride: int, padding: Padding = NO_PADDING) -> Array:
    """Largest value of every window, padded with -inf; among equals the first takes the gradient, as in torch.

    Reverse-mode differentiable only: automatic differentiation of nine selections takes 4 % of a ResNet's step.
    """
    return _max_pool(x, window, stride, padding)


def ceil_max_pool(x: Array, *, window: int, stride: int) -> Array:
    """Unpadded `max_pool` that keeps a last half window, torch's `ceil_mode`."""
    rows, columns = ((0, _missing(length, window, stride)) for length in x.shape[1:3])
    return max_pool(x, window=window, stride=stride, padding=(rows, columns))


def _missing(length: int, window: int, stride: int) -> int:
    """Pixels that the last window of `ceil_mode` lacks: it exists if its first pixel does."""
    outputs = -(-(length - window) // stride) + 1
    if (outputs - 1) * stride >= length:
        outputs -= 1
    return max((outputs - 1) * stride + window - length, 0)


def average_pool(x: Array, *, window: int, ceil: bool = False) -> Array:
    """Mean over disjoint windows; rows and columns that fill no window are left out, as in torch.

    With `ceil` they make windows of their own, whose mean is that of the pixels that are there (torch's `ceil_mode`
    without `count_include_pad`).
    """
    n, height, width, channels = x.shape
    if ceil:
        x = ways.pad(x, ((0, -height % window), (0, -width % window)))
    rows, columns = (length // window for length in x.shape[1:3])
    cropped = x[:, : rows * window, : columns * window].reshape(n, rows, window, columns, window, channels)
    if not ceil:
        return cropped.mean((2, 4))
    vertical, horizontal = (np.minimum(window, length - np.arange(0, length, window)) for length in (height, width))
    shares = jnp.asarray(1 / np.outer(vertical, horizontal), x.dtype)
    return cropped.sum((2, 4)) * shares[None, :, :, None]


def smoothed(x: Array, *, window: int = 3) -> Array:
    """Mean over the odd window around every pixel, where what is beyond the border counts as zero.

    torch's average pooling with stride 1 and a padding of half a window (`count_include_pad`).
    """
    padded = ways.pad(x, symmetric(window // 2))
    height, width = x.shape[1:3]
    rows = sum((padded[:, i : i + height] for i in range(1, window)), start=padded[:, :height])
    return sum((rows[:, :, j : j + width] for j in range(1, window)), start=rows[:, :, :width]) / window**2


def adaptive_average_pool(x: Array, *, size: int) -> Array:
    """(N, size, size, C) from any height and width: means over windows that overlap where size does not divide them."""
    if x.shape[1:3] == (size, size):
        return x
    vertical, horizontal = (jnp.asarray(_window_means(length, size), x.dtype) for length in x.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", vertical, x, horizontal, precision=lax.Precision.HIGHEST)


def _window_means(length: int, size: int) -> np.ndarray:
    """Row i averages pixels floor(i * length / size) to ceil((i + 1) * length / size), torch's adaptive windows."""
    means = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        means[i, start:stop] = 1 / (stop - start)
    return means
