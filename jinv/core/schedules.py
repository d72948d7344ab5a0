"""Learning rates and weights over a stage's steps, counted from 0; every schedule is `step -> value`."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jinv.core.types import Number


def warmup_cosine(steps: int, *, peak: Number, warmup: int = 0, end: Number = 0.0) -> optax.Schedule:
    """Linear to `peak` over `warmup` steps, then half a cosine down to `end` at `steps`.

    `peak (t+1)/warmup` for t < warmup, else `end + (peak - end) (1 + cos(pi (t - warmup)/(steps - warmup)))/2`:
    the schedule of NVlabs' DeepInversion program, which warms up over 100 steps.
    """

    def schedule(step):
        progress = jnp.clip((step - warmup) / max(steps - warmup, 1), 0.0, 1.0)
        decayed = end + (peak - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < warmup, peak * (step + 1) / max(warmup, 1), decayed)

    return schedule


def linear(steps: int, *, start: Number, end: Number) -> optax.Schedule:
    """A straight line from `start` at step 0 to `end` at the last step."""
    return optax.linear_schedule(start, end, max(steps - 1, 1))


def exponential(steps: int, *, start: Number, end: Number) -> optax.Schedule:
    """A constant factor per step, from `start` at step 0 to `end` at the last step; both positive."""
    return lambda step: start * (end / start) ** (step / max(steps - 1, 1))


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "warmup_cosine": warmup_cosine,
    "linear": linear,
    "exponential": exponential,
}
"""Every schedule by name; each takes the stage's number of steps and keyword hyperparameters."""
