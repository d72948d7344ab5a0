"""Keys and draws that are the same whatever the environment says: JAX takes its generator from ambient settings."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

from jinv.core.types import Key

IMPLEMENTATION = "threefry2x32"

P = ParamSpec("P")
R = TypeVar("R")


def run_key(seed: int) -> Key:
    """The key that all draws of a run derive from, of the one generator whose draws are the same everywhere."""
    return jax.random.key(seed, impl=IMPLEMENTATION)


def stated_draws(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose draws are of partitionable threefry, also where `JAX_THREEFRY_PARTITIONABLE=0` asks for other bits."""

    @functools.wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.threefry_partitionable(True):
            return function(*args, **kwargs)

    return drawn
