"""Real images through both networks: how often the most likely classes differ."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import jax
import numpy as np

from convert.parity_jax import on_cpu
from convert.parity_report import Agreement
from jinv.image_folder import class_of, open_image_folder
from jinv.images import fit_image
from jinv.models.classifier import Classifier

PIXELS_PER_BATCH = 250 * 32 * 32


def compare_classes(
    classifier: Classifier,
    folder: Path,
    torch_logits: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[str], None],
) -> Agreement:
    """Top-1 agreement on every picture, fitted to the network's size.

    `torch_logits` takes float32 pixels NHWC in [0, 1], so that its preprocessing is its own.
    """
    pictures = open_image_folder(folder)
    size = classifier.input_size
    batch = max(1, PIXELS_PER_BATCH // size**2)
    index = {name: number for number, name in enumerate(classifier.class_names)}
    forward = jax.jit(lambda variables, image: classifier.forward(variables, image).logits)
    labels, ours, theirs, largest = [], [], [], 0.0
    reading = pictures.read()
    while chunk := list(islice(reading, batch)):
        names = [name for name, _ in chunk]
        pixels = np.stack([fit_image(picture, (size, size)) for _, picture in chunk])
        # The last batch is filled up: one shape, one compilation.
        padded = np.concatenate([pixels, np.zeros((batch - len(pixels), *pixels.shape[1:]), np.uint8)])
        with on_cpu(np.dtype(np.float32)):
            actual = np.asarray(forward(classifier.variables, classifier.preprocess(padded)))[: len(pixels)]
        expected = torch_logits(pixels.astype(np.float32) / 255)
        largest = max(largest, float(np.abs(actual - expected).max()))
        ours += actual.argmax(1).tolist()
        theirs += expected.argmax(1).tolist()
        labels += [index.get(class_of(name) or "") for name in names]
        progress(f"the classes of real images: {len(ours):,} of {len(pictures.names):,}")
    correct = None
    if None not in labels:
        correct = tuple(sum(a == b for a, b in zip(found, labels, strict=True)) for found in (theirs, ours))
    return Agreement(len(ours), sum(a != b for a, b in zip(ours, theirs, strict=True)), largest, correct)
