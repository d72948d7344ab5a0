"""Terms that need no labels: what makes an image look like one of the training set.

A term's positional parameters name fields of `Forward`, its keyword-only parameters are hyperparameters, and it returns
one scalar. Nothing else registers it.
"""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.types import Image, Logits, NormStats, Number, Scalar

Reduction = Literal["batch", "image"]
Distance = Literal["norm", "gaussian_kl", "wasserstein"]

VARIANCE_FLOOR = 1e-3
"""Added to every variance of a layer, in units of its mean recorded one, before a Gaussian is made of it: a channel that is
constant, in a batch or ever since training, would be infinitely far from any other."""


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
    In image units. Zero where every image is constant; equal neighbours pull at nothing, as in torch, except that
    torch's gradient of `formula_4_1` is NaN at a pixel that equals both.

    Raises:
      ValueError: a hyperparameter that is none of these; diagonals of `formula_4_1`, which has none.
    """
    one_of("total_variation", "neighbors", neighbors, (4, 8))
    one_of("total_variation", "form", form, ("norm", "formula_4_1", "l1"))
    one_of("total_variation", "reduction", reduction, ("batch", "image"))
    if form == "formula_4_1":
        if neighbors == 8:
            raise ValueError("total_variation: form 'formula_4_1' has no diagonals: neighbors must be 4, got 8")
        vertical, horizontal = differences_of(image, 4)
        per_pixel = _safe_sqrt(_absolute(vertical[:, :, :-1]) + _absolute(horizontal[:, :-1]))
        total = jnp.sum(per_pixel)
        return total / image.shape[0] if reduction == "image" else total
    differences = differences_of(image, neighbors)
    if form == "l1":  # a mean over a batch of equal sizes is the mean over images: both reductions agree
        return _total(jnp.mean(_absolute(d)) for d in differences)
    return norms_of(differences, reduction)


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
    distance: Distance = "norm",
) -> Scalar:
    """Distance between the batch's and the running feature statistics, summed over layers.

    `sum_l w_l (|mu_l(x) - running_mean_l|_2 + |var_l(x) - running_var_l|_2)`, R_feature of Yin et al. (2020), eq. 4.
    The thesis: `variance="unbiased"`, all w_l 1. NVlabs' program: `"biased"`, `first_layer_weight=10`.

    `normalization="running"` measures each layer in its own units and averages over the layers: the mean's distance
    over `sqrt(sum(running_var))`, the length of one standard deviation, and the variance's over `|running_var|_2`. The
    sum above is dominated by whichever layers have the largest activations and grows with depth; the normalised one
    says "by what fraction are the statistics off", so one weight serves different networks.

    `distance` other than "norm" takes each channel as a Gaussian, N = (mean, variance), and is the mean over channels, then
    over layers, without units. `gaussian_kl`: `KL(N_batch | N_running)`, Choi et al. (2020), eq. 3, in nats; it asks for
    variance, like `-log` of it, where a batch has none. `wasserstein`: the squared 2-Wasserstein distance `(mu - mu')^2 +
    (sigma - sigma')^2` over the running variance. See `gaussian_distance` for channels without variance.

    The layers are the network's batch norms, or those of the config's `statistics = FILE`.

    Couples the images of a batch. In activation units ("none") or without units. Zero where every statistic
    agrees; the gradient of a layer that agrees exactly is zero.

    Raises:
      ValueError: a network without statistics; a hyperparameter that is none of these; a normalization of a distance that
        has its own.
    """
    one_of("feature_statistics", "variance", variance, ("unbiased", "biased"))
    one_of("feature_statistics", "normalization", normalization, ("none", "running"))
    one_of("feature_statistics", "distance", distance, ("norm", "gaussian_kl", "wasserstein"))
    if distance != "norm" and normalization != "none":
        raise ValueError(f"feature_statistics: distance {distance!r} is normalised; normalization is for 'norm'")
    if not norm_stats:
        raise ValueError(
            "feature_statistics: the network has no batch-norm statistics; record some (jinv record-stats) and set "
            "statistics = FILE, or leave this term out"
        )
    total = jnp.zeros((), norm_stats[0].batch_mean.dtype)
    for layer, stats in enumerate(norm_stats):
        share = layer_distance(stats, variance=variance, normalization=normalization, distance=distance)
        total = total + (first_layer_weight * share if layer == 0 else share)
    return total if normalization == "none" and distance == "norm" else total / len(norm_stats)


def layer_activation(norm_stats: Sequence[NormStats], *, layer: int = 0) -> Scalar:
    """Minus the mean square of what one batch-norm layer is given: minimised, the layer responds as strongly as it can.

    `-1/C sum_c (var_c + mean_c^2)` over the layer's channels, layers counted from 0 in network order. In squared
    activation units. Couples no images, beyond the factor 1/N. Zero where the layer is given zeros. The objective of
    DeepDream (Mordvintsev et al. 2015), taken before a convolution's normalisation instead of behind its ReLU.

    Raises:
      ValueError: a network without batch-norm layers; a layer that it does not have.
    """
    if not norm_stats:
        raise ValueError("layer_activation: the network has no batch-norm layers; leave this term out")
    if not 0 <= layer < len(norm_stats):
        raise ValueError(
            f"layer_activation: layer {layer}, but the network's batch-norm layers are 0 to {len(norm_stats) - 1}"
        )
    stats = norm_stats[layer]
    return -jnp.mean(stats.batch_var + stats.batch_mean**2)


def competition(
    logits: Logits, student_logits: Logits, *, form: Literal["jensen_shannon", "nvlabs"] = "jensen_shannon"
) -> Scalar:
    """Low where a student network disagrees with the inverted one (the teacher): adaptive inversion.

    `jensen_shannon`: `1 - JS(p, q)`, mean over images, of the softmaxes p (teacher) and q (student), with `JS(p, q) =
    (KL(p|m) + KL(q|m))/2, m = (p + q)/2`; Yin et al. (2020), eq. 8. From 1 - ln 2 (disjoint) to 1 (equal).
    `nvlabs`: their program has the divergences reversed, `1 - clamp((KL(m|p) + KL(m|q))/2, 0, 1)`, softmaxes at
    temperature 3, and p, q, m clamped to [0.01, 0.99] after m is formed. At 0 its gradient vanishes.

    In nats. Couples no images, beyond the factor 1/N (`nvlabs`: its outer clamp is of the batch's mean).

    Raises:
      ValueError: a form that is none of these.
    """
    one_of("competition", "form", form, ("jensen_shannon", "nvlabs"))
    if form == "nvlabs":
        # In probabilities, as the program has them: the clamp then meets its bounds (a hundred equal logits are at 0.01)
        # where the program's does, and no logarithm is of less than 0.01.
        p, q = (jax.nn.softmax(_at_least_float32(x) / 3.0) for x in (logits, student_logits))
        p, q, m = (_clamp(x, 0.01, 0.99) for x in (p, q, (p + q) / 2))
        divergence = jnp.mean(jnp.sum(m * (2 * jnp.log(m) - jnp.log(p) - jnp.log(q)), axis=1)) / 2
        return 1 - _clamp(divergence, 0.0, 1.0)
    p, q = (jax.nn.log_softmax(_at_least_float32(x)) for x in (logits, student_logits))
    m = jnp.logaddexp(p, q) - math.log(2)
    return 1 - jnp.mean(jnp.sum(jnp.exp(p) * (p - m) + jnp.exp(q) * (q - m), axis=1)) / 2


def layer_distance(
    stats: NormStats,
    *,
    variance: Literal["unbiased", "biased"] = "unbiased",
    normalization: Literal["none", "running"] = "none",
    distance: Distance = "norm",
) -> Scalar:
    """One layer's share of `feature_statistics`, before its weight."""
    batch_var = stats.batch_var
    if variance == "unbiased":
        # A 1x1 map of a single image has no unbiased variance; torch.var gives NaN there, we count one value as two.
        batch_var = batch_var * (stats.count / jnp.maximum(jnp.asarray(stats.count, batch_var.dtype) - 1, 1))
    if distance != "norm":
        return gaussian_distance(stats.batch_mean, batch_var, stats.running_mean, stats.running_var, distance=distance)
    if normalization == "running":
        return norm_distance(stats.batch_mean, batch_var, stats.running_mean, stats.running_var)
    return l2_norm(stats.batch_mean - stats.running_mean) + l2_norm(batch_var - stats.running_var)


Statistic = Float[Array, " c"]


def norm_distance(mean: Statistic, var: Statistic, target_mean: Statistic, target_var: Statistic) -> Scalar:
    """`|mean - target_mean|_2 / sqrt(sum target_var) + |var - target_var|_2 / |target_var|_2` of one layer."""
    # A layer whose running variances are all zero has no scale of its own: its distances count in absolute units.
    mean_scale = jnp.sqrt(jnp.sum(target_var))
    var_scale = l2_norm(target_var)
    mean_distance, var_distance = l2_norm(mean - target_mean), l2_norm(var - target_var)
    return mean_distance / jnp.where(mean_scale > 0, mean_scale, 1) + var_distance / jnp.where(
        var_scale > 0, var_scale, 1
    )


def gaussian_distance(
    mean: Statistic,
    var: Statistic,
    target_mean: Statistic,
    target_var: Statistic,
    *,
    distance: Literal["gaussian_kl", "wasserstein"],
) -> Scalar:
    """Mean over channels of a distance between Gaussians, from `(mean, var)` to `(target_mean, target_var)`, without units.

    `gaussian_kl`: `(v/w + (m - n)^2/w - 1 - log(v/w)) / 2`. `wasserstein`: `((m - n)^2 + (sqrt v - sqrt w)^2) / w`. Both of
    variances to which `floor_of(target_var)` is added, so that value and gradient are finite where one is zero.
    """
    floor = floor_of(target_var)
    var, target_var = var + floor, target_var + floor
    square = (mean - target_mean) ** 2 / target_var
    ratio = var / target_var
    if distance == "gaussian_kl":
        return jnp.mean(square + ratio - 1 - jnp.log(ratio)) / 2
    return jnp.mean(square + (jnp.sqrt(ratio) - 1) ** 2)


def floor_of(target_var: Float[Array, "... c"]) -> Float[Array, "..."]:
    """`VARIANCE_FLOOR` of a layer's mean variance; of one that has none at all, whose units nobody knows, of 1."""
    scale = jnp.mean(target_var, axis=-1)
    return VARIANCE_FLOOR * jnp.where(scale > 0, scale, 1)


def l2_norm(x: Float[Array, "..."], axis: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """Euclidean norm with gradient 0 at 0, as torch's; `jnp.linalg.norm` has NaN there."""
    return _safe_sqrt(jnp.sum(x * x, axis=axis))


def _at_least_float32(logits: jax.Array) -> jax.Array:
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def one_of(term: str, parameter: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a hyperparameter that is none of `choices`.

    Raises:
      ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(f"{term}: {parameter} {value!r} must be one of {', '.join(map(repr, choices))}")


def _total(values: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, values)


def _safe_sqrt(x: jax.Array) -> jax.Array:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def _absolute(x: jax.Array) -> jax.Array:
    # Gradient 0 at 0, as torch's; `jnp.abs` has 1 there, and neighbouring pixels are equal wherever both are clipped.
    return x * jnp.sign(x)


def _clamp(x: jax.Array, low: float, high: float) -> jax.Array:
    # Gradient 1 on the bounds, as torch's; `jnp.clip` has a half there.
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def norms_of(differences: Sequence[jax.Array], reduction: Reduction) -> jax.Array:
    """The norms of an image's differences, summed over directions: of the whole batch, or the mean of each image's own."""
    if reduction == "image":
        return _total(jnp.mean(l2_norm(d, axis=(1, 2, 3))) for d in differences)
    return _total(l2_norm(d) for d in differences)


def differences_of(image: jax.Array, neighbors: int) -> list[jax.Array]:
    """What neighbouring pixels differ by: (N, ., ., C) for the vertical, the horizontal and, of 8, both diagonals."""
    vertical = image[:, 1:] - image[:, :-1]
    horizontal = image[:, :, 1:] - image[:, :, :-1]
    if neighbors == 4:
        return [vertical, horizontal]
    falling = image[:, 1:, 1:] - image[:, :-1, :-1]
    rising = image[:, 1:, :-1] - image[:, :-1, 1:]
    return [vertical, horizontal, falling, rising]
