"""The colours of real images, image by image in float64, in memory that does not grow with their number."""

import numpy as np

from jinv.core.colors import GREY_LEVEL, OPPONENT_AXES
from jinv.core.types import RecordedColors


class ColorMoments:
    """What the colours of images of one size have in common, put together as each is added (Welford 1962; Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self._means, self._descriptors = _Moments(3), _Moments(6)
        self._within, self._edges = np.zeros((3, 3)), np.zeros(3)

    def add(self, pixels: np.ndarray) -> None:
        """One more image (H, W, 3), black 0 and white 1."""
        self.count += 1
        values = np.asarray(pixels, np.float64)
        flat = values.reshape(-1, 3)
        mean = flat.mean(axis=0)
        covariance = (flat - mean).T @ (flat - mean) / len(flat)
        self._means.add(mean)
        self._within += (covariance - self._within) / self.count
        # As `core.colors.color_descriptors` has them: a turned covariance has the axes' variances on its diagonal.
        variances = np.diagonal(OPPONENT_AXES @ covariance @ OPPONENT_AXES.T)
        self._descriptors.add(np.concatenate([OPPONENT_AXES @ mean, np.log(variances + GREY_LEVEL**2) / 2]))
        steps = [np.diff(values @ OPPONENT_AXES.T, axis=axis).reshape(-1, 3) for axis in (0, 1)]
        squares = np.mean([(step**2).sum(axis=0) / max(len(step), 1) for step in steps], axis=0)
        self._edges += (squares - self._edges) / self.count

    def recorded(self) -> RecordedColors:
        """Of all that were added. All pixels count alike; a single image's descriptors have no covariance."""
        return RecordedColors(
            mean=self._means.mean,
            covariance=self._within + self._means.squares / self.count,
            descriptor_mean=self._descriptors.mean,
            descriptor_covariance=self._descriptors.squares / max(self.count - 1, 1),
            edges=np.sqrt(self._edges),
        )


class _Moments:
    """Mean of vectors, and the sum of products of their differences from it."""

    def __init__(self, size: int) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(size), np.zeros((size, size))

    def add(self, value: np.ndarray) -> None:
        self.count += 1
        offset = value - self.mean
        self.mean = self.mean + offset / self.count
        self.squares = self.squares + np.outer(offset, offset) * (1 - 1 / self.count)
