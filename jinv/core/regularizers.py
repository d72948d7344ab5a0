"""Terms that need no labels: what makes an image look like one of the training set.

A term's positional parameters name fields of `Forward`, its keyword-only parameters are hyperparameters, and it returns
one scalar. Nothing else registers it.
"""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.types import Image, NormStats, Number, Scalar

Reduction = Literal["batch", "image"]


def total_variation(
    image: Image,
    *,
    neighbors: Literal[4, 8] = 4,
    form: Literal["norm", "formula_4_1", "l1"] = "norm",
    reduction: Reduction = "batch",
) -> Scalar:
    """How much neighbouring pixels differ.

    `norm` (the thesis' listing, Yin et al. 2020): `sum_d |shift_d(x) - x|_2` over the directions d, vertical and
    horizontal, with `neighbors=8` also both diagonals. `formula_4_1` (the thesis' text): `sqrt(|vertical difference| +
    |horizontal difference|)` of every pixel and channel that has both, summed. `l1`: each direction's mean absolute
    difference, summed over directions.

    `reduction="batch"` takes the norm or sum over the whole batch, as published: a norm then couples the images, and
    its gradient per image shrinks like 1/sqrt(N). `"image"` is the mean over images of each image's own value.
    In image units. Zero where every image is constant; its gradient there is zero.
    """
    if form == "formula_4_1":
        if neighbors == 8:
            raise ValueError("total_variation: form 'formula_4_1' has no diagonals: neighbors must be 4, got 8")
        vertical, horizontal = _differences(image, 4)
        per_pixel = _safe_sqrt(jnp.abs(vertical[:, :, :-1]) + jnp.abs(horizontal[:, :-1]))
        total = jnp.sum(per_pixel)
        return total / image.shape[0] if reduction == "image" else total
    differences = _differences(image, neighbors)
    if form == "l1":  # a mean over a batch of equal sizes is the mean over images: both reductions agree
        return _total(jnp.mean(jnp.abs(d)) for d in differences)
    if reduction == "image":
        return _total(jnp.mean(l2_norm(d, axis=(1, 2, 3))) for d in differences)
    return _total(l2_norm(d) for d in differences)


def image_norm(image: Image) -> Scalar:
    """Mean over the images of each image's Euclidean norm, `1/N sum_i |x_i|_2`.

    In image units. Couples no images, beyond the factor 1/N. Zero on the all-zero (mean-coloured) image, with
    gradient zero there. R_l2 of the thesis' listing and of Yin et al. (2020).
    """
    return jnp.mean(l2_norm(image, axis=(1, 2, 3)))


def feature_statistics(
    norm_stats: Sequence[NormStats],
    *,
    variance: Literal["unbiased", "biased"] = "unbiased",
    first_layer_weight: Number = 1.0,
    normalization: Literal["none", "running"] = "none",
) -> Scalar:
    """Distance between the batch's and the running feature statistics, summed over layers.

    `sum_l w_l (|mu_l(x) - running_mean_l|_2 + |var_l(x) - running_var_l|_2)`, R_feature of Yin et al. (2020), eq. 4.
    The thesis: `variance="unbiased"`, all w_l 1. NVlabs' program: `"biased"`, `first_layer_weight=10`.

    `normalization="running"` measures each layer in its own units and averages over the layers: the mean's distance
    over `sqrt(sum(running_var))`, the length of one standard deviation, and the variance's over `|running_var|_2`. The
    sum above is dominated by whichever layers have the largest activations and grows with depth; the normalised one
    says "by what fraction are the statistics off", so one weight serves different networks.

    Couples the images of a batch. In activation units ("none") or without units ("running"). Zero where every statistic
    agrees; the gradient of a layer that agrees exactly is zero.
    """
    if not norm_stats:
        raise ValueError("feature_statistics: the network has no batch-norm statistics; leave this term out")
    total = jnp.zeros((), norm_stats[0].batch_mean.dtype)
    for layer, stats in enumerate(norm_stats):
        distance = layer_distance(stats, variance=variance, normalization=normalization)
        total = total + (first_layer_weight * distance if layer == 0 else distance)
    return total / len(norm_stats) if normalization == "running" else total


def layer_distance(
    stats: NormStats,
    *,
    variance: Literal["unbiased", "biased"] = "unbiased",
    normalization: Literal["none", "running"] = "none",
) -> Scalar:
    """One layer's share of `feature_statistics`, before its weight."""
    batch_var = stats.batch_var
    if variance == "unbiased":
        # A 1x1 map of a single image has no unbiased variance; torch.var gives NaN there, we count one value as two.
        batch_var = batch_var * (stats.count / jnp.maximum(jnp.asarray(stats.count, batch_var.dtype) - 1, 1))
    mean_distance = l2_norm(stats.batch_mean - stats.running_mean)
    var_distance = l2_norm(batch_var - stats.running_var)
    if normalization == "none":
        return mean_distance + var_distance
    # A layer whose running variances are all zero has no scale of its own: its distances count in absolute units.
    mean_scale = jnp.sqrt(jnp.sum(stats.running_var))
    var_scale = l2_norm(stats.running_var)
    return mean_distance / jnp.where(mean_scale > 0, mean_scale, 1) + var_distance / jnp.where(
        var_scale > 0, var_scale, 1
    )


def l2_norm(x: Float[Array, "..."], axis: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """Euclidean norm with gradient 0 at 0, as torch's; `jnp.linalg.norm` has NaN there."""
    return _safe_sqrt(jnp.sum(x * x, axis=axis))


def _total(values: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, values)


def _safe_sqrt(x: jax.Array) -> jax.Array:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def _differences(image: jax.Array, neighbors: int) -> list[jax.Array]:
    vertical = image[:, 1:] - image[:, :-1]
    horizontal = image[:, :, 1:] - image[:, :, :-1]
    if neighbors == 4:
        return [vertical, horizontal]
    falling = image[:, 1:, 1:] - image[:, :-1, :-1]
    rising = image[:, 1:, :-1] - image[:, :-1, 1:]
    return [vertical, horizontal, falling, rising]
