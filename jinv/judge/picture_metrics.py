"""Figures of many pictures without any network: each metric's mean over them, with its interval."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from jinv.images.metrics import MEASURES, SHARES, Metric
from jinv.record.estimate import Estimate
from jinv.record.evaluation import MetricFigure, PictureFigure, Pictures

Metrics = Mapping[str, Metric]
"""Plugins' metrics by name, with their hyperparameters."""


def picture_figures(
    pictures: Iterable[np.ndarray], metrics: Metrics | None = None, names: Sequence[str] = (), *, each: bool = True
) -> Pictures:
    """What uint8 pictures (height, width, 3) of any sizes say; with `each` also every picture's own value.

    Args:
      metrics: what else is measured of them.
      names: of the pictures in their order, for messages; what has none goes by its number.

    Raises:
      ValueError: no pictures. UsageError, NumericalError: as `Metric.of`.
    """
    metrics = metrics or {}
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    own: dict[str, list[float]] = {name: [] for name in metrics}
    for number, pixels in enumerate(pictures):
        for name, measure in MEASURES.items():
            values[name].append(measure(pixels))
        for name, metric in metrics.items():
            own[name].append(metric.of(pixels, names[number] if names else f"picture {number}"))
    figures = {}
    for name, column in values.items():
        mean = mean_interval(column, 0.0, 1.0 if name in SHARES else math.inf)
        figures[name] = PictureFigure(mean.value, mean.low, mean.high, per_image=tuple(column) if each else ())
    found = {name: _metric_figure(metrics[name], column, each) for name, column in own.items()}
    return Pictures(count=len(values["contrast"]), **figures, metrics=found)


def _metric_figure(metric: Metric, values: list[float], each: bool) -> MetricFigure:
    mean = mean_interval(values)
    return MetricFigure(
        mean.value,
        mean.low,
        mean.high,
        per_image=tuple(values) if each else (),
        sha256=metric.sha256,
        hyperparameters=dict(metric.hyperparameters),
    )


def are_measured(pictures: Pictures | None, metrics: Metrics) -> bool:
    """Whether these figures have every metric, of the plugin as it is now and with the same hyperparameters."""
    found = pictures.metrics if pictures else {}
    return all(
        name in found
        and found[name].sha256 == metric.sha256
        and json.dumps(dict(found[name].hyperparameters)) == json.dumps(dict(metric.hyperparameters))
        for name, metric in metrics.items()
    )


def mean_interval(values: list[float], least: float = -math.inf, most: float = math.inf) -> Estimate:
    """The mean with its 95 % interval, `m +- t s / sqrt(n)`, Student's t with n - 1 degrees of freedom; one value has none.

    No value can be below `least` or above `most`, which Student's interval does not know: it is cut there.

    Raises:
      ValueError: no values.
    """
    if not values:
        raise ValueError("mean_interval: no values")
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean)
    half = float(stdtrit(len(array) - 1, 0.975) * array.std(ddof=1)) / len(array) ** 0.5
    return Estimate(mean, max(mean - half, least), min(mean + half, most))
