"""Real images through both networks: how often the most likely classes differ."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jinv.images.codec import fit_image
from jinv.images.folder import open_image_folder
from jinv.models.classifier import Classifier
from jinv.weights.labels import folder_class
from jinv_convert.parity.flax_side import on_cpu
from jinv_convert.parity.report import Agreement

PIXELS_PER_BATCH = 50 * 32 * 32
"""Small enough that a layer of a batch stays in a core's cache."""
MAXIMUM_WORKERS = 8


class _Outcome(NamedTuple):
    ours: list[int]
    theirs: list[int]
    largest: float


def compare_classes(
    classifier: Classifier,
    folder: Path,
    torch_logits: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[str], None],
) -> Agreement:
    """Top-1 agreement on every picture, fitted to the network's size.

    `torch_logits` takes float32 pixels NHWC in [0, 1], so that its preprocessing is its own. It is called from as many
    threads as there are cores, each batch from one: XLA computes such convolutions on one core alone.
    """
    pictures = open_image_folder(folder)
    size = classifier.input_size
    batch = max(1, PIXELS_PER_BATCH // size**2)
    labels = [folder_class(name, classifier.class_names) for name in pictures.names]
    # One shape and one compilation, which all threads share.
    with on_cpu(np.dtype(np.float32)):
        shape, variables = jax.ShapeDtypeStruct((batch, size, size, 3), np.uint8), jax.device_put(classifier.variables)
        forward = jax.jit(lambda variables, pixels: classifier.forward(variables, classifier.preprocess(pixels)).logits)
        compiled = forward.lower(variables, shape).compile()

    def compare(pixels: np.ndarray) -> _Outcome:
        padded = np.concatenate([pixels, np.zeros((batch - len(pixels), *pixels.shape[1:]), np.uint8)])
        with on_cpu(np.dtype(np.float32)):
            actual = np.asarray(compiled(variables, padded))[: len(pixels)]
        expected = torch_logits(pixels.astype(np.float32) / 255)
        largest = float(np.abs(actual - expected).max())
        return _Outcome(actual.argmax(1).tolist(), expected.argmax(1).tolist(), largest)

    ours: list[int] = []
    theirs: list[int] = []
    largest = 0.0
    workers = min(os.cpu_count() or 1, MAXIMUM_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        for outcome in _in_order(pool, compare, _batches(pictures.read(), batch, size), 2 * workers):
            ours += outcome.ours
            theirs += outcome.theirs
            largest = max(largest, outcome.largest)
            progress(f"the classes of real images: {len(ours):,} of {len(pictures.names):,}")
    correct = None if None in labels else (_equal(theirs, labels), _equal(ours, labels))
    return Agreement(len(ours), len(ours) - _equal(ours, theirs), largest, correct)


def _equal(first: Sequence[int | None], second: Sequence[int | None]) -> int:
    return sum(a == b for a, b in zip(first, second, strict=True))


def _batches(pictures: Iterator[tuple[str, np.ndarray]], batch: int, size: int) -> Iterator[np.ndarray]:
    fitted = (fit_image(picture, (size, size)) for _, picture in pictures)
    while chunk := list(islice(fitted, batch)):
        yield np.stack(chunk)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[np.ndarray], _Outcome], items: Iterator[np.ndarray], ahead: int
) -> Iterator[_Outcome]:
    """`pool.map` that reads at most `ahead` items in advance: an archive may be larger than memory."""
    waiting: deque[Future[_Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
