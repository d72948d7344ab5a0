"""What functions are called with: images at which formulas have their corners, and a network that is none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.image_stats import image_stats
from jinv.core.types import Forward, Image, NormStats, RecordedStats

KINDS = {
    "random": "random images",
    "constant": "images of one colour",
    "zero": "images of zeros (the mean colour)",
    "checker": "checkerboards",
    "half constant": "images with a half of one colour",
    "clipped": "clipped images",
    "steps": "images of few grey levels",
    "agreeing": "images whose statistics are the running ones",
}
"""Kinds of images, in words. All but the first have equal neighbours, or statistics at which a norm has its corner."""

NUM_CLASSES = 12
COUNT, HEIGHT, WIDTH = 3, 16, 12
CALLED = f"{COUNT} images of {HEIGHT} x {WIDTH} px and a stand-in network of {NUM_CLASSES} classes and 2 norm layers"


def images(
    kind: str, n: int = COUNT, height: int = HEIGHT, width: int = WIDTH, dtype: Any = jnp.float32, seed: int = 0
) -> Image:
    """(n, height, width, 3) images of one of the `KINDS`."""
    image = np.random.default_rng(seed).normal(size=(n, height, width, 3))
    if kind == "checker":
        squares = np.where(np.indices(image.shape[1:3]).sum(0) % 2, 1.0, -1.0)
        image = np.broadcast_to(squares[None, :, :, None], image.shape)
    elif kind == "half constant":
        image[:, :, : (width + 1) // 2] = 0.7
    elif kind == "clipped":
        image = np.clip(2 * image, -1, 1)
    elif kind == "steps":  # grey levels: some neighbours are equal in one direction alone
        image = np.round(image)
    elif kind == "agreeing":  # each mean is its layer's running mean: to the last bit where a power of two is averaged
        image = np.broadcast_to([-1.0, 0.0, 1.0], image.shape)
    elif kind != "random":
        image = np.full(image.shape, {"constant": 0.7, "zero": 0.0}[kind])
    return jnp.asarray(image, dtype)


def network(image: Image) -> Forward:
    """A stand-in with logits and two norm layers, so that every field of `Forward` depends on the image."""
    features = jnp.tanh(image.reshape(image.shape[0], -1)[:, :NUM_CLASSES])
    stats = []
    for scale in (1.0, 3.0):
        x = image * scale
        mean = x.mean(axis=(0, 1, 2))
        var = ((x - mean[None, None, None, :]) ** 2).mean(axis=(0, 1, 2))
        running = jnp.arange(1.0, 4.0, dtype=image.dtype) * scale
        stats.append(NormStats(mean, var, running - 2 * scale, running, x.shape[0] * x.shape[1] * x.shape[2]))
    labels = jnp.arange(image.shape[0], dtype=jnp.int32) // 2 % NUM_CLASSES
    layers = tuple(image_stats(image * scale, 5) for scale in (1.0, 3.0))
    cells = layers[0].cell_mean.shape[1]
    recorded = tuple(recorded_stats(3, cells=cells, seed=seed, dtype=image.dtype) for seed in (0, 1))
    student = jnp.roll(features, 1, axis=1)
    return Forward(image, features, labels, tuple(stats), student, image / 4 + 0.5, layers, recorded, features)


def recorded_stats(
    channels: int,
    *,
    cells: int = 16,
    quantiles: int = 5,
    classes: int = NUM_CLASSES,
    seed: int = 0,
    dtype: Any = jnp.float32,
) -> RecordedStats:
    """Made-up recorded statistics of one layer; its first channel and first cell never varied."""
    random = np.random.default_rng(seed)
    var, cell_var = random.uniform(0.5, 2, channels), random.uniform(0.5, 2, cells)
    var[0] = cell_var[0] = 0
    arrays = {
        "mean": random.normal(size=channels),
        "var": var,
        "cell_mean": random.normal(size=cells),
        "cell_var": cell_var,
        "quantiles": np.sort(random.normal(size=(quantiles, channels)), axis=0),
        "class_mean": random.normal(size=(classes, channels)),
        "class_var": random.uniform(0.5, 2, (classes, channels)),
        "class_quantiles": np.sort(random.normal(size=(classes, quantiles, channels)), axis=1),
    }
    return RecordedStats(**{name: jnp.asarray(array, dtype) for name, array in arrays.items()})


def unlike(image: jax.Array) -> jax.Array:
    """A fixed direction of the image's shape, for the gradient of what is not a scalar."""
    return jnp.asarray(np.random.default_rng(1).normal(size=image.shape), image.dtype)
