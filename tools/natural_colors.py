"""Measures what `jinv.core.colors` holds of photographs: `python -m tools.natural_colors FOLDER_OR_ZIP [SIZE]`.

Prints the mean and the covariance of the colour descriptors over the images of a folder or zip, and their edges along each
axis, of each the middle 224 pixels, averaged down to SIZE (a divisor of 224) where one is given. Nothing of an image but
those 30 numbers comes out.
"""

import sys
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jinv.core.colors import OPPONENT_AXES, color_descriptors
from jinv.core.parameterization import average_pool_to
from jinv.images.folder import open_image_folder

MIDDLE = 224


class Measured(NamedTuple):
    """Mean (6,) and unbiased covariance (6, 6) of the descriptors; edges (3,): root mean squares of neighbours' differences."""

    mean: np.ndarray
    covariance: np.ndarray
    edges: np.ndarray


def measure(path: str, size: int = MIDDLE) -> Measured:
    """What the images have in common; images smaller than the middle are refused."""
    descriptors, squares = [], []
    for name, picture in open_image_folder(path).read():
        height, width = picture.shape[:2]
        if min(height, width) < MIDDLE:
            raise SystemExit(f"{path}: {name}: {height}x{width}, must be at least {MIDDLE} pixels on both sides")
        top, left = (height - MIDDLE) // 2, (width - MIDDLE) // 2
        middle = picture[None, top : top + MIDDLE, left : left + MIDDLE].astype(np.float32) / 255
        seen = average_pool_to(jnp.asarray(middle), (size, size))
        descriptors.append(np.asarray(color_descriptors(seen)[0], float))
        colors = np.asarray(seen[0], float) @ OPPONENT_AXES.T
        squares.append(np.mean([(np.diff(colors, axis=axis) ** 2).mean(axis=(0, 1)) for axis in (0, 1)], axis=0))
    edges: np.ndarray = np.sqrt(np.mean(squares, axis=0))
    return Measured(np.mean(descriptors, axis=0), np.cov(np.transpose(descriptors)), edges)


if __name__ == "__main__":
    np.set_printoptions(suppress=True, linewidth=120)
    found = measure(sys.argv[1], *map(int, sys.argv[2:3]))
    print(found.mean.round(3), found.covariance.round(4), found.edges.round(4), sep="\n")
