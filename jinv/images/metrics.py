"""What pictures say by themselves, without any network: fine structure and its scale, contrast and colour.

In pixel units (white is 1), on the luma of 8-bit pictures, so that runs of different networks compare. Computed on the
host in float64, once per evaluation. A metric of one's own is a function `(pixels, *, hyperparameters) -> float` of a plugin.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jinv.core.signatures import as_float, kind_of, positional, returned, silently
from jinv.errors import NumericalError, UsageError

Pixels = UInt8[np.ndarray, "h w 3"]

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601's weights, as in JPEG and PNG viewers' grey."""

HIGH_FREQUENCY = 0.25
"""Cycles per pixel above which a frequency counts as high: half of the finest grating that pixels can show."""

WHITE_NOISE_HIGH_FREQUENCY = 1 - np.pi * HIGH_FREQUENCY**2
"""What white noise has above it: the share of the square of all frequencies outside the circle, 0.80."""


def high_frequency_energy(pixels: Pixels, *, above: float = HIGH_FREQUENCY) -> float:
    """The share of the spectral energy at radial frequencies above `above` cycles per pixel.

    `sum_{|f| > above} |F(f)|^2 / sum_{f != 0} |F(f)|^2`, F the 2-D Fourier transform of the luma less its mean under a
    Hann window in both directions; the window keeps the jump between opposite edges out. White noise has 0.80, a
    photograph a few hundredths. 0 for a picture of one colour.
    """
    energy, radius = _spectrum(pixels)
    total = energy.sum()
    return float(energy[radius > above].sum() / total) if total > 0 else 0.0


def mean_frequency(pixels: Pixels) -> float:
    """The mean radial frequency in cycles per pixel, weighted with energy; 0 for a picture of one colour.

    `sum |f| |F(f)|^2 / sum |F(f)|^2` without f = 0, F as in `high_frequency_energy`. A picture enlarged k times has 1/k
    of it, one that shows more objects of the same size has the same. White noise has 0.38.
    """
    energy, radius = _spectrum(pixels)
    total = energy.sum()
    return float((energy * radius).sum() / total) if total > 0 else 0.0


def mean_variation(pixels: Pixels) -> float:
    """Total variation per pixel: the mean absolute difference of vertical and of horizontal neighbours, summed."""
    values = pixels.astype(np.float64) / 255
    return float(sum(np.abs(np.diff(values, axis=axis)).mean() if values.shape[axis] > 1 else 0.0 for axis in (0, 1)))


def contrast(pixels: Pixels) -> float:
    """RMS contrast: the standard deviation of the luma over the picture's pixels, in units where white is 1.

    0 for a picture of one colour, 0.5 at most (half black, half white). Peli (1990).
    """
    return float(_luma(pixels).std())


def saturation(pixels: Pixels) -> float:
    """HSV's saturation, `(max - min) / max` of a pixel's channels, every pixel weighted with its value `max`.

    That is `sum (max - min) / sum max`, from 0 (grey) to 1. The plain mean would count nearly black pixels, whose
    saturation is rounding, as much as bright ones. 0 for a black picture. Smith (1978).
    """
    values = pixels.astype(np.float64)
    most, least = values.max(axis=2), values.min(axis=2)
    total = most.sum()
    return float((most - least).sum() / total) if total > 0 else 0.0


MEASURES: dict[str, Callable[[Pixels], float]] = {
    "high_frequency_energy": high_frequency_energy,
    "mean_variation": mean_variation,
    "mean_frequency": mean_frequency,
    "contrast": contrast,
    "saturation": saturation,
}
"""By their names in evaluation.json."""

SHARES = ("high_frequency_energy", "saturation")
"""Those that cannot be above 1."""


def is_metric(function: Callable[..., Any]) -> bool:
    """The signature is the registration: (pixels, *, hyperparameters) that returns a `float`."""
    return positional(function) == ("pixels",) and returned(function) is float


class Metric(NamedTuple):
    """A metric of one's own with its hyperparameters bound.

    plugin: what brought it, as it was named, "" where it was added in Python. sha256: of the plugin's file.
    """

    name: str
    function: Callable[..., float]
    hyperparameters: Mapping[str, Any] = {}  # noqa: RUF012  (never written)
    plugin: str = ""
    sha256: str | None = None

    def of(self, pixels: Pixels, picture: str) -> float:
        """The value of a picture that is called `picture`; the function cannot write into it.

        Raises:
          UsageError: the function raises, or returns no number. NumericalError: the value is not finite.
        """
        shown = pixels.view()
        shown.flags.writeable = False  # other metrics look at it after this one
        try:
            with silently():
                value = self.function(shown, **self.hyperparameters)
        except MemoryError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            where = f"{self._where}: raises {type(error).__name__}{self._line(error)}"
            raise UsageError(f"{where}: {said:.200}{' ' if said else ''}(of {picture})") from error
        number = as_float(value)
        if number is None:
            raise UsageError(f"{self._where}: returns {kind_of(value)}, not a number (of {picture})")
        if not math.isfinite(number):
            raise NumericalError(f"{self._where}: is {number}, not a finite number (of {picture})")
        return number

    @property
    def _where(self) -> str:
        code: Any = getattr(inspect.unwrap(self.function), "__code__", None)
        place = f"{self.plugin}:{code.co_firstlineno}: " if self.plugin and code else ""
        return f"{place}metric {self.name}"

    def _line(self, error: Exception) -> str:
        code: Any = getattr(inspect.unwrap(self.function), "__code__", None)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
        return f" at line {frames[-1].lineno}" if frames else ""


def _luma(pixels: np.ndarray) -> np.ndarray:
    luma: np.ndarray = (pixels.astype(np.float64) / 255) @ np.asarray(LUMA)
    return luma


def _spectrum(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(energy without the mean's, radial frequency in cycles per pixel), both (h, w)."""
    luma = _luma(pixels)
    height, width = luma.shape
    window = np.outer(_hann(height), _hann(width))
    # Subtracting the window's own mean of the picture makes the windowed picture's zero frequency exactly zero.
    luma = luma - (luma * window).sum() / window.sum()
    luma = np.where(np.abs(luma) < 1e-12, 0.0, luma)  # rounding is not structure
    energy = np.abs(np.fft.fft2(luma * window)) ** 2
    energy[0, 0] = 0.0
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    return energy, np.hypot(np.broadcast_to(rows, energy.shape), np.broadcast_to(columns, energy.shape))


def _hann(length: int) -> np.ndarray:
    """Hann's window without its zeros at the ends, so that no pixel is left out."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
