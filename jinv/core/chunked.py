"""A batch through the network in chunks: the memory of one chunk, the gradient of the whole batch.

Batch statistics couple the images, so averaging the chunks' gradients would be another objective. Instead two passes:

    1. every chunk forward, nothing kept but its logits and statistics; combined, they are exactly the whole batch's
    2. with the objective's gradient in logits and statistics at hand, every chunk forward again, and backward

Pass 2 costs a second forward pass, about a third more arithmetic.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jinv.core.types import Forward, ForwardFunction, Image, Labels, NormStats


def chunked(forward: ForwardFunction, images: int) -> ForwardFunction:
    """`forward` with at most `images` images of the batch in the network at a time.

    Value and gradient are those of `forward` to rounding, whatever the objective does with the result: it sees the
    whole batch's images, logits and statistics, as always.

    Args:
      forward: `(variables, image, labels) -> Forward`; all fields but `norm_stats` and `recorded`, which is the same for
        every chunk, have the images on their first axis.
      images: images per chunk, at least 1; a batch that it does not divide has a smaller last chunk.

    Raises:
      ValueError: `images` below 1.
    """
    if images < 1:
        raise ValueError(f"chunked: {images} images per chunk, must be at least 1")

    def whole(variables: Any, image: Image, labels: Labels) -> Forward:
        if image.shape[0] <= images:
            return forward(variables, image, labels)

        # Nothing inside is kept: the backward pass runs the chunk again. Compilers merge no work of two loops.
        @jax.checkpoint
        def one(image: Image, labels: Labels) -> Forward:
            return forward(variables, image, labels)

        count, rest = divmod(image.shape[0], images)
        parts = [_join(lax.map(lambda chunk: one(*chunk), _split((image, labels), count, images)))]
        if rest:
            last = one(image[-rest:], labels[-rest:])
            norm_stats, recorded = jax.tree.map(lambda x: jnp.asarray(x)[None], (last.norm_stats, last.recorded))
            parts.append(last._replace(norm_stats=norm_stats, recorded=recorded))
        norm_stats = tuple(_combine(layer) for layer in zip(*(part.norm_stats for part in parts), strict=True))
        joined: Forward = jax.tree.map(
            lambda *xs: jnp.concatenate(xs), *(part._replace(norm_stats=(), recorded=()) for part in parts)
        )
        recorded = jax.tree.map(lambda x: x[0], parts[0].recorded)
        return joined._replace(norm_stats=norm_stats, recorded=recorded)

    return whole


def combined_moments(
    mean: Float[Array, "chunks channels"], var: Float[Array, "chunks channels"], count: Float[Array, " chunks"]
) -> tuple[Float[Array, " channels"], Float[Array, " channels"]]:
    """Mean and biased variance of all values from each chunk's own and its number of values.

    `m = sum_c n_c m_c / n`, `v = sum_c n_c (v_c + (m_c - m)^2) / n`: no difference of large squares, so no digits are
    lost. Chan, Golub & LeVeque (1979), for any number of parts.
    """
    share = (count / jnp.sum(count))[:, None]
    total = jnp.sum(share * mean, axis=0)
    return total, jnp.sum(share * (var + jnp.square(mean - total[None])), axis=0)


def _split(batch: Any, count: int, images: int) -> Any:
    """(N, ...) to (count, images, ...): a chunk takes every `count`-th image, so that each device of a sharded batch has
    its share of every chunk."""
    return jax.tree.map(lambda x: jnp.moveaxis(x[: count * images].reshape(images, count, *x.shape[1:]), 1, 0), batch)


def _join(chunks: Forward) -> Forward:
    """Undoes `_split` for what has an entry per image; statistics stay stacked, an entry per chunk."""
    per_image: Forward = jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), chunks._replace(norm_stats=(), recorded=())
    )
    return per_image._replace(norm_stats=chunks.norm_stats, recorded=chunks.recorded)


def _combine(parts: tuple[NormStats, ...]) -> NormStats:
    stacked: NormStats = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    counts = stacked.count
    mean, var = combined_moments(stacked.batch_mean, stacked.batch_var, jnp.asarray(counts, stacked.batch_mean.dtype))
    return NormStats(mean, var, stacked.running_mean[0], stacked.running_var[0], jnp.sum(counts))
