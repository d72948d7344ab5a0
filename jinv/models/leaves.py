"""How a module gets at its parameters and running statistics."""

from typing import Any

import flax.linen as nn
from jax import Array
from jax.nn.initializers import Initializer


def leaf(module: nn.Module, collection: str, name: str, shape: tuple[int, ...], initial: Initializer) -> Array:
    """The module's variable of that name; made by `initial` where the module is being initialised.

    Flax's own `param` traces the initializer in every trace, to compare shapes: a second or two per network. Here shapes
    are compared when a file is loaded, and that is enough.
    """
    if module.has_variable(collection, name):
        return module.get_variable(collection, name)
    if collection == "params":
        return module.param(name, initial, shape)
    made: Any = module.variable(collection, name, initial, None, shape).value
    return made
