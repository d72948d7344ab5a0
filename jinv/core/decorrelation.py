"""Colours that are uncorrelated in natural images, or in one's own: what is optimised instead of red, green and blue."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.types import Image, RecordedColors

COLOR_CORRELATION = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""The square root of ImageNet's covariance of red, green and blue; columns: brightness and two opponent colours. Lucid."""

LEAST_VARIANCE = 1e-6
"""Of a covariance's smallest variance in its largest: below, there is a direction in which nothing varied."""

Decorrelate = bool | Literal["recorded"] | RecordedColors
"""False: red, green and blue. True: by ImageNet's covariance. "recorded": by that of the config's `statistics`, which
stand in its place when the config is bound."""


def color_matrix(decorrelate: Decorrelate) -> np.ndarray | None:
    """(3, 3) from uncorrelated colours to red, green and blue, its longest column of length 1; None leaves them as they are.

    Of recorded colours a column is an eigenvector of their covariance times the root of its eigenvalue, the largest first.

    Raises:
      ValueError: colours that were not recorded, or do not vary in three directions.
    """
    if decorrelate is False:
        return None
    if isinstance(decorrelate, str):
        raise ValueError(f"decorrelate {decorrelate!r} must be true, false, or recorded colours")
    root = COLOR_CORRELATION if decorrelate is True else _root(decorrelate.covariance)
    matrix: np.ndarray = root / np.linalg.norm(root, axis=0).max()
    return matrix


def recorrelated(image: Image, matrix: np.ndarray | None) -> Image:
    """Uncorrelated colours as red, green and blue."""
    if matrix is None:
        return image
    return jnp.einsum("nhwd,cd->nhwc", image, matrix.astype(np.float32), precision=jax.lax.Precision.HIGHEST)


def decorrelated(image: Image, matrix: np.ndarray | None) -> Image:
    """Undoes `recorrelated`."""
    if matrix is None:
        return image
    inverse = np.linalg.inv(matrix).astype(np.float32)
    return jnp.einsum("nhwc,dc->nhwd", image, inverse, precision=jax.lax.Precision.HIGHEST)


def varies(covariance: np.ndarray) -> bool:
    """Whether there is no direction in which nothing varied."""
    variances = np.linalg.eigvalsh(covariance)
    return bool(variances[0] > LEAST_VARIANCE * variances[-1])


def _root(covariance: np.ndarray) -> np.ndarray:
    if not varies(covariance):
        raise ValueError(
            "decorrelate: the recorded colours vary in fewer than three directions, as those of grey images"
        )
    variances, directions = np.linalg.eigh(covariance)
    # A direction's sign is nobody's choice but the solver's: its largest entry is positive here.
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), range(3)])
    root: np.ndarray = (directions * signs * np.sqrt(variances))[:, ::-1]
    return root
