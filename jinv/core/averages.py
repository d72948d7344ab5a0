"""Batch statistics averaged over the steps: a small batch then stands for all that its images were in the last steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jinv.core.types import Forward

Averages = Any
"""Per layer the running sums (mean, var) of a stage's steps so far, as `SynthesisState` carries them."""


class Past(NamedTuple):
    """What the steps before this one left: their averages, one entry per network, and what of it counts."""

    averages: tuple[Averages, ...]
    momentum: float
    step: Array


def averaged(forward: Forward, averages: Averages, past: Past) -> tuple[Forward, Averages]:
    """The forward with averaged statistics for terms to look at, and the averages that the next step starts from.

    `a_t = momentum a_(t-1) + (1 - momentum) s_t` of each mean and each variance; terms see `a_t / (1 - momentum^(t+1))`, so
    that a stage's first step sees its own. The gradient passes straight through to the step's own statistics, unscaled:
    `s + stop_gradient(a - s)`, G-VBSM (Shao et al. 2024); FastDFKD (Fang et al. 2022) scales it by `1 - momentum`.
    """
    share = 1 - past.momentum ** (past.step.astype(jnp.float32) + 1)
    now = [(stats.batch_mean, stats.batch_var) for stats in forward.norm_stats]
    new = jax.tree.map(
        lambda old, own: past.momentum * old + (1 - past.momentum) * jax.lax.stop_gradient(own), averages, now
    )
    seen = jax.tree.map(lambda own, sums: own + jax.lax.stop_gradient((sums / share).astype(own.dtype) - own), now, new)
    norm_stats = tuple(
        stats._replace(batch_mean=mean, batch_var=var)
        for stats, (mean, var) in zip(forward.norm_stats, seen, strict=True)
    )
    return forward._replace(norm_stats=norm_stats), new


def none_yet(forward: Forward) -> Averages:
    """The averages before a stage's first step; of shapes, as `jax.eval_shape` gives them, too."""
    zeros = [(stats.batch_mean, stats.batch_var) for stats in forward.norm_stats]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), zeros)
