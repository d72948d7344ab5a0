"""A network's opinion of pictures: logits, the features before its head, and its batch-norm statistics.

Pictures of another size than the network's own are resized to it, bicubic and antialiased; what has another aspect is
cut at the centre. Every picture is judged by itself, whatever batch it is computed in.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.processor import jit
from jinv.core.types import NormStats
from jinv.errors import NumericalError
from jinv.images.codec import fit_image
from jinv.judge.judges import Judge
from jinv.judge.onnx_judge import OnnxJudge
from jinv.models.classifier import Classifier
from jinv.models.features import forward_with_features

BATCH = 16


class Judgement(NamedTuple):
    """Logits (n, classes), features (n, d), and statistics pooled over all n pictures (none where not asked for).

    A judge in ONNX has neither features nor statistics.
    """

    logits: np.ndarray
    features: np.ndarray | None
    norm_stats: tuple[NormStats, ...] = ()


class Moments(NamedTuple):
    """One layer's sums over pictures of per-picture means and mean squares, in float64."""

    mean: np.ndarray
    square: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray
    pixels: int


class Part(NamedTuple):
    """Of some pictures logits (n, classes), features (n, d) or None, and each layer's sums."""

    logits: np.ndarray
    features: np.ndarray | None
    moments: list[Moments]


class Pool:
    """The statistics of all pictures, from those of their parts."""

    def __init__(self) -> None:
        self._moments: list[Moments] | None = None
        self._pictures = 0

    def add(self, part: Part) -> None:
        """Take a part into account."""
        self._pictures += len(part.logits)
        self._moments = _added(self._moments, part.moments)

    def norm_stats(self) -> tuple[NormStats, ...]:
        """The statistics that one batch of all pictures would have; none where none were asked for."""
        return _pooled(self._moments or [], self._pictures)


def judge(classifier: Judge, pictures: Iterable[np.ndarray], *, statistics: bool = True) -> Judgement:
    """Run uint8 pictures (H, W, 3) of any sizes through `classifier` at its own input size, and keep all it says.

    Raises:
      As `look`.
    """
    pool, logits, features = Pool(), [], []
    for part in look(classifier, pictures, statistics=statistics):
        logits.append(part.logits)
        features += [] if part.features is None else [part.features]
        pool.add(part)
    return Judgement(np.concatenate(logits), np.concatenate(features) if features else None, pool.norm_stats())


def look(classifier: Judge, pictures: Iterable[np.ndarray], *, statistics: bool = True) -> Iterator[Part]:
    """What `classifier` says of uint8 pictures (H, W, 3) of any sizes, `BATCH` after `BATCH`.

    Raises:
      ValueError: no pictures. NumericalError: logits or features that are not finite.
      ModelMismatchError: a judge in ONNX that does not give what is said of it.
    """
    say = _logits_alone(classifier) if isinstance(classifier, OnnxJudge) else _forward(classifier, statistics)
    empty = True
    for batch, real in _batches(pictures, classifier.input_size):
        empty = False
        yield say(batch, real)
    if empty:
        raise ValueError("judge: there are no pictures")


def _forward(classifier: Classifier, statistics: bool) -> Callable[[np.ndarray, int], Part]:
    @jit
    def forward(variables: Any, batch: jax.Array) -> Any:
        # One image at a time under vmap: each has its own statistics, and those of the padding are dropped below.
        result, features = jax.vmap(lambda image: forward_with_features(classifier, variables, image[None]))(batch)
        return result.logits[:, 0], features[:, 0], result.norm_stats if statistics else ()

    def say(batch: np.ndarray, real: int) -> Part:
        logits, features, stats = forward(classifier.variables, classifier.preprocess(batch))
        logits, features = np.asarray(logits, np.float64)[:real], np.asarray(features, np.float32)[:real]
        _check_finite(classifier, logits, features)
        return Part(logits, features, _moments(stats, real))

    return say


def _logits_alone(judge: OnnxJudge) -> Callable[[np.ndarray, int], Part]:
    def say(batch: np.ndarray, real: int) -> Part:
        logits = judge.logits(batch)[:real]
        _check_finite(judge, logits)
        return Part(logits, None, [])

    return say


def _check_finite(classifier: Judge, *values: np.ndarray) -> None:
    if not all(np.isfinite(array).all() for array in values):
        raise NumericalError(f"{classifier.architecture}: its logits of these images are not finite")


def _batches(pictures: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """(batch, number of real pictures in it), all of one size, so that the network is compiled once."""
    iterator = iter(pictures)
    length = None
    while chunk := [fit_image(picture, (size, size)) for picture in islice(iterator, BATCH)]:
        length = length or len(chunk)
        yield np.stack(chunk + chunk[:1] * (length - len(chunk))), len(chunk)


def _moments(stats: tuple[NormStats, ...], real: int) -> list[Moments]:
    result = []
    for layer in stats:
        # vmap gave every picture a copy of the running statistics and of the count.
        mean, var, running_mean, running_var, count = (np.asarray(value)[:real] for value in layer)
        mean, var = mean.astype(np.float64), var.astype(np.float64)
        sums = mean.sum(axis=0), (var + mean**2).sum(axis=0)
        result.append(Moments(*sums, running_mean[0], running_var[0], int(count.sum())))
    return result


def _added(total: list[Moments] | None, new: list[Moments]) -> list[Moments]:
    if total is None:
        return new
    return [
        a._replace(mean=a.mean + b.mean, square=a.square + b.square, pixels=a.pixels + b.pixels)
        for a, b in zip(total, new, strict=True)
    ]


def _pooled(moments: list[Moments], pictures: int) -> tuple[NormStats, ...]:
    """The statistics that one batch of all pictures would have: they are of equal size and weigh the same."""
    layers = []
    for layer in moments:
        mean = layer.mean / pictures
        var = np.maximum(layer.square / pictures - mean**2, 0)
        running = jnp.asarray(layer.running_mean), jnp.asarray(layer.running_var)
        layers.append(NormStats(jnp.asarray(mean), jnp.asarray(var), *running, layer.pixels))
    return tuple(layers)
