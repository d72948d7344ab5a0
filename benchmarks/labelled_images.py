"""Real CIFAR-10 images with their classes, out of a folder or zip with a subfolder per class."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jinv.errors import UsageError
from jinv.images.codec import fit_image
from jinv.images.folder import open_image_folder
from jinv.weights.labels import class_names, folder_class

SIZE = 32
CLASSES = 10


class Labelled(NamedTuple):
    """uint8 pictures (n, 32, 32, 3) and class ids (n)."""

    pictures: np.ndarray
    labels: np.ndarray


def read_labelled(path: Path, per_class: int | None = None) -> Labelled:
    """Images of a folder or zip with a subfolder per CIFAR-10 class; the first `per_class` of each by name, or all.

    Raises:
      JinvError: no such folder, a damaged image, a folder that is no class, too few images of one.
    """
    folder, names = open_image_folder(path), class_names("cifar10")
    by_class: dict[int, list[str]] = {}
    for name in folder.names:
        label = folder_class(name, names)
        if label is None:
            raise UsageError(f"{path}: {name}: lies in no folder named after a class")
        by_class.setdefault(label, []).append(name)
    if per_class and (few := [names[c] for c in range(CLASSES) if len(by_class.get(c, ())) < per_class]):
        raise UsageError(f"{path}: fewer than {per_class} images of {few[0]}")
    chosen = [(name, label) for label, found in sorted(by_class.items()) for name in found[:per_class]]
    pictures = [fit_image(pixels, (SIZE, SIZE)) for _, pixels in folder.read([name for name, _ in chosen])]
    return Labelled(np.stack(pictures), np.array([label for _, label in chosen]))
