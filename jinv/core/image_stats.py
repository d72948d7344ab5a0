"""Each image's statistics of a layer's values: what terms of recorded statistics look at."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jinv.core.parameterization import average_pool_to
from jinv.core.types import ImageStats

GRID = 4
"""Cells along each side of a map; a map of fewer pixels has a cell for each."""


def image_stats(x: Array, quantiles: int | None = None) -> ImageStats:
    """Each image's own statistics of (N, H, W, C), at least float32; `quantiles` says how many of each channel."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = x.mean((1, 2))
    var = jnp.square(x - mean[:, None, None]).mean((1, 2))
    grid = min(GRID, x.shape[1]), min(GRID, x.shape[2])
    # Of differences from the image's mean, so that no large squares are subtracted.
    middle = x.mean((1, 2, 3), keepdims=True)
    offset = x - middle
    first = average_pool_to(offset.mean(3, keepdims=True), grid).reshape(x.shape[0], -1)
    second = average_pool_to(jnp.square(offset).mean(3, keepdims=True), grid).reshape(x.shape[0], -1)
    cell_var = jnp.maximum(second - jnp.square(first), 0)
    found = None if quantiles is None else sorted_values(x, quantiles)
    return ImageStats(mean, var, first + middle[:, 0, 0], cell_var, found)


def sorted_values(x: Array, count: int) -> Array:
    """(N, count, C): quantiles of each channel over (H, W) at `(k + 1/2) / count`, between sorted values linearly.

    The sorted values lie at `(i + 1/2) / (H W)`: as many quantiles as values are the sorted values themselves.
    """
    values = jnp.sort(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1)
    last = values.shape[1] - 1
    place = np.clip((np.arange(count) + 0.5) / count * (last + 1) - 0.5, 0, last)
    below = np.floor(place).astype(int)
    share = jnp.asarray(place - below, values.dtype)[None, :, None]
    upper: Array = values[:, np.minimum(below + 1, last)]
    return values[:, below] * (1 - share) + upper * share
