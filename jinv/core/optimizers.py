"""Adam as published, with its bias corrections exact in float32, and normalised gradient steps; the rest is optax's."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jinv.core.types import Number


def adam(
    learning_rate: Number | optax.Schedule, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8
) -> optax.GradientTransformation:
    """Kingma & Ba (2014), algorithm 1, as `optax.adam`, whose `1 - b2**t` in float32 is off by 1e-5 in the first steps.

    PyTorch computes the corrections in double precision; here `1 - b**t = -expm1(t log b)` keeps every digit. On the
    thesis' loop that alone brings thirty float32 steps about as near to PyTorch's as PyTorch's own rounding allows.

    Every number may be traced, as in a sweep. A float32 `b2` is then Adam with that `b2` to the last digit, `1 - b2`
    being exact; it is itself off by 1e-8 where a Python float is not.
    """

    def correction(decay: Number, count: jax.Array) -> jax.Array | float:
        if isinstance(decay, jax.Array):  # at 0 the logarithm is -inf and the correction 1, as it should be
            return -jnp.expm1(count * jnp.log(decay))
        return -jnp.expm1(count * math.log(decay)) if decay > 0 else 1.0

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        assert isinstance(state, optax.ScaleByAdamState)
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        first, second = correction(b1, count), correction(b2, count)
        updates = jax.tree.map(lambda m, v: (m / first) / (jnp.sqrt(v / second) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate))


class NormalizedGradientState(NamedTuple):
    """How many steps were taken, and the parameters before the first: the centre of the ball."""

    steps: jax.Array
    start: optax.Params


def normalized_gradient(
    learning_rate: float | optax.Schedule, radius: float | None = None
) -> optax.GradientTransformation:
    """Each image moves by `learning_rate` along its own gradient's direction: `x - rate g_i / |g_i|_2`.

    With `radius` it then goes back to the nearest point of the L2 ball of that radius around where it started. Both in
    the parameters' units. A vanishing gradient moves nothing. An image's path depends on no other's. Madry et al. (2018),
    for synthesis Santurkar et al. (2019), whose lengths are in units where white is 1: here they are divided by std.
    """

    def per_image(tree: optax.Params) -> jax.Array:
        return jnp.sqrt(sum(jnp.sum(x * x, axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(tree)))

    def scaled(tree: optax.Params, factor: jax.Array) -> optax.Params:
        return jax.tree.map(lambda x: x * factor.reshape(-1, *[1] * (x.ndim - 1)), tree)

    def init(params: optax.Params) -> NormalizedGradientState:
        return NormalizedGradientState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        assert isinstance(state, NormalizedGradientState)
        length = per_image(updates)
        rate = learning_rate(state.steps) if callable(learning_rate) else learning_rate
        updates = scaled(updates, jnp.where(length > 0, -rate / jnp.where(length > 0, length, 1), 0))
        if radius is not None:
            offset = jax.tree.map(lambda p, u, s: p + u - s, params, updates, state.start)
            distance = per_image(offset)
            shrink = jnp.where(distance > radius, radius / jnp.where(distance > 0, distance, 1), 1)
            updates = jax.tree.map(lambda s, o, p: s + o - p, state.start, scaled(offset, shrink), params)
        return updates, NormalizedGradientState(state.steps + 1, state.start)

    return optax.GradientTransformation(init, update)


def _stub():
    import inspect

    found = {
        k: v
        for k, v in vars(optax).items()
        if inspect.isfunction(v) and "learning_rate" in inspect.signature(v).parameters and not k.startswith("_")
    }
    return found | {"normalized_gradient": normalized_gradient}


OPTIMIZERS = _stub()


def check_hyperparameters(maker, hyperparameters):
    for key, value in hyperparameters.items():
        if isinstance(value, float | int) and not isinstance(value, bool) and not math.isfinite(value):
            raise ValueError(f"{key}: {value} must be finite")
        if key == "radius" and (isinstance(value, bool) or not isinstance(value, float | int) or value <= 0):
            raise ValueError(f"radius: {value!r} must be a number above 0")
        if key in ("b1", "b2", "momentum", "decay") and not (isinstance(value, float | int) and 0 <= value < 1):
            raise ValueError(f"{key}: {value!r} must be from 0 up to, but not including, 1")
