"""Figures of many pictures without any network: each metric's mean over them, with its interval."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import stdtrit

from jinv.images.metrics import MEASURES, SHARES
from jinv.record.estimate import Estimate
from jinv.record.evaluation import PictureFigure, Pictures


def picture_figures(pictures: Iterable[np.ndarray], *, each: bool = True) -> Pictures:
    """What uint8 pictures (height, width, 3) of any sizes say; with `each` also every picture's own value.

    Raises:
      ValueError: no pictures.
    """
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    for pixels in pictures:
        for name, measure in MEASURES.items():
            values[name].append(measure(pixels))
    figures = {}
    for name, column in values.items():
        mean = mean_interval(column, 0.0, 1.0 if name in SHARES else math.inf)
        figures[name] = PictureFigure(mean.value, mean.low, mean.high, per_image=tuple(column) if each else ())
    return Pictures(count=len(values["contrast"]), **figures)


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
