"""Ways to compute a convolution, its gradients and its windows; which one a platform gets is chosen in `ops`."""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

Padding: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in pixels; never "SAME", whose pads depend on the image's size."""

unfused: Callable[[Array], Array] = lax.optimization_barrier
"""What is written down before it is used: XLA:CPU would compute it again for each of its uses."""

_NHWC = ("NHWC", "HWIO", "NHWC")

Result = TypeVar("Result")


def fixed(way: Callable[..., Result], *first: Hashable, **settings: Hashable) -> Callable[..., Result]:
    """`partial`, but one object for equal settings: JAX keeps traces by the object, and networks repeat their layers."""
    one: Callable[..., Result] = _fixed(way, first, tuple(sorted(settings.items())))
    return one


@lru_cache(maxsize=4096)
def _fixed(way: Callable[..., Any], first: tuple[Any, ...], settings: tuple[tuple[str, Any], ...]) -> Any:
    return partial(way, *first, **dict(settings))


def library_conv(x: Array, kernel: Array, *, stride: int, padding: Padding, groups: int = 1) -> Array:
    """The convolution as XLA has it."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_NHWC, feature_group_count=groups
    )


def library_transposes(x: Array, kernel: Array, **settings: Any) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """((cotangent, kernel) -> image's gradient, (cotangent, x) -> kernel's gradient) of the library's convolution.

    `jax.typeof` has a sharding and varying axes too, where there are any.
    """
    library: Callable[..., Array] = fixed(library_conv, **settings)
    return fixed(_to_image, library, jax.typeof(x)), fixed(_to_kernel, library, jax.typeof(kernel))


def _to_image(library: Callable[..., Array], example: Any, g: Array, kernel: Array) -> Array:
    gradient: Array = jax.linear_transpose(lambda x: library(x, kernel), example)(g)[0]
    return gradient


def _to_kernel(library: Callable[..., Array], example: Any, g: Array, x: Array) -> Array:
    gradient: Array = jax.linear_transpose(lambda kernel: library(x, kernel), example)(g)[0]
    return gradient


def pointwise_conv(stride: int, x: Array, kernel: Array) -> Array:
    """A 1x1 convolution as a matrix product, whose own transpose needs no transposed copy of the kernel."""
    x = x[:, ::stride, ::stride]
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:3], -1)


def tap_products_transposed(stride: int, padding: Padding, x_shape: tuple[int, ...], g: Array, kernel: Array) -> Array:
    """A small strided kernel's gradient of the image: a matrix product per tap, of which each pixel gathers those that it was in.

    0.65 to 0.85 of the time of XLA:CPU's convolution of the stride's zeros, 1.1 with 512 channels.
    """
    height, width, channels, features = kernel.shape
    flat = g.reshape(-1, features)
    parts = tuple(
        _times_transposed(flat, kernel[i, j]).reshape(*g.shape[:3], channels)
        for i in range(height)
        for j in range(width)
    )
    total = _gathered(stride, padding, x_shape, (height, width), parts, lambda i, j, *parts: parts[width * i + j])
    return total.astype(g.dtype)


def row_products_transposed(stride: int, padding: Padding, x_shape: tuple[int, ...], g: Array, kernel: Array) -> Array:
    """A large strided kernel's gradient of a thin image: a matrix product for every stride of its rows, the shifted parts' sum.

    1.5 to 3 times faster than XLA:CPU's convolution of the stride's zeros, for ResNet's stem: its products have three columns, these
    have all taps of a stride of rows.
    """
    grid = _Grid.of(stride, padding, x_shape, kernel.shape[:2])
    (reach_h, reach_w), (rows, columns) = grid.reach, grid.size
    n, height, width, features = g.shape
    taps = grid.taps(kernel).transpose(0, 2, 1, 3, 4, 5)  # t, u, r, s, channels, features
    flat = g.reshape(-1, features)
    bands = []
    for t in range(reach_h + 1):
        part = _times_transposed(flat, taps[t].reshape(-1, features)).reshape(n, height, width, -1)
        bands.append(pad(part, ((t, rows - height - t), (0, 0))))
    wide = unfused(sum(bands[1:], start=bands[0])).reshape(n, rows, width, reach_w + 1, -1)
    shifted = [pad(wide[..., u, :], ((0, 0), (u, columns - width - u))) for u in range(reach_w + 1)]
    residues = sum(shifted[1:], start=shifted[0]).reshape(n, rows, columns, stride, stride, x_shape[3])
    return grid.cut(residues.transpose(0, 1, 3, 2, 4, 5)).astype(g.dtype)


def _times_transposed(rows: Array, matrix: Array) -> Array:
    """`rows @ matrix.T`, at least float32, for it will be summed; no transposed copy is made. Unfused: what gathers from it would compute it again."""
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    return unfused(lax.dot_general(rows, matrix, (((1,), (1,)), ((), ())), preferred_element_type=wide))


def summed_taps(stride: int, padding: Padding, x: Array, kernel: Array) -> Array:
    """A small kernel over a thin image: the sum of each tap's and channel's pixels, times its row of features.

    Three times faster than XLA:CPU's convolution of three channels, whose products are too narrow.
    """
    windows = strided_windows(pad(x, padding), kernel.shape[:2], stride)
    taps = [
        window[..., channel : channel + 1] * kernel[i, j, channel].reshape(1, 1, 1, -1)
        for (i, j), window in windows.items()
        for channel in range(x.shape[-1])
    ]
    return sum(taps[1:], start=taps[0])


def taps_transposed(padding: Padding, x_shape: tuple[int, ...], g: Array, kernel: Array) -> Array:
    """A stride-1 convolution's gradient of a thin image: every tap's part by one matrix product, then the shifted parts' sum.

    Two to three times faster than XLA:CPU's convolution that has three features.
    """
    height, width, channels, features = kernel.shape
    parts = jnp.dot(g.reshape(-1, features), kernel.reshape(-1, features).T)
    parts = parts.reshape(*g.shape[:3], height, width, channels)
    shifted = [
        pad(parts[..., i, j, :], ((i, height - 1 - i), (j, width - 1 - j))) for i in range(height) for j in range(width)
    ]
    return _Grid.of(1, padding, x_shape, (height, width)).cut(sum(shifted[1:], start=shifted[0]))


def split_conv(stride: int, padding: Padding, groups: int, x: Array, kernel: Array) -> Array:
    """A grouped convolution as dense ones: XLA:CPU's own takes six times longer over ResNeXt-50's.

    Narrow groups are merged to 32 channels under block-diagonal kernels; the zeros cost less than the narrowness.
    """
    inputs, features = kernel.shape[2], kernel.shape[3] // groups
    merged = max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * inputs <= 32))
    same_group = jnp.eye(merged, dtype=kernel.dtype).reshape(1, 1, merged, 1, merged, 1)
    outputs = []
    for part in range(groups // merged):
        chunk = kernel[..., part * merged * features : (part + 1) * merged * features]
        blocks = chunk.reshape(*chunk.shape[:2], 1, inputs, merged, features) * same_group
        dense = blocks.reshape(*chunk.shape[:2], merged * inputs, merged * features)
        channels = x[..., part * merged * inputs : (part + 1) * merged * inputs]
        outputs.append(library_conv(channels, dense, stride=stride, padding=padding))
    return jnp.concatenate(outputs, axis=-1)


def shifted_sum(stride: int, padding: Padding, x: Array, kernel: Array) -> Array:
    """A depthwise convolution: the sum of the taps' windows, each times its tap."""
    windows = strided_windows(pad(x, padding), kernel.shape[:2], stride)
    return sum((window * _tap(kernel, i, j) for (i, j), window in windows.items()), start=jnp.zeros((), x.dtype))


def shifted_products(stride: int, padding: Padding, kernel_shape: tuple[int, ...], g: Array, x: Array) -> Array:
    """A depthwise convolution's gradient of its kernel."""
    windows = strided_windows(pad(x, padding), kernel_shape[:2], stride)
    return jnp.stack([(window * g).sum((0, 1, 2)) for window in windows.values()]).reshape(kernel_shape)


def shifted_sum_transposed(stride: int, padding: Padding, x_shape: tuple[int, ...], g: Array, kernel: Array) -> Array:
    """The image's gradient, gathered: padded pixel `stride * q + r` sums `g[q - t] * kernel[r + stride * t]` over t.

    Each residue r is one sum of unit-stride shifts; scattering tap by tap instead writes the image k * k times. LLVM vectorizes
    a 3x3 kernel's residues side by side in one loop, but not a 5x5 one's.
    """
    if stride > 1 and kernel.shape[0] > 3:
        return _residues_together(stride, padding, x_shape, g, kernel)
    return _gathered(stride, padding, x_shape, kernel.shape[:2], (g,), lambda i, j, g: g * _tap(kernel, i, j))


def _residues_together(stride: int, padding: Padding, x_shape: tuple[int, ...], g: Array, kernel: Array) -> Array:
    """`shifted_sum_transposed` without branches: a shift is multiplied with its taps of all residues, zeros among them."""
    grid = _Grid.of(stride, padding, x_shape, kernel.shape[:2])
    (reach_h, reach_w), (rows, columns) = grid.reach, grid.size
    g = pad(g, grid.pads(g))
    taps = grid.taps(kernel)[..., 0, :]
    total = jnp.zeros((x_shape[0], rows, stride, columns, stride, x_shape[3]), g.dtype)
    for t in reversed(range(reach_h + 1)):
        for u in reversed(range(reach_w + 1)):
            top, left = reach_h - t, reach_w - u
            total += g[:, top : top + rows, None, left : left + columns, None] * taps[None, None, t, :, None, u]
    return grid.cut(total)


def largest(stride: int, padding: Padding, size: int, x: Array) -> tuple[Array, Array]:
    """(largest pixel of every window padded with -inf, which of the window's pixels it is: the first of equals)."""
    windows = iter(strided_windows(pad(x, padding, -jnp.inf), (size, size), stride).values())
    best = next(windows)
    which = jnp.zeros(best.shape, jnp.int8)
    for index, candidate in enumerate(windows, start=1):
        # `candidate != candidate` keeps a NaN visible.
        better = (candidate > best) | (candidate != candidate)
        best, which = jnp.where(better, candidate, best), jnp.where(better, jnp.int8(index), which)
    return best, which


def largest_transposed(
    stride: int, padding: Padding, size: int, x_shape: tuple[int, ...], g: Array, which: Array
) -> Array:
    """The image's gradient of `largest`: each pixel gathers from the windows whose largest it is."""

    def share(i: int, j: int, g: Array, which: Array) -> Array:
        return jnp.where(which == size * i + j, g, jnp.zeros((), g.dtype))

    return _gathered(stride, padding, x_shape, (size, size), (g, which), share)


class _Grid(NamedTuple):
    """Where a padded image's pixels `stride * q + r` lie: `size` of q, and over how many outputs q - t windows `reach`."""

    stride: int
    padding: Padding
    x_shape: tuple[int, ...]
    size: tuple[int, int]
    reach: tuple[int, int]

    @classmethod
    def of(cls, stride: int, padding: Padding, x_shape: tuple[int, ...], window: tuple[int, ...]) -> "_Grid":
        rows, columns = (-(-(length + sum(p)) // stride) for length, p in zip(x_shape[1:3], padding, strict=True))
        return cls(stride, padding, x_shape, (rows, columns), ((window[0] - 1) // stride, (window[1] - 1) // stride))

    def pads(self, outputs: Array) -> Padding:
        """Windows outside the image do not exist: nothing is gathered from where their first output, a gradient, is zero."""
        (rows, columns), (reach_h, reach_w) = self.size, self.reach
        return (reach_h, rows - outputs.shape[1]), (reach_w, columns - outputs.shape[2])

    def taps(self, kernel: Array) -> Array:
        """A kernel's taps `r + stride * t` as (t, r, u, s, ...), with zeros where there is none."""
        (reach_h, reach_w), stride = self.reach, self.stride
        missing = [(0, (reach + 1) * stride - size) for reach, size in zip(self.reach, kernel.shape[:2], strict=True)]
        padded = jnp.pad(kernel, (*missing, (0, 0), (0, 0)))
        return padded.reshape(reach_h + 1, stride, reach_w + 1, stride, *kernel.shape[2:])

    def cut(self, residues: Array) -> Array:
        """The image's part of (n, rows, r, columns, s, channels)."""
        n, height, width, channels = self.x_shape
        rows, columns = (length * self.stride for length in self.size)
        (top, _), (left, _) = self.padding
        return residues.reshape(n, rows, columns, channels)[:, top : top + height, left : left + width]


def _gathered(
    stride: int,
    padding: Padding,
    x_shape: tuple[int, ...],
    size: tuple[int, ...],
    outputs: tuple[Array, ...],
    share: Callable[..., Array],
) -> Array:
    """The transpose of a sum over windows: pixel `stride * q + r` adds `share(r + stride * t, *outputs[q - t])` over t."""
    grid = _Grid.of(stride, padding, x_shape, size)
    (rows, columns), (reach_h, reach_w) = grid.size, grid.reach
    outputs = tuple(pad(o, grid.pads(o)) for o in outputs)

    def residue(r: int, s: int) -> Array:
        total = jnp.zeros((x_shape[0], rows, columns, x_shape[3]), outputs[0].dtype)
        # From the last tap to the first: in the order of the outputs, as a scatter would add them.
        for i in reversed(range(r, size[0], stride)):
            for j in reversed(range(s, size[1], stride)):
                top, left = reach_h - i // stride, reach_w - j // stride
                total += share(i, j, *(o[:, top : top + rows, left : left + columns] for o in outputs))
        return total

    if stride == 1:
        return grid.cut(residue(0, 0))
    lines = [jnp.stack([residue(r, s) for s in range(stride)], axis=3) for r in range(stride)]
    return grid.cut(jnp.stack(lines, axis=2))


def strided_windows(x: Array, size: tuple[int, ...], stride: int) -> dict[tuple[int, int], Array]:
    """For every tap of a window, the (padded) pixels that it sees, one per output position."""
    n, height, width, channels = x.shape
    rows, columns = ((length - k) // stride + 1 for length, k in zip((height, width), size, strict=True))
    return {
        (i, j): lax.slice(
            x,
            (0, i, j, 0),
            (n, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, channels),
            (1, stride, stride, 1),
        )
        for i in range(size[0])
        for j in range(size[1])
    }


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Images padded with a constant."""
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=jnp.asarray(value, x.dtype))


def _tap(kernel: Array, i: int, j: int) -> Array:
    return kernel[i, j].reshape(1, 1, 1, -1)
