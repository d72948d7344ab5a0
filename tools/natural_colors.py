"""Measures what `jinv.core.colors` holds of photographs: `python -m tools.natural_colors FOLDER_OR_ZIP [SIZE]`.

Prints the mean and the covariance of the colour descriptors over the images of a folder or zip, of each the middle 224
pixels, averaged down to SIZE (a divisor of 224) where one is given. Nothing of an image but those 27 numbers comes out.
"""

import sys

import jax.numpy as jnp
import numpy as np

from jinv.core.colors import color_descriptors
from jinv.core.parameterization import average_pool_to
from jinv.images.folder import open_image_folder

MIDDLE = 224


def measure(path: str, size: int = MIDDLE) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased covariance of the descriptors over the images; images smaller than the middle are refused."""
    descriptors = []
    for name, picture in open_image_folder(path).read():
        height, width = picture.shape[:2]
        if min(height, width) < MIDDLE:
            raise SystemExit(f"{path}: {name}: {height}x{width}, must be at least {MIDDLE} pixels on both sides")
        top, left = (height - MIDDLE) // 2, (width - MIDDLE) // 2
        middle = picture[None, top : top + MIDDLE, left : left + MIDDLE].astype(np.float32) / 255
        descriptors.append(np.asarray(color_descriptors(average_pool_to(jnp.asarray(middle), (size, size)))[0], float))
    return np.mean(descriptors, axis=0), np.cov(np.transpose(descriptors))


if __name__ == "__main__":
    np.set_printoptions(suppress=True, linewidth=120)
    mean, covariance = measure(sys.argv[1], *map(int, sys.argv[2:3]))
    print(mean.round(3), covariance.round(4), sep="\n")
