"""The values that flow through the core; every one is a plain pytree that can be printed, saved and tested."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jaxtyping
import numpy as np
from jaxtyping import Array, Float, Int

Image = Float[Array, "n h w c"]
"""Images in the network's standardised units, NHWC."""

Scalar = Float[Array, ""]

Number = float | Scalar
"""A hyperparameter that may also be an array: a sweep varies it within one program, and a config may make it a schedule of
the stage's step."""

Labels = Int[Array, " n"]
Logits = Float[Array, "n classes"]
Key = jaxtyping.Key[Array, ""]
Keys = jaxtyping.Key[Array, " n"]


class NormStats(NamedTuple):
    """Statistics of one batch-norm layer's *input* over (N, H, W), beside the layer's running ones.

    `batch_var` is biased, E[(x - m)^2]; the unbiased one is `batch_var * count / (count - 1)`.
    """

    batch_mean: Float[Array, " channels"]
    batch_var: Float[Array, " channels"]
    running_mean: Float[Array, " channels"]
    running_var: Float[Array, " channels"]
    # The field hides tuple.count, which nobody needs of a NamedTuple.
    count: int | Int[Array, ""] | Float[Array, ""]  # type: ignore[assignment]


class ImageStats(NamedTuple):
    """One layer's values, image by image; variances are biased.

    mean, var: of each channel over the image's map. cell_mean, cell_var: of each cell of a grid over the map, over the
    cell's values and all channels. quantiles: of each channel, ascending, None where none were recorded.
    """

    mean: Float[Array, "n channels"]
    var: Float[Array, "n channels"]
    cell_mean: Float[Array, "n cells"]
    cell_var: Float[Array, "n cells"]
    quantiles: Float[Array, "n k channels"] | None = None


class RecordedStats(NamedTuple):
    """What real images gave in one layer, as `jinv record-stats` wrote it: of all, and of each class where it has images.

    quantiles are the images' own, averaged: those of the distribution that is nearest to all of theirs. None is not recorded.
    """

    mean: Float[Array, " channels"]
    var: Float[Array, " channels"]
    cell_mean: Float[Array, " cells"]
    cell_var: Float[Array, " cells"]
    quantiles: Float[Array, "k channels"] | None = None
    class_mean: Float[Array, "classes channels"] | None = None
    class_var: Float[Array, "classes channels"] | None = None
    class_quantiles: Float[Array, "classes k channels"] | None = None


# Compared by identity, so that what was computed from it can be kept under it.
@dataclass(frozen=True, eq=False)
class RecordedColors:
    """Colours of real images as `jinv record-stats` wrote them, constants of a program; black is 0, white 1.

    mean, covariance: of red, green and blue over all pixels, biased. descriptor_mean, descriptor_covariance: over images
    of their `colors.color_descriptors`, unbiased. edges: root mean square difference of neighbours along `colors.OPPONENT_AXES`.
    """

    mean: Float[np.ndarray, "3"]
    covariance: Float[np.ndarray, "3 3"]
    descriptor_mean: Float[np.ndarray, "6"]
    descriptor_covariance: Float[np.ndarray, "6 6"]
    edges: Float[np.ndarray, "3"]


Colors = Literal["photographs", "recorded"] | RecordedColors
"""Whose colours a term compares with. "recorded" is a config's word for those of its `statistics`, which stand in its place
when it is bound."""


class Forward(NamedTuple):
    """All that a term may look at.

    `norm_stats` is in network order and a tuple on purpose: `jax.jit` returns dicts key-sorted (bn0, bn1, bn10, bn2).
    `pixels` is `image` with black 0 and white 1, unclipped, for terms that mean the same picture whatever the network's units.
    `layers` and `recorded` are of the layers that a file of recorded statistics names; `features` what the head is given,
    None where nothing looks at it.
    """

    image: Image
    logits: Logits
    labels: Labels | None
    norm_stats: tuple[NormStats, ...]
    student_logits: Logits | None = None
    pixels: Image | None = None
    layers: tuple[ImageStats, ...] = ()
    recorded: tuple[RecordedStats, ...] = ()
    features: Float[Array, "n features"] | None = None


ForwardFunction = Callable[[Any, Image, Labels], Forward]
"""`(variables, image, labels) -> Forward`, as `Classifier.forward`: all that the core knows of a network."""
