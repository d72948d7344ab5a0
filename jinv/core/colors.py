"""Colour priors: how far the colours of images, and of their edges, are from photographs'. Terms as those in `regularizers`.

What photographs' colours are is measured by `python -m tools.natural_colors FOLDER_OR_ZIP`, what one's own images' are by
`jinv record-stats`; `colors = "recorded"` has a term compare with those.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinv.core.decorrelation import varies
from jinv.core.regularizers import Reduction, differences_of, norms_of, one_of
from jinv.core.types import Colors, Image, Number, RecordedColors, Scalar

OPPONENT_AXES = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Rows: brightness, red against blue, green against both, of unit length; nearly the axes along which natural colours vary
independently. Ruderman, Cronin & Chiao (1998)."""

GREY_LEVEL = 1 / 255
"""Added to every spread, so that one colour alone has a logarithm and no gradient."""

PHOTOGRAPHS = np.array([0.784, 0.058, -0.007, -1.021, -2.697, -3.525])
"""The mean over photographs of `color_descriptors`: 1,000 ImageNet validation photographs, one of each class, the middle
224 of 256 pixels. Averaged down to 112 or 32 pixels the spread of brightness alone moves, to -1.051 and -1.137."""

PHOTOGRAPHS_COVARIANCE = np.array(
    [
        [0.0464, -0.0025, 0.0003, 0.0048, -0.0060, -0.0168],
        [-0.0025, 0.0079, 0.0002, -0.0022, 0.0152, 0.0232],
        [0.0003, 0.0002, 0.0020, 0.0012, 0.0019, -0.0038],
        [0.0048, -0.0022, 0.0012, 0.0812, 0.0060, 0.0081],
        [-0.0060, 0.0152, 0.0019, 0.0060, 0.5582, 0.4051],
        [-0.0168, 0.0232, -0.0038, 0.0081, 0.4051, 0.6267],
    ]
)
"""Their covariance over the same photographs, unbiased."""

EDGES = np.array([0.1294, 0.0146, 0.0088])
"""Root mean square difference of neighbouring pixels along each of `OPPONENT_AXES`, over the same photographs: their edges are
of brightness, an edge of colour alone is ten times rarer."""


def natural_variation(
    pixels: Image, *, whitening: Number = 1.0, reduction: Reduction = "batch", colors: Colors = "photographs"
) -> Scalar:
    """Total variation in which colour weighs more than brightness, as photographs' neighbouring pixels differ.

    `sum_d |W A (shift_d(x) - x)|_2` over the directions d, vertical and horizontal, with A the `OPPONENT_AXES` and
    `W = diag((EDGES_1 / EDGES_k)^whitening)`: 1, 8.9 and 14.7. With `whitening=1` it is the norm of the differences under a
    Gaussian with photographs' covariance of neighbouring pixels (Mahalanobis), in units of brightness; with 0, A being a
    rotation, `total_variation` of the pixels. `colors = "recorded"` has the edges of recorded images in place of `EDGES`.

    `reduction` as in `total_variation`: "batch" couples the images. In units where white is 1. Zero where every image is
    of one colour, with gradient zero there. Ours; the form is Yin et al.'s (2020), colours decorrelated are Olah et al.'s (2017).

    Raises:
      ValueError: a forward that gives no `pixels`; a reduction that is none of these; colours that were not recorded, or
        of images without edges of every colour.
    """
    _check("natural_variation", pixels, reduction)
    recorded = _recorded("natural_variation", colors)
    edges = EDGES if recorded is None else recorded.edges
    if not edges.min() > 0:
        raise ValueError(
            "natural_variation: the recorded images have no edges of some colour, as grey images have none"
        )
    weights = jnp.asarray(edges[0] / edges, pixels.dtype) ** whitening
    axes = weights.astype(pixels.dtype)[:, None] * jnp.asarray(OPPONENT_AXES, pixels.dtype)
    # Of differences, not differences of it: where neighbours are equal it is zero, whatever the rounding.
    return norms_of([_along(axes, difference) for difference in differences_of(pixels, 4)], reduction)


def natural_colors(pixels: Image, *, reduction: Reduction = "image", colors: Colors = "photographs") -> Scalar:
    """How unlike a photograph's an image's colours are: its mean colour, and how far its pixels spread around it.

    With d the six `color_descriptors` of an image and (m, C) their mean and covariance over photographs, whitened as
    `z = L^-1 (d - m), L L^T = C`:

    `image`: `1/N sum_i |z_i|^2 / 2`, the negative log density of the descriptors without its constant. Photographs have 3
    on average. Couples no images, beyond the factor 1/N. Draws every image to the same medium mean colour, if softly.
    `batch`: `sum_k (v_k + a_k^2 - 1 - log v_k) / 2` with a and v the mean and biased variance of z_k over the batch (v at
    least 1e-3): the divergence of the batch's descriptors from the photographs'. Couples the images; each may be bright
    or blue as long as the batch is as varied as photographs are. Needs a dozen images to mean much.
    `colors = "recorded"` has (m, C) of recorded images, of their size: at least seven, whose six numbers vary.

    In nats. Zero on the typical photograph ("image"), on a batch with the photographs' moments ("batch"). Ours; a Gaussian
    of natural images as a prior is Santurkar et al.'s (2019) start, decorrelated colours are Olah et al.'s (2017).

    Raises:
      ValueError: a forward that gives no `pixels`; a reduction that is none of these; colours that were not recorded, or
        of too few images or such as do not vary.
    """
    _check("natural_colors", pixels, reduction)
    recorded, typical, covariance = _recorded("natural_colors", colors), PHOTOGRAPHS, PHOTOGRAPHS_COVARIANCE
    if recorded is not None:
        typical, covariance = recorded.descriptor_mean, recorded.descriptor_covariance
    if not varies(covariance):
        raise ValueError(
            "natural_colors: the recorded images are fewer than seven, or some colour does not vary, as in grey images"
        )
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    offset = color_descriptors(pixels) - jnp.asarray(typical, pixels.dtype)[None]
    z = jnp.einsum("nd,kd->nk", offset, jnp.asarray(whiten, pixels.dtype), precision=jax.lax.Precision.HIGHEST)
    if reduction == "image":
        return jnp.mean(jnp.sum(z * z, axis=1)) / 2
    mean = jnp.mean(z, axis=0)
    # A batch of one, or of equal images, has no spread: its logarithm ends here, and its gradient.
    var = jnp.mean((z - mean[None]) ** 2, axis=0) + 1e-3
    return jnp.sum(var + mean**2 - 1 - jnp.log(var)) / 2


def color_descriptors(pixels: Image) -> Float[Array, "n 6"]:
    """An image's mean colour along `OPPONENT_AXES`, and half the logarithm of its pixels' variance (plus a grey level's
    square) along each; pixels with black 0 and white 1, unclipped."""
    colors = _along(jnp.asarray(OPPONENT_AXES, pixels.dtype), pixels)
    mean = jnp.mean(colors, axis=(1, 2), keepdims=True)
    var = jnp.mean((colors - mean) ** 2, axis=(1, 2))
    return jnp.concatenate([mean[:, 0, 0], jnp.log(var + GREY_LEVEL**2) / 2], axis=1)


def _along(axes: Array, values: Array) -> Array:
    """(N, H, W, C) along the axes (D, C)."""
    return jnp.einsum("nhwc,dc->nhwd", values, axes, precision=jax.lax.Precision.HIGHEST)


def _recorded(term: str, colors: Colors) -> RecordedColors | None:
    """Recorded colours, None for photographs'."""
    if isinstance(colors, RecordedColors):
        return colors
    if colors != "photographs":
        raise ValueError(f"{term}: colors {colors!r} must be 'photographs' or recorded colours")
    return None


def _check(term: str, pixels: Image | None, reduction: object) -> None:
    one_of(term, "reduction", reduction, ("image", "batch"))
    if pixels is None:
        raise ValueError(f"{term}: the forward function gives no pixels (black 0, white 1)")
