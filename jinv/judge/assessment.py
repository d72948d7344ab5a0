"""What a judge makes of many labelled pictures, image by image: shares and confidences, never all logits at once.

Memory is a block of pictures, some numbers per image, and features of at most `MOST_FEATURES` images.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from jinv.core.types import NormStats
from jinv.judge.judge import Pool, look
from jinv.judge.judges import Judge
from jinv.judge.metrics import share_of, top_k_correct
from jinv.judge.picture_metrics import mean_interval
from jinv.record.estimate import Estimate

MOST_FEATURES = 10_000
"""Images of a set whose features are kept and compared; of more, so many are drawn class by class, and the record says so.
All pairs of 50,000 images would take hours."""


class Said(NamedTuple):
    """What logits say of n images, each an array (n,).

    first, five: is the label among the largest, or the five largest, logits? wanted: the label's probability. predicted,
    confidence: the class with the largest logit, and its probability.
    """

    first: np.ndarray
    five: np.ndarray
    wanted: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray


class Assessment(NamedTuple):
    """What a judge says of n images, with its features (k, d), None of an ONNX judge, of those images that were to be kept."""

    said: Said
    features: np.ndarray | None
    norm_stats: tuple[NormStats, ...] = ()


class Recognition(NamedTuple):
    """Shares of images that a judge gives their class, first and among five, and its mean confidence in it."""

    top1: Estimate
    top5: Estimate
    mean_confidence: Estimate


def assess(
    classifier: Judge,
    pictures: Iterable[np.ndarray],
    labels: np.ndarray,
    kept: np.ndarray | None = None,
    *,
    statistics: bool = True,
) -> Assessment:
    """Run uint8 pictures (H, W, 3) of these classes through a judge; features are those of the images `kept`, ascending.

    Raises:
      As `judge`. ValueError: not as many pictures as labels.
    """
    parts: list[Said] = []
    features: list[np.ndarray] = []
    pool, count, wanted = Pool(), 0, np.empty(0, np.int64) if kept is None else kept
    for part in look(classifier, pictures, statistics=statistics):
        here = slice(count, count + len(part.logits))
        if (count := here.stop) > len(labels):
            break
        parts.append(said_of(part.logits, labels[here]))
        pool.add(part)
        if part.features is not None:
            features.append(part.features[wanted[(wanted >= here.start) & (wanted < here.stop)] - here.start])
    if count != len(labels):
        raise ValueError(f"assess: {count} pictures or more, {len(labels)} labels")
    said = Said(*map(np.concatenate, zip(*parts, strict=True)))
    return Assessment(said, np.concatenate(features) if features else None, pool.norm_stats())


def said_of(logits: np.ndarray, labels: np.ndarray) -> Said:
    """What logits (n, classes) say of images of these classes."""
    probabilities = softmax(np.asarray(logits, np.float64), axis=1)
    rows, predicted = np.arange(len(labels)), logits.argmax(axis=1)
    five = top_k_correct(logits, labels, min(5, logits.shape[1]))
    first = top_k_correct(logits, labels)
    return Said(first, five, probabilities[rows, labels], predicted, probabilities[rows, predicted])


def recognition_of(said: Said) -> Recognition:
    """The shares and the mean confidence; that one with Student's interval cut to [0, 1]."""
    count = len(said.first)
    top1, top5 = (share_of(int(right.sum()), count) for right in (said.first, said.five))
    return Recognition(top1, top5, mean_interval(said.wanted.tolist(), 0.0, 1.0))


def recognition(logits: np.ndarray, labels: np.ndarray) -> Recognition:
    """What logits (n, classes) say of images of these classes, as shares."""
    return recognition_of(said_of(logits, labels))
