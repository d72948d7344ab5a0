"""A run's images beside real ones, in the features of a network: how near, how alike, how varied.

Real images go through the same resizing as the run's. A figure for which there are too few images is not given; its
place says how many it takes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jinv.errors import UsageError
from jinv.images.codec import fit_image, png_bytes
from jinv.images.folder import ImageFolder, class_of
from jinv.judge.judge import Judgement, judge
from jinv.judge.metrics import (
    TooFewImages,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_neighbors,
    precision_recall_density_coverage,
    top_k_correct,
    wilson_interval,
)
from jinv.models.classifier import Classifier
from jinv.weights.labels import find_class

NEIGHBORS = 3
THUMBNAIL = 112

Figure = dict[str, Any]


def compare_with_reference(
    classifier: Classifier, generated: Judgement, names: list[str], labels: np.ndarray, folder: ImageFolder
) -> Figure:
    """The entry `reference` of one verifier's verdict.

    Where every image lies in a folder named after one of the network's classes, also what the network makes of the real
    images themselves, for comparison.
    """
    real = judge(classifier, _fitted(folder, classifier.input_size), statistics=False)
    x, y = real.features, generated.features
    neighbors = min(NEIGHBORS, len(x))
    indices, distances = nearest_neighbors(y, x, k=neighbors)
    result: Figure = {
        "count": len(x),
        "features": x.shape[1],
        "kernel_distance": figure(lambda: kernel_distance(x, y)._asdict()),
        "overlap": figure(lambda: precision_recall_density_coverage(x, y)._asdict()),
        "frechet_distance": figure(lambda: {"value": frechet_distance(x, y)}),
        "nearest": [
            {
                "image": name,
                "neighbors": [
                    {"name": folder.names[j], "distance": float(distance)}
                    for j, distance in zip(row, lengths, strict=True)
                ],
            }
            for name, row, lengths in zip(names, indices, distances, strict=True)
        ],
    }
    real_labels = _labels(folder, classifier)
    if real_labels is not None:
        right = int(top_k_correct(real.logits, real_labels).sum())
        result["top1"] = right / len(x)
        result["interval"] = list(wilson_interval(right, len(x)))
        same = np.isin(real_labels, labels)
        result["diversity"] = figure(lambda: diversity(x[same], real_labels[same]))
    return result


def diversity(features: np.ndarray, labels: np.ndarray) -> Figure:
    """Mean feature distance between two images of a class, averaged over the classes that have two."""
    per_class = mean_pairwise_distance(features, labels)
    return {"value": float(np.mean(list(per_class.values()))), "classes": {str(k): v for k, v in per_class.items()}}


def figure(compute: Callable[[], Figure]) -> Figure:
    """A figure, or why there is none: too few images for it."""
    try:
        return compute()
    except TooFewImages as error:
        return {"withheld": str(error)}


def neighbor_pictures(folder: ImageFolder, nearest: list[Figure]) -> dict[str, bytes]:
    """PNG thumbnails of the real images nearest to each of the run's, by the file name they get in the run."""
    wanted: dict[str, list[str]] = {}
    for entry in nearest:
        for place, neighbor in enumerate(entry["neighbors"]):
            neighbor["file"] = f"nearest/{Path(entry['image']).name[:6]}_{place + 1}.png"
            wanted.setdefault(neighbor["name"], []).append(neighbor["file"])
    pictures: dict[str, bytes] = {}
    for name, pixels in folder.read(sorted(wanted)):
        side = min(THUMBNAIL, max(pixels.shape[:2]))
        data = png_bytes(fit_image(pixels, (side, side)))
        pictures |= dict.fromkeys(wanted[name], data)
    return pictures


def _fitted(folder: ImageFolder, size: int) -> Iterator[np.ndarray]:
    for name, pixels in folder.read():
        try:
            yield fit_image(pixels, (size, size))
        except UsageError as error:
            raise UsageError(f"{folder.path}, {name}: {error}") from None


def _labels(folder: ImageFolder, classifier: Classifier) -> np.ndarray | None:
    """Class ids by class folder, None unless every folder is named after exactly one class."""
    found: dict[str | None, int | None] = {}
    for name in folder.names:
        group = class_of(name)
        if group not in found:
            found[group] = None if group is None else find_class(group, classifier.class_names)
            if found[group] is None:
                return None
    return np.array([found[class_of(name)] for name in folder.names], np.int64)
