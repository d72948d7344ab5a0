"""What is optimised, and how it becomes the image that the network sees.

A parameterization is the pair `(init, render)`: `init` turns the full-size start image into parameters, `render` turns
parameters into a full-size image. `view` is the network's side of it at the stage's size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinv.core.types import Image

Size = tuple[int, int]


class Parameterization(NamedTuple):
    """`init(full-size image) -> params`, `render(params) -> full-size image`, `view(params) -> image at the stage's size`."""

    init: Callable[[Image], Any]
    render: Callable[[Any], Image]
    view: Callable[[Any], Image]


def pooled_pixels(size: Size, stage_size: Size) -> Parameterization:
    """The thesis' way: the variable has the full size, the network sees its average pooling.

    The pixels of one pooling window get equal gradients, so their initial differences (noise) survive the stage.
    """
    return Parameterization(
        init=lambda image: image,
        render=lambda params: params,
        view=lambda params: average_pool_to(params, stage_size),
    )


def resized_pixels(size: Size, stage_size: Size) -> Parameterization:
    """The variable has the stage's own size and is upsampled (bicubic) between stages: no noise is left behind."""
    return Parameterization(
        init=lambda image: average_pool_to(image, stage_size),
        render=lambda params: resize(params, size),
        view=lambda params: params,
    )


def resize(image: Image, size: Size) -> Float[Array, "n _ _ c"]:
    """Bicubic resize to (height, width); antialiased where it shrinks."""
    if image.shape[1:3] == size:
        return image
    return jax.image.resize(image, (image.shape[0], *size, image.shape[3]), "bicubic")


def average_pool_to(image: Image, size: Size) -> Float[Array, "n _ _ c"]:
    """Area average down to (height, width).

    Where the sizes divide it is plain average pooling; elsewhere each output pixel averages the area it covers, with
    fractional weights at its rim.
    """
    if image.shape[1:3] == size:
        return image
    n, height, width, channels = image.shape
    if height < size[0] or width < size[1]:
        raise ValueError(f"average_pool_to: cannot pool {height}x{width} up to {size[0]}x{size[1]}")
    if height % size[0] == 0 and width % size[1] == 0:
        windows = image.reshape(n, size[0], height // size[0], size[1], width // size[1], channels)
        return windows.mean(axis=(2, 4))
    rows, columns = _area_weights(height, size[0]), _area_weights(width, size[1])
    return jnp.einsum("oh,pw,nhwc->nopc", rows.astype(image.dtype), columns.astype(image.dtype), image)


def _area_weights(source: int, target: int) -> np.ndarray:
    """(target, source) matrix: the share of each source pixel in each target pixel's area."""
    edges = np.arange(target + 1) * (source / target)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(source)[None, :]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return overlap / overlap.sum(axis=1, keepdims=True)
