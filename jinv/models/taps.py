"""Values from inside a network: of layers by name, and what its head is given.

A layer's name is its module's path, "layer1_0/conv1". Of a batch norm it is the input that counts, as everywhere, of a
convolution the output, before what is nonlinear; "image" is what the network is given.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jinv.models.layers import BatchNorm, Conv, Dense, Head

IMAGE = "image"


@dataclass(frozen=True)
class Taps:
    """What terms look at inside a network: `layers` with recorded statistics, in network order, and the `features`.

    sha256: of the file that the statistics come from, which may have none but colours; class_counts: its images of each class, none where it has no classes.
    """

    layers: tuple[str, ...] = ()
    features: bool = False
    sha256: str | None = None
    class_counts: tuple[int, ...] = ()


class Heard:
    """What was listened to: a layer's values by its name, and what each head was given, the last one at the end."""

    def __init__(self) -> None:
        self.layers: dict[str, Array] = {}
        self.kinds: dict[str, type[nn.Module]] = {}
        self.head_inputs: list[Array] = []


@contextmanager
def listening(names: Collection[str] | None = None) -> Iterator[Heard]:
    """Inside, networks that are applied tell the values of `names`, by default of every batch norm and convolution."""
    heard = Heard()

    def listen(call: Callable[..., Any], arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        result = call(*arguments, **keywords)
        module = context.module
        if context.method_name == "__call__" and isinstance(module, BatchNorm | Conv | Dense):
            if isinstance(module, Dense | Head):
                heard.head_inputs.append(arguments[0])
            name = "/".join(module.path)
            if isinstance(module, BatchNorm | Conv) and (names is None or name in names):
                heard.layers[name] = arguments[0] if isinstance(module, BatchNorm) else result
                heard.kinds[name] = type(module)
        return result

    with nn.intercept_methods(listen):
        yield heard


def layers_of(module: nn.Module, variables: Mapping[str, Any], size: int) -> dict[str, type[nn.Module]]:
    """Every layer that can be listened to, in network order, and what it is; nothing is computed."""
    with listening() as heard:
        jax.eval_shape(module.apply, dict(variables), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    return {IMAGE: nn.Module, **heard.kinds}
