"""Terms of statistics that were recorded on real images (`jinv record-stats`), and of features within a class.

All compare in the units of what was recorded, layer by layer, and are means over layers: one weight serves other networks.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.regularizers import Distance, floor_of, gaussian_distance, l2_norm, norm_distance, one_of
from jinv.core.types import ImageStats, Labels, RecordedStats, Scalar

DISTANCES = ("norm", "gaussian_kl", "wasserstein")


def class_statistics(
    layers: Sequence[ImageStats], recorded: Sequence[RecordedStats], labels: Labels, *, distance: Distance = "norm"
) -> Scalar:
    """Distance between the statistics of each class' images in the batch and those recorded of that class.

    `1/L sum_l mean_k d(moments_l of the images labelled k, recorded moments_l of class k)` over the classes k that the batch
    has, each counted once. `norm`: `|mu - mu'|_2 / sqrt(sum var') + |var - var'|_2 / |var'|_2`; `gaussian_kl` and
    `wasserstein` as in `feature_statistics`. Of a batch of one class it is LPLD's (Xiao & He 2024), of a batch of blocks
    WMDD's (Liu et al. 2025), whose norms are not divided. A class' only image has the variance over its own map, which
    is less than its class' and none at all where the map is one pixel: give a class several images or copies.

    Couples the images of a class, and others through the number of classes. Without units. Zero where every class'
    moments agree, with gradient zero there.

    Raises:
      ValueError: no classes were recorded; a distance that is none of these.
    """
    one_of("class_statistics", "distance", distance, DISTANCES)
    _check("class_statistics", recorded)
    same = (labels[:, None] == labels[None]).astype(layers[0].mean.dtype)
    count = jnp.sum(same, axis=1, keepdims=True)
    per_class = 1 / count[:, 0]
    per_class = per_class / jnp.sum(per_class)
    total = jnp.zeros((), layers[0].mean.dtype)
    for values, target in zip(layers, recorded, strict=True):
        # Images of a class have the same mean, so that their differences from it are from their own row.
        mean = _mixed(same / count, values.mean)
        var = _mixed(same / count, values.var + (values.mean - mean) ** 2)
        if target.class_mean is None or target.class_var is None:
            raise ValueError("class_statistics: no classes were recorded; jinv record-stats --per-class does")
        each = jax.vmap(functools.partial(_distance, distance=distance))
        total = total + jnp.sum(per_class * each(mean, var, target.class_mean[labels], target.class_var[labels]))
    return total / len(layers)


def patch_statistics(
    layers: Sequence[ImageStats], recorded: Sequence[RecordedStats], *, distance: Distance = "norm"
) -> Scalar:
    """Distance between the statistics of each part of the picture and those recorded there.

    The map is a grid of 4 x 4 cells; a cell's mean and variance are over its values in all channels and images:
    `1/L sum_l d(cell moments_l(x), recorded cell moments_l)`, with d as in `class_statistics`. What G-VBSM (Shao et al.
    2024) adds to the statistics of channels; its own norms are not divided, and its maps are resized so that 4 divides them.

    Couples the images of a batch. Without units. Zero where every cell agrees, with gradient zero there.

    Raises:
      ValueError: nothing was recorded; a distance that is none of these.
    """
    one_of("patch_statistics", "distance", distance, DISTANCES)
    _check("patch_statistics", recorded)
    total = jnp.zeros((), layers[0].mean.dtype)
    for values, target in zip(layers, recorded, strict=True):
        mean = jnp.mean(values.cell_mean, axis=0)
        var = jnp.mean(values.cell_var + (values.cell_mean - mean[None]) ** 2, axis=0)
        total = total + _distance(mean, var, target.cell_mean, target.cell_var, distance=distance)
    return total / len(layers)


def sorted_features(
    layers: Sequence[ImageStats],
    recorded: Sequence[RecordedStats],
    labels: Labels,
    *,
    target: Literal["all", "class"] = "all",
) -> Scalar:
    """Squared difference between each image's sorted activations and real images', channel by channel.

    `1/(L N K C) sum (q_lk(x_i)_c - Q_lkc)^2 / var_lc` with q the K quantiles of a channel over one image's map and Q the mean
    of real images' own, of all or of the image's class. The mean over quantiles is the squared 2-Wasserstein distance of
    the two distributions, which in one dimension is what sorting both and subtracting comes to: VITAL (Görgün et al. 2025).
    In units of the recorded variance, to which `floor_of` it is added.

    Couples no images, beyond the factor 1/N. Zero where every sorted channel agrees, with gradient zero there.

    Raises:
      ValueError: no quantiles were recorded, or none of classes; a target that is none of these.
    """
    one_of("sorted_features", "target", target, ("all", "class"))
    _check("sorted_features", recorded)
    total = jnp.zeros((), layers[0].mean.dtype)
    for values, layer in zip(layers, recorded, strict=True):
        if values.quantiles is None or layer.quantiles is None:
            raise ValueError("sorted_features: no quantiles were recorded; jinv record-stats --quantiles 64 does")
        wanted = layer.quantiles[None]
        if target == "class":
            if layer.class_quantiles is None:
                raise ValueError("sorted_features: no classes were recorded; jinv record-stats --per-class does")
            wanted = layer.class_quantiles[labels]
        scale = layer.var + floor_of(layer.var)
        total = total + jnp.mean((values.quantiles - wanted) ** 2 / scale[None, None])
    return total / len(layers)


def class_similarity(features: Float[Array, "n features"] | None, labels: Labels) -> Scalar:
    """How alike the images of a class are: the mean cosine between their features; minimised, they become diverse.

    `mean over pairs i != j with y_i = y_j of cos(f_i, f_j)`, f what the network's head is given. DELT (Shen et al. 2025)
    measures diversity so; as a penalty it is Yin et al.'s (2021) and MinimaxDiffusion's (Gu et al. 2024) in other words.
    With `copies` two views of one image are a pair too. From -1 to 1, of features behind a ReLU from 0.

    Couples the images of a class, and others through the number of pairs. Zero where no class has two images, or no
    two features have anything in common; features of length zero pull at nothing.

    Raises:
      ValueError: a forward that gives no features.
    """
    if features is None:
        raise ValueError("class_similarity: the forward function gives no features")
    length = l2_norm(features, axis=(1,))[:, None]
    directions = features / jnp.where(length > 0, length, 1)
    pairs = (labels[:, None] == labels[None]) & ~jnp.eye(labels.shape[0], dtype=bool)
    cosines = jnp.einsum("if,jf->ij", directions, directions, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(jnp.where(pairs, cosines, 0)) / jnp.maximum(jnp.sum(pairs), 1)


def _distance(
    mean: Array, var: Array, target_mean: Array, target_var: Array, *, distance: Distance
) -> Float[Array, ""]:
    if distance == "norm":
        return norm_distance(mean, var, target_mean, target_var)
    return gaussian_distance(mean, var, target_mean, target_var, distance=distance)


def _mixed(shares: Array, values: Array) -> Array:
    return jnp.einsum("ij,jc->ic", shares, values, precision=jax.lax.Precision.HIGHEST)


def _check(term: str, recorded: Sequence[RecordedStats]) -> None:
    if not recorded:
        raise ValueError(
            f"{term}: no statistics were recorded; jinv record-stats does, and statistics = FILE names them"
        )
