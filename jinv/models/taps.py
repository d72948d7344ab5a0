"""Values from inside a network: of layers by name, and what its head is given; and the statistics of each image's.

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
import numpy as np
from jax import Array

from jinv.core.parameterization import average_pool_to
from jinv.core.types import ImageStats
from jinv.models.layers import BatchNorm, Conv, Dense, Head
from jinv.models.ops import at_least_float32

IMAGE = "image"
GRID = 4
"""Cells along each side of a map; a map of fewer pixels has a cell for each."""


@dataclass(frozen=True)
class Taps:
    """What terms look at inside a network: `layers` with recorded statistics, in network order, and the `features`.

    sha256: of the file that the statistics come from; class_counts: its images of each class, none where it has no classes.
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


def image_stats(x: Array, quantiles: int | None = None) -> ImageStats:
    """Each image's own statistics of (N, H, W, C), at least float32; `quantiles` says how many of each channel."""
    x = x.astype(at_least_float32(x))
    mean = x.mean((1, 2))
    var = jnp.square(x - mean[:, None, None]).mean((1, 2))
    grid = min(GRID, x.shape[1]), min(GRID, x.shape[2])
    # Of differences from the image's mean, so that no large squares are subtracted.
    middle = x.mean((1, 2, 3), keepdims=True)
    offset = x - middle
    first = average_pool_to(offset.mean(3, keepdims=True), grid).reshape(x.shape[0], -1)
    second = average_pool_to(jnp.square(offset).mean(3, keepdims=True), grid).reshape(x.shape[0], -1)
    cell_var = jnp.maximum(second - jnp.square(first), 0)
    found = None if quantiles is None else sorted_values(x, quantiles)
    return ImageStats(mean, var, first + middle[:, 0, 0], cell_var, found)


def sorted_values(x: Array, count: int) -> Array:
    """(N, count, C): quantiles of each channel over (H, W) at `(k + 1/2) / count`, between sorted values linearly.

    The sorted values lie at `(i + 1/2) / (H W)`: as many quantiles as values are the sorted values themselves.
    """
    values = jnp.sort(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1)
    last = values.shape[1] - 1
    place = np.clip((np.arange(count) + 0.5) / count * (last + 1) - 0.5, 0, last)
    below = np.floor(place).astype(int)
    share = jnp.asarray(place - below, values.dtype)[None, :, None]
    upper: Array = values[:, np.minimum(below + 1, last)]
    return values[:, below] * (1 - share) + upper * share
