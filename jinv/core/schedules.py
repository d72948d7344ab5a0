"""Learning rates, weights and hyperparameters over a stage's steps, counted from 0; every schedule is `step -> value`.

`balanced` is none of them: a weight that follows from gradients.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jinv.core.signatures import own_functions, positional, returned
from jinv.core.types import Number


def warmup_cosine(
    steps: int, *, peak: Number, warmup: int = 0, end: Number = 0.0, portion: float = 1.0
) -> optax.Schedule:
    """Linear to `peak` over `warmup` steps, then half a cosine down to `end` at `steps`.

    `peak (t+1)/warmup` for t < warmup, else `end + (peak - end) (1 + cos(pi (t - warmup)/(steps - warmup)))/2`:
    the schedule of NVlabs' DeepInversion program, which warms up over 100 steps. With `portion` below 1 `end` is
    reached after that share of the steps and kept: peak 1, end 0.08 is CDA's curriculum of crops, portion its milestone.
    """
    steps = round(portion * steps)

    def schedule(step: jax.Array | int) -> Any:
        step = _precise(step)
        progress = jnp.clip((step - warmup) / max(steps - warmup, 1), 0.0, 1.0)
        decayed = end + (peak - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < warmup, peak * (step + 1) / max(warmup, 1), decayed)

    return schedule


def linear(steps: int, *, start: Number, end: Number) -> optax.Schedule:
    """A straight line from `start` at step 0 to `end` at the last step."""
    schedule = optax.linear_schedule(start, end, max(steps - 1, 1))
    return lambda step: schedule(_precise(step))


def exponential(steps: int, *, start: Number, end: Number) -> optax.Schedule:
    """A constant factor per step, from `start` at step 0 to `end` at the last step; both positive."""
    return lambda step: start * (end / start) ** (_precise(step) / max(steps - 1, 1))


def triangular(steps: int, *, peak: Number, rise: float = 0.5) -> optax.Schedule:
    """A straight line from 0 at step 0 to `peak` after the share `rise` of the steps, and one down to 0 at `steps`.

    One cycle of the policy of that name of Smith (2017), section 3; PyTorch's CyclicLR with base_lr 0.

    Raises:
      ValueError: a `rise` that is no share.
    """
    if not 0 <= rise <= 1:
        raise ValueError(f"rise: {rise} must be a share from 0 to 1")
    top = min(max(rise * steps, 1.0), max(steps - 1.0, 1.0))

    def schedule(step: jax.Array | int) -> Any:
        step = _precise(step)
        return peak * jnp.clip(jnp.minimum(step / top, (steps - step) / max(steps - top, 1.0)), 0.0, 1.0)

    return schedule


def is_schedule(function: Callable[..., Any]) -> bool:
    """The signature is the registration: a public function of (steps, *, hyperparameters) that returns an `optax.Schedule`."""
    return returned(function) == optax.Schedule and positional(function) == ("steps",)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    name: function for name, function in own_functions(globals(), __name__).items() if is_schedule(function)
}
"""Every schedule by name; each takes the stage's number of steps and keyword hyperparameters."""


class Balance(NamedTuple):
    """A term's weight, as a function of gradients: `ratio |d(weight_to to)| / |d term|`, see `balanced`."""

    to: str
    ratio: Number
    decay: float
    every: int
    maximum: Number


def balanced(*, to: str, ratio: Number = 1.0, decay: float = 0.9, every: int = 1, maximum: Number = 1e4) -> Balance:
    """The weight at which a term pulls `ratio` times as hard as the term `to` does with its weight.

    `w = min(ratio w_to |g_to|_2 / |g|_2, maximum)` with g the terms' gradients in what is optimised, over the batch, and
    0 where g is 0: no weight makes such a term pull. No gradient flows through w. The norms are measured at every
    `every`-th step of a stage and averaged, `n <- decay n + (1 - decay) |g|_2`, from the first one measured on.
    The adaptive weight of Esser et al. (2021), eq. 7, between any two terms; the aim, not the way, of GradNorm (Chen et al. 2018).
    Each measurement costs a gradient of the term and one of `to`, beside the step's own.
    """
    return Balance(to, ratio, decay, every, maximum)


BALANCED = "balanced"
"""What a config calls it."""


def at_step(hyperparameters: Mapping[str, Any], step: jax.Array | int) -> dict[str, Any]:
    """The hyperparameters with every schedule among them replaced by its value at `step`, a scalar of the default precision."""
    return {
        name: jnp.asarray(value(step), jnp.result_type(float)) if callable(value) else value
        for name, value in hyperparameters.items()
    }


def _precise(step: jax.Array | int) -> Any:
    # Under JAX's float64 mode an int32 step divided by anything is still float32; in float32 mode nothing changes.
    return jnp.asarray(step, jnp.float64) if jnp.result_type(float) == jnp.float64 else step
