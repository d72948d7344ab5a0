"""The converted network's side of the comparison: every layer's output, and gradients of every term, in Flax."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.objective import TERMS, looks_at_logits, looks_at_network, term_fields
from jinv.core.types import Forward, NormStats
from jinv.models.layers import prepare
from jinv.weights.load import unflatten
from jinv_convert.parity.inputs import Inputs

Statistics = Sequence[tuple[np.ndarray, np.ndarray]]
"""(mean, variance) of every batch norm, in network order."""


class Measured(NamedTuple):
    """One forward pass: `layers` by module path in NHWC, `statistics` (batch mean, variance) in network order."""

    logits: np.ndarray
    layers: dict[str, np.ndarray]
    statistics: list[tuple[np.ndarray, np.ndarray]]


class Cotangents(NamedTuple):
    """What a term sends back to the image, the logits and the batch statistics."""

    image: np.ndarray
    logits: np.ndarray
    statistics: list[tuple[np.ndarray, np.ndarray]]


class FlaxNetwork:
    """A Flax module with flat variables, run on the CPU in the dtype of its input, float64 included."""

    def __init__(self, module: nn.Module, variables: Mapping[str, np.ndarray], layers: Sequence[str]) -> None:
        self._module, self._variables = module, unflatten(variables)
        paths = {tuple(layer.split("/")) for layer in layers}

        def wanted(called: nn.Module, method: str) -> bool:
            return method == "__call__" and tuple(called.path) in paths

        def measure(variables: Any, image: jax.Array) -> Any:
            (logits, stats), captured = module.apply(
                variables, image, capture_intermediates=wanted, mutable=["intermediates"]
            )
            return logits, stats, captured["intermediates"]

        def pull_back(variables: Any, image: jax.Array, logits: jax.Array, statistics: Any) -> jax.Array:
            def outputs(image: jax.Array) -> Any:
                logits, stats = cast(Any, module.apply(variables, image))
                return logits, [(s.batch_mean, s.batch_var) for s in stats]

            (gradient,) = jax.vjp(outputs, image)[1]((logits, statistics))
            return cast(jax.Array, gradient)

        self._measure, self._pull_back = jax.jit(measure), jax.jit(pull_back)

    def with_variables(self, variables: Mapping[str, np.ndarray]) -> "FlaxNetwork":
        """The same compiled network with other weights."""
        other = copy.copy(self)
        other._variables = unflatten(variables)
        return other

    def prepared(self, size: int) -> "FlaxNetwork":
        """The same network as long runs on a CPU compute it, for images of at least `size` pixels; float32 only."""
        other = copy.copy(self)
        with on_cpu(np.dtype(np.float32)):
            other._variables = prepare(self._module, self._variables, size)
        return other

    def forward(self, image: np.ndarray) -> Measured:
        """Everything that the network computes on `image`, NHWC."""
        with on_cpu(image.dtype):
            measured = self._measure(self._variables, image)
        logits, stats, captured = cast(Any, jax.device_get(measured))
        return Measured(logits, dict(_leaves(captured, ())), [(s.batch_mean, s.batch_var) for s in stats])

    def gradient(self, image: np.ndarray, cotangents: Cotangents) -> np.ndarray:
        """The gradient of a term with respect to the image, NHWC."""
        with on_cpu(image.dtype):
            through = self._pull_back(self._variables, image, cotangents.logits, cotangents.statistics)
            gradient: np.ndarray = np.asarray(through) + cotangents.image
            return gradient


def compile_ahead(network: FlaxNetwork, prepared: FlaxNetwork, inputs: Sequence[Inputs]) -> None:
    """Compile what a comparison on `inputs` needs, every program on a core of its own.

    Compiling takes most of a comparison's time, and XLA compiles one program on hardly more than one core.
    """

    def once(network: FlaxNetwork, batch: Inputs, dtype: str, differentiate: bool) -> None:
        image = batch.image.astype(dtype)
        logits, _, statistics = network.forward(image)
        if differentiate:
            cotangents = term_cotangents(image, logits, statistics, statistics)
            network.gradient(image, next(iter(cotangents.values())))

    programs = {(batch.image.shape, dtype): batch for batch in inputs for dtype in ("float64", "float32")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(once, prepared, inputs[-1], "float32", False)]
        tasks += [
            pool.submit(once, network, batch, dtype, batch.differentiate) for (_, dtype), batch in programs.items()
        ]
        for task in tasks:
            task.result()


def term_cotangents(
    image: np.ndarray, logits: np.ndarray, statistics: Statistics, running: Statistics
) -> dict[str, Cotangents]:
    """Every registered term's derivatives at what one network computed; needs no second definition of the terms.

    Terms of batch statistics are left out for a network that has none, those of logits for one without a head, and those of
    `INSIDE` for all.
    Labels and, for terms that look at a student, its logits are arbitrary but fixed.
    """
    labels = np.arange(len(image)) % max(logits.shape[1], 1)
    student = np.random.default_rng(1).normal(size=logits.shape).astype(image.dtype)
    with on_cpu(image.dtype):
        derivatives = _derivatives(image, logits, list(statistics), list(running), labels, student)
        return {name: Cotangents(*values) for name, values in jax.device_get(derivatives).items()}


INSIDE = {"layers", "recorded", "features"}
"""What terms see of a network's inside beside its statistics, which the layers' own comparison covers."""


def looks_at_image_alone(term: str) -> bool:
    """Whether a term's gradient never passes through the network."""
    return not looks_at_network(TERMS[term])


@jax.jit
def _derivatives(
    image: jax.Array, logits: jax.Array, statistics: Any, running: Any, labels: jax.Array, student: jax.Array
) -> dict[str, Any]:
    # The first layer's count for all: the same on both sides, and above the 1 that unbiased variances fail at.
    count = image.shape[0] * image.shape[1] * image.shape[2]

    def value(function: Callable[..., jax.Array], image: jax.Array, logits: jax.Array, statistics: Any) -> jax.Array:
        stats = tuple(
            NormStats(batch[0], batch[1], jnp.asarray(kept[0], image.dtype), jnp.asarray(kept[1], image.dtype), count)
            for batch, kept in zip(statistics, running, strict=True)
        )
        pixels = 0.25 * image + 0.5  # any units, the same on both sides
        forward = Forward(image, logits, labels, stats, student, pixels)
        return function(*(getattr(forward, field) for field in term_fields(function)))

    return {
        name: jax.grad(partial(value, function), argnums=(0, 1, 2))(image, logits, statistics)
        for name, function in TERMS.items()
        if (statistics or "norm_stats" not in term_fields(function))
        and INSIDE.isdisjoint(term_fields(function))
        and (logits.shape[1] or not looks_at_logits(function))
    }


@contextmanager
def on_cpu(dtype: np.dtype) -> Iterator[None]:
    """64-bit types where `dtype` is float64, and the CPU whatever else there is."""
    with jax.enable_x64(dtype == np.float64), jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name, value in tree.items():
        if name == "__call__":
            output = value[0]
            yield "/".join(path), output[0] if isinstance(output, tuple) else output
        else:
            yield from _leaves(value, (*path, name))
