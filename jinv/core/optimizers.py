"""Adam as published, with its bias corrections exact in float32; every other optimizer is optax's own."""

import math

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
