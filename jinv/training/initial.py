"""The variables that a training begins with."""

import math
import zlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jinv.core.draws import stated_draws
from jinv.core.types import Key


@stated_draws
def initial_variables(module: nn.Module, size: int, key: Key) -> dict[str, Any]:
    """Kernels normal with variance 2 / fan-in, He et al. (2015), eq. 10; scales and variances one, biases and means zero.

    Args:
      size: height and width of any image that the network takes.
    """

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        names = [part.key for part in path]
        if names[-1] == "kernel":
            # By name, so that a layer more or less leaves the others' draws as they are.
            own = jax.random.fold_in(key, zlib.crc32("/".join(names).encode()) & 0x7FFFFFFF)
            deviation = math.sqrt(2 / max(math.prod(leaf.shape[:-1]), 1))
            return deviation * jax.random.normal(own, leaf.shape, jnp.float32)
        return jnp.ones(leaf.shape) if names[-1] in ("scale", "var") else jnp.zeros(leaf.shape)

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, key, image)
    variables = jax.tree_util.tree_map_with_path(draw, dict(shapes))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
