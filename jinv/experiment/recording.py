"""Statistics of real images in a network's layers, and their colours, recorded image by image in memory that does not grow
with their number."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.choices import Size
from jinv.core.image_stats import image_stats
from jinv.core.processor import jit
from jinv.core.types import ImageStats, RecordedColors, RecordedStats
from jinv.errors import MemoryLimitError, NumericalError, UsageError, nearest
from jinv.experiment.color_moments import ColorMoments
from jinv.images.codec import fit_image
from jinv.images.folder import ImageFolder
from jinv.models.classifier import Classifier
from jinv.models.layers import BatchNorm, Conv, Head
from jinv.models.taps import IMAGE, layers_of, listening
from jinv.weights.labels import folder_class
from jinv.weights.statistics import StatisticsRecord

MAXIMUM_VALUES = 2**28
"""Numbers that are kept at once, 2 GiB: classes times channels times what is recorded of each."""

VARIANCES = {"mean": "var", "cell_mean": "cell_var"}
"""What is a mean, and the variance around it."""


class Wish(NamedTuple):
    """What is recorded beside colours: layers by name, images of `size`, `quantiles` of each channel (0: none), `batch` images at once."""

    layers: tuple[str, ...]
    size: Size
    quantiles: int = 0
    per_class: bool = False
    batch: int = 32


def chosen_layers(classifier: Classifier, patterns: Sequence[str]) -> tuple[str, ...]:
    """The layers that shell patterns name, in network order; without patterns the batch norms, else the convolutions.

    The last convolution of a network that ends in one gives its logits and is left out, unless it is named.

    Raises:
      UsageError: a pattern that names none.
    """
    kinds = layers_of(classifier.module, classifier.variables, classifier.min_size)
    if not patterns:
        norms = [name for name, kind in kinds.items() if issubclass(kind, BatchNorm)]
        return tuple(norms or [n for n, kind in kinds.items() if issubclass(kind, Conv) and not issubclass(kind, Head)])
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in kinds):
            close = nearest(pattern, kinds) or f" (there are {', '.join([*kinds][:4])}, ... {[*kinds][-1]})"
            raise UsageError(f"--layers {pattern}: {classifier.architecture} has no such layer{close}")
    return tuple(name for name in kinds if any(fnmatchcase(name, pattern) for pattern in patterns))


def record_statistics(
    classifier: Classifier, folder: ImageFolder, wish: Wish
) -> tuple[StatisticsRecord, dict[str, RecordedStats], RecordedColors]:
    """Statistics of all images of a folder, of each class' where its folders name classes, and the images' colours.

    Each image is fitted to `wish.size` and measured alone, in float32; their moments are put together in float64, one by one
    (Chan, Golub & LeVeque 1979), so that the size of a batch matters to rounding alone.

    Raises:
      UsageError: images in no class' folder. UnsafeInputError, StorageError: as `ImageFolder.read`.
      NumericalError: values that are not finite. MemoryLimitError: more is to be kept than `MAXIMUM_VALUES`.
    """
    classes = len(classifier.class_names) if wish.per_class else 1
    labels = _labels(classifier, folder) if wish.per_class else dict.fromkeys(folder.names, 0)
    digest = hashlib.sha256()
    moments: _Moments | None = None
    colors = ColorMoments()
    for names, found in _measured(classifier, folder, wish, digest, colors):
        moments = moments or _Moments(classes, found)
        for index, name in enumerate(names):
            moments.add(labels[name], [{key: array[index] for key, array in layer.items()} for layer in found])
    assert moments is not None  # a folder has images
    record = StatisticsRecord(
        architecture=classifier.architecture,
        model_sha256=classifier.source["source"]["sha256"],
        mean=tuple(float(value) for value in classifier.mean),
        std=tuple(float(value) for value in classifier.std),
        layers=wish.layers,
        size=wish.size,
        images=len(folder.names),
        images_sha256=digest.hexdigest(),
        folder=Path(folder.path).name,
        class_counts=tuple(int(count) for count in moments.counts) if wish.per_class else (),
        quantiles=wish.quantiles,
    )
    return record, dict(zip(wish.layers, moments.recorded(wish.per_class), strict=True)), colors.recorded()


def _labels(classifier: Classifier, folder: ImageFolder) -> dict[str, int]:
    labels = {name: folder_class(name, classifier.class_names) for name in folder.names}
    lost = [name for name, label in labels.items() if label is None]
    if lost:
        raise UsageError(
            f"{folder.path}: {lost[0]} lies in no folder of a class of {classifier.architecture} "
            f"({len(lost)} of {len(labels)} images do not); --per-class needs a folder per class"
        )
    return {name: label for name, label in labels.items() if label is not None}


def _measured(
    classifier: Classifier, folder: ImageFolder, wish: Wish, digest: Any, colors: ColorMoments
) -> Iterator[tuple[list[str], list[dict[str, np.ndarray]]]]:
    """(names, per layer {value: (images, ...)}) of one batch after another; the last is filled up, for one program."""
    measure = _program(classifier, wish)
    images = folder.read()
    while chunk := list(islice(images, wish.batch)):
        for name, pixels in chunk:
            digest.update(repr((name, pixels.shape)).encode() + np.ascontiguousarray(pixels).tobytes())
        fitted = [fit_image(pixels, wish.size) for _, pixels in chunk]
        for image in fitted:
            colors.add(image / 255)
        batch = np.stack(fitted + fitted[:1] * (wish.batch - len(fitted)))
        stats: list[ImageStats] = measure(classifier.variables, classifier.preprocess(batch))
        layers = []
        for name, values in zip(wish.layers, stats, strict=True):
            kept = {key: np.asarray(value) for key, value in values._asdict().items() if value is not None}
            if not all(np.isfinite(array).all() for array in kept.values()):
                raise NumericalError(f"{classifier.architecture}: layer {name} of these images is not finite")
            layers.append(kept)
        yield [name for name, _ in chunk], layers


def _program(classifier: Classifier, wish: Wish) -> Callable[..., Any]:
    def measure(variables: Any, images: jax.Array) -> list[ImageStats]:
        with listening(wish.layers) as heard:
            classifier.forward(variables, images)
        heard.layers[IMAGE] = images
        return [image_stats(heard.layers[name], wish.quantiles or None) for name in wish.layers]

    compiled: Callable[..., Any] = jit(measure)
    return compiled


class _Moments:
    """Per class and layer the mean of each value, and the sum of squared differences from it where it is a mean itself."""

    def __init__(self, classes: int, example: list[dict[str, np.ndarray]]) -> None:
        sizes = [array[0].size for layer in example for array in layer.values()]
        if classes * 2 * sum(sizes) > MAXIMUM_VALUES:
            raise MemoryLimitError(
                f"record-stats: {classes} classes of {sum(sizes):,} values each are more than are kept at once, "
                f"{MAXIMUM_VALUES // 2:,}; choose fewer --layers or --quantiles"
            )
        self.counts = np.zeros(classes)
        zeros = [{key: np.zeros((classes, *array.shape[1:])) for key, array in layer.items()} for layer in example]
        self.means = zeros
        self.squares = [{key: np.zeros_like(layer[key]) for key in VARIANCES} for layer in zeros]

    def add(self, label: int, image: list[dict[str, np.ndarray]]) -> None:
        """One more image of that class."""
        self.counts[label] += 1
        for mean, square, values in zip(self.means, self.squares, image, strict=True):
            for key, value in values.items():
                offset = value - mean[key][label]
                mean[key][label] += offset / self.counts[label]
                if key in square:
                    square[key][label] += offset * (value - mean[key][label])

    def recorded(self, per_class: bool) -> list[RecordedStats]:
        """Of each layer: all images, and each class'; a class without images has zeros."""
        share = self.counts / self.counts.sum()
        found = []
        for mean, square in zip(self.means, self.squares, strict=True):
            every = {key: np.tensordot(share, value, 1) for key, value in mean.items()}
            # A class' variance is that within its images, and that between them; over classes likewise.
            var = {key: mean[own] + _divided(square[key], self.counts) for key, own in VARIANCES.items()}
            total = {key: np.tensordot(share, var[key] + (mean[key] - every[key]) ** 2, 1) for key in VARIANCES}
            values = {
                "mean": every["mean"],
                "var": total["mean"],
                "cell_mean": every["cell_mean"],
                "cell_var": total["cell_mean"],
                "quantiles": every.get("quantiles"),
            }
            if per_class:
                values |= {"class_mean": mean["mean"], "class_var": var["mean"]}
                values["class_quantiles"] = mean.get("quantiles")
            arrays = {key: jnp.asarray(value, jnp.float32) for key, value in values.items() if value is not None}
            found.append(RecordedStats(**arrays))
        return found


def _divided(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    divided: np.ndarray = sums / np.maximum(counts, 1).reshape(-1, *[1] * (sums.ndim - 1))
    return divided
