"""Measures what `jinv.core.colors` holds of photographs: `python -m tools.natural_colors FOLDER_OR_ZIP [SIZE]`.

Prints the mean and the covariance of the colour descriptors over the images of a folder or zip, and their edges along each
axis, of each the middle 224 pixels, averaged down to SIZE (a divisor of 224) where one is given. Nothing of an image but
those 30 numbers comes out.
"""

import sys

import jax.numpy as jnp
import numpy as np

from jinv.core.parameterization import average_pool_to
from jinv.core.types import RecordedColors
from jinv.experiment.color_moments import ColorMoments
from jinv.images.folder import open_image_folder

MIDDLE = 224


def measure(path: str, size: int = MIDDLE) -> RecordedColors:
    """What the images have in common; images smaller than the middle are refused."""
    moments = ColorMoments()
    for name, picture in open_image_folder(path).read():
        height, width = picture.shape[:2]
        if min(height, width) < MIDDLE:
            raise SystemExit(f"{path}: {name}: {height}x{width}, must be at least {MIDDLE} pixels on both sides")
        top, left = (height - MIDDLE) // 2, (width - MIDDLE) // 2
        middle = picture[None, top : top + MIDDLE, left : left + MIDDLE].astype(np.float32) / 255
        seen = average_pool_to(jnp.asarray(middle), (size, size))
        moments.add(np.asarray(seen[0]))
    return moments.recorded()


if __name__ == "__main__":
    np.set_printoptions(suppress=True, linewidth=120)
    found = measure(sys.argv[1], *map(int, sys.argv[2:3]))
    print(found.descriptor_mean.round(3), found.descriptor_covariance.round(4), found.edges.round(4), sep="\n")
