"""From a network's standardised units to 8-bit pixels, in NumPy alone: whoever opens a run needs no jax for it."""

from collections.abc import Sequence

import numpy as np

from jinv.errors import NumericalError


def to_uint8(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Network units (..., channels) to uint8 pixels, clipped and rounded.

    Raises:
      NumericalError: a value is NaN.
    """
    image = np.asarray(image, np.float32)
    if np.isnan(image).any():
        raise NumericalError(f"{np.isnan(image).sum()} of {image.size} image values are NaN")
    pixels = np.clip(image * np.asarray(std, np.float32) + np.asarray(mean, np.float32), 0, 1)
    rounded: np.ndarray = np.rint(pixels * 255).astype(np.uint8)
    return rounded
