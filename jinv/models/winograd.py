"""Stride-1 3x3 convolutions by Winograd's F(2x2, 3x3): 16 products per 2x2 outputs and channel pair instead of 36.

It pays where kernels are frozen, as here: theirs is transformed once (`transform_kernel`), and the same transform, with
its ends exchanged, serves the image's gradient. The two transforms left per step are additions. Rounding errors are
about 1e-6 of the largest output. Lavin and Gray (2015), "Fast Algorithms for Convolutional Neural Networks".
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jinv.models.formulations import Padding, unfused

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


Transformed = tuple[tuple[Array, ...], ...]
"""4 x 4 matrices (C, F), each an array of its own: XLA:CPU copies the slices of one array before every product."""


def transform_kernel(kernel: Array) -> Transformed:
    """Of a kernel (3, 3, C, F)."""
    matrix = jnp.asarray(_KERNEL, kernel.dtype)
    transformed = jnp.einsum("ia,abcf,jb->ijcf", matrix, kernel, matrix, precision=lax.Precision.HIGHEST)
    return tuple(tuple(row) for row in transformed)


def conv(x: Array, transformed: Transformed, *, padding: Padding) -> Array:
    """`ops.conv` of (N, H, W, C) with stride 1 and the kernel whose transform is given."""
    return _tiled(x, padding, lambda i, j, tile: jnp.dot(tile, transformed[i][j]), transformed[0][0].shape[1])


def conv_transposed(g: Array, transformed: Transformed, *, padding: Padding) -> Array:
    """The image's gradient of `conv` for the cotangent (N, H, W, F).

    The convolution with the flipped kernel: flipping exchanges the transform's ends and leaves its middle rows.
    """
    ends = (3, 1, 2, 0)
    (top, bottom), (left, right) = padding
    flipped_padding = ((2 - top, 2 - bottom), (2 - left, 2 - right))

    def product(i: int, j: int, tile: Array) -> Array:
        return lax.dot_general(tile, transformed[ends[i]][ends[j]], (((1,), (1,)), ((), ())))

    return _tiled(g, flipped_padding, product, transformed[0][0].shape[0])


def _tiled(x: Array, padding: Padding, product: Callable[[int, int, Array], Array], features: int) -> Array:
    """Both transforms around `product(i, j, tile)`, which turns the tiles' (i, j) pixels (tiles, C) into (tiles, F)."""
    n, _, _, channels = x.shape
    height, width = (length + sum(pads) - 2 for length, pads in zip(x.shape[1:3], padding, strict=True))
    rows, columns = -(-height // 2), -(-width // 2)
    (top, bottom), (left, right) = padding
    x = jnp.pad(x, ((0, 0), (top, bottom + height % 2), (left, right + width % 2), (0, 0)))

    def pixel(i: int, j: int) -> Array:
        end = (n, i + 2 * rows - 1, j + 2 * columns - 1, channels)
        return lax.slice(x, (0, i, j, 0), end, (1, 2, 2, 1)).reshape(-1, channels)

    by_column = [_into_tiles([pixel(i, j) for i in range(4)]) for j in range(4)]
    tiles = [_into_tiles([column[i] for column in by_column]) for i in range(4)]
    products = [[unfused(product(i, j, unfused(tiles[i][j]))) for j in range(4)] for i in range(4)]
    halves = [_out_of_tiles([products[i][j] for i in range(4)]) for j in range(4)]
    pixels = [_out_of_tiles([half[a] for half in halves]) for a in range(2)]
    y = jnp.stack([jnp.stack([p.reshape(n, rows, columns, features) for p in line], axis=3) for line in pixels], axis=2)
    return y.reshape(n, 2 * rows, 2 * columns, features)[:, :height, :width]


def _into_tiles(d: list[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _out_of_tiles(m: list[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
