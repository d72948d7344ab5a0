"""Activations with torch's derivatives where they have corners; elementwise, in the dtype of their input."""

import jax
import jax.numpy as jnp
from jax import Array


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6) with zero gradient at both corners, as in torch (`jax.nn.relu6` has one half there)."""
    return jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x)).astype(x.dtype)


def hardsigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6: 0 up to -3, 1 from 3 on, with zero gradient at both corners, as in torch."""
    # Corners at x itself: x + 3 rounds to 6 a little before.
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, (x + 3) / 6)).astype(x.dtype)


def hardswish(x: Array) -> Array:
    """x relu6(x + 3) / 6: at -3 with the gradient of what is left of it, 0, and at 3 of what is right, 1, as in torch."""
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, x, x * (x + 3) / 6)).astype(x.dtype)


def silu(x: Array) -> Array:
    """x / (1 + exp(-x)), which is smooth."""
    return jax.nn.silu(x)
