"""A run's images beside real ones, in the features of a network: how near, how alike, how varied.

Real images go through the same resizing as the run's. A figure for which there are too few images is not given; its
place says how many it takes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from jinv.errors import UsageError, legible
from jinv.images.codec import fit_image, png_bytes
from jinv.images.folder import ImageFolder
from jinv.images.sample import draw_by_class
from jinv.judge.assessment import MOST_FEATURES, assess
from jinv.judge.judges import Judge
from jinv.judge.metrics import (
    TooFewImages,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_neighbors,
    precision_recall_density_coverage,
    share_of,
)
from jinv.judge.onnx_judge import WITHOUT_FEATURES
from jinv.judge.photographs import image_label
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Distance, Diversity, Nearest, Neighbor, RealImages, Withheld

NEIGHBORS = 3
THUMBNAIL = 112

Figure = TypeVar("Figure")


class Generated(NamedTuple):
    """The run's side of a comparison: of n images the features (n, d), None of an ONNX judge, files and labels.

    `drawn` (n,) are those that stand for the whole run; the others are there to be shown beside their neighbours.
    """

    features: np.ndarray | None
    files: Sequence[str]
    labels: np.ndarray
    drawn: np.ndarray


def compare_with_reference(
    classifier: Judge, generated: Generated, classes: np.ndarray, folder: ImageFolder
) -> RealImages:
    """The entry `reference` of one verifier's verdict; `classes` are the labels of the whole run.

    Where every image's class is clear (see `image_label`), also what the network makes of the real images themselves.
    A judge without features withholds what is compared in them. Of more than `MOST_FEATURES` real images so many are
    drawn for that.
    """
    count, known = len(folder.names), _labels(folder, classifier)
    labels = np.zeros(count, np.int64) if known is None else known
    kept = draw_by_class(labels, MOST_FEATURES)
    # Where classes are not known, nobody looks at what is said of them.
    real = assess(classifier, _fitted(folder, classifier.input_size), labels, kept, statistics=False)
    top1 = None if known is None else share_of(int(real.said.first.sum()), count)
    if real.features is None or generated.features is None:
        return _without_features(count, top1, known is not None)
    x, y = real.features, generated.features[generated.drawn]
    x_labels, y_labels = None if known is None else known[kept], generated.labels[generated.drawn]
    varied = None
    if x_labels is not None:
        same = np.isin(x_labels, classes)
        varied = figure(lambda: diversity(x[same], x_labels[same]))
    return RealImages(
        count=count,
        sampled=len(kept) if len(kept) < count else None,
        features=x.shape[1],
        kernel_distance=figure(lambda: kernel_distance(x, y, real_labels=x_labels, labels=y_labels)),
        overlap=figure(lambda: precision_recall_density_coverage(x, y)),
        frechet_distance=figure(lambda: Distance(value=frechet_distance(x, y))),
        nearest=_nearest(x, generated.features, generated.files, [folder.names[index] for index in kept]),
        top1=top1,
        diversity=varied,
    )


def _without_features(count: int, top1: Estimate | None, by_class: bool) -> RealImages:
    withheld = Withheld(withheld=WITHOUT_FEATURES)
    return RealImages(
        count=count,
        features=0,
        kernel_distance=withheld,
        overlap=withheld,
        frechet_distance=withheld,
        top1=top1,
        diversity=withheld if by_class else None,
    )


def _nearest(x: np.ndarray, y: np.ndarray, files: Sequence[str], names: Sequence[str]) -> tuple[Nearest, ...]:
    indices, distances = nearest_neighbors(y, x, k=min(NEIGHBORS, len(x)))
    found = []
    for file, row, lengths in zip(files, indices.tolist(), distances.tolist(), strict=True):
        neighbors = (Neighbor(name=legible(names[j]), distance=d) for j, d in zip(row, lengths, strict=True))
        found.append(Nearest(image=file, neighbors=tuple(neighbors)))
    return tuple(found)


def diversity(features: np.ndarray | None, labels: np.ndarray) -> Diversity | Withheld:
    """Mean feature distance between two images of a class, averaged over the classes that have two."""
    if features is None:
        return Withheld(withheld=WITHOUT_FEATURES)
    per_class = mean_pairwise_distance(features, labels)
    return Diversity(value=float(np.mean(list(per_class.values()))), classes={str(k): v for k, v in per_class.items()})


def figure(compute: Callable[[], Figure]) -> Figure | Withheld:
    """A figure, or why there is none: too few images for it."""
    try:
        return compute()
    except TooFewImages as error:
        return Withheld(withheld=str(error))


def with_thumbnails(
    folder: ImageFolder, nearest: Sequence[Nearest], shown: Collection[str]
) -> tuple[tuple[Nearest, ...], dict[str, bytes]]:
    """`nearest` with the names of thumbnails in the run where the image is among `shown`, and those as PNG files by name."""
    named: list[Nearest] = []
    wanted: dict[str, list[str]] = {}
    for entry in nearest:
        if entry.image not in shown:
            named.append(entry)
            continue
        neighbors = []
        for place, neighbor in enumerate(entry.neighbors, 1):
            file = f"nearest/{Path(entry.image).name[:6]}_{place}.png"
            neighbors.append(replace(neighbor, file=file))
            wanted.setdefault(neighbor.name, []).append(file)
        named.append(Nearest(image=entry.image, neighbors=tuple(neighbors)))
    pictures: dict[str, bytes] = {}
    originals = {legible(name): name for name in folder.names}
    for name, pixels in folder.read([originals[name] for name in sorted(wanted)]):
        side = min(THUMBNAIL, max(pixels.shape[:2]))
        data = png_bytes(fit_image(pixels, (side, side)))
        pictures |= dict.fromkeys(wanted[legible(name)], data)
    return tuple(named), pictures


def _fitted(folder: ImageFolder, size: int) -> Iterator[np.ndarray]:
    for name, pixels in folder.read():
        try:
            yield fit_image(pixels, (size, size))
        except UsageError as error:
            raise UsageError(f"{folder.path}, {name}: {error}") from None


def _labels(folder: ImageFolder, classifier: Judge) -> np.ndarray | None:
    """The images' class ids, None unless every one's is clear."""
    labels = [image_label(name, classifier.class_names) for name in folder.names]
    return None if None in labels else np.array(labels, np.int64)
