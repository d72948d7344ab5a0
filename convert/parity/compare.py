"""The comparison itself: a Flax and a torch network on the same inputs, in float64 and float32, layer by layer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jinv.models import activations, ops, pooling
from jinv.models.architecture import Architecture
from jinv_convert.families.rules import expected_targets
from jinv_convert.parity.flax_side import Cotangents, FlaxNetwork, looks_at_image_alone, on_cpu, term_cotangents
from jinv_convert.parity.inputs import Inputs
from jinv_convert.parity.report import (
    ROUNDING_FACTOR,
    GradientErrors,
    LayerErrors,
    ValidationReport,
    l2_error,
    relative_error,
)
from jinv_convert.reference.measure import TorchNetwork, run_operation

DTYPES = ("float64", "float32")
KINK_SIZE, KINK_DRAWS = 5e-6, 16
"""Relative change of the image, a tenth of what a layer may differ by in float32, and how often it is drawn: a ReLU so
near its corner that half of the draws flip it must not be missed (one of a ResNet-110's moves its gradients by 0.4 %)."""
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "max_pool 3x3 stride 2 padding 1": lambda x: pooling.max_pool(x, window=3, stride=2, padding=ops.symmetric(1)),
    "max_pool 2x2 stride 2": lambda x: pooling.max_pool(x, window=2, stride=2),
    "average_pool 2x2": lambda x: pooling.average_pool(x, window=2),
    "max_pool 3x3 stride 1 padding 1": lambda x: pooling.max_pool(x, window=3, stride=1, padding=ops.symmetric(1)),
    "max_pool 3x3 stride 2 ceil": lambda x: pooling.ceil_max_pool(x, window=3, stride=2),
    "max_pool 2x2 stride 2 ceil": lambda x: pooling.ceil_max_pool(x, window=2, stride=2),
    "average_pool 2x2 ceil": lambda x: pooling.average_pool(x, window=2, ceil=True),
    "average_pool 3x3 stride 1 padding 1": pooling.smoothed,
    "adaptive_average_pool 7x7": lambda x: pooling.adaptive_average_pool(x, size=7),
    "global_average_pool": ops.global_average_pool,
    "relu6": activations.relu6,
    "hardsigmoid": activations.hardsigmoid,
    "hardswish": activations.hardswish,
    "silu": activations.silu,
}
"""jinv's side of `jinv_convert.reference.measure.OPERATIONS`."""


class Pair(NamedTuple):
    """One layer with parameters: its torch name, its Flax path, and its tensors (torch name -> where in the file)."""

    torch_name: str
    flax_path: str
    tensors: dict[str, Any]


def layer_pairs(architecture: Architecture, num_classes: int) -> list[Pair]:
    """Every layer with parameters."""
    pairs: dict[str, Pair] = {}
    for name, (target, _) in expected_targets(architecture, num_classes).items():
        module, path = name.rpartition(".")[0], "/".join(target.path.split("/")[1:-1])
        pairs.setdefault(module, Pair(module, path, {})).tensors[name] = target
    return list(pairs.values())


def compare_networks(
    report: ValidationReport,
    flax: FlaxNetwork,
    reference: Any,
    pairs: Sequence[Pair],
    inputs: Sequence[Inputs],
    progress: Callable[[str], None] = lambda stage: None,
) -> None:
    """Fill `report` with the errors of every layer, the logits and the gradients of every term.

    `reference` is the torch network in float32; `pairs` say which of its layers is which of `flax`.
    """
    layers = {pair.torch_name: LayerErrors(pair.torch_name) for pair in pairs}
    logits, order = LayerErrors("logits", kind="logits"), []
    gradients: dict[str, GradientErrors] = {}
    networks = {"float64": copy.deepcopy(reference).double(), "float32": reference}
    for batch in inputs:
        exact: _Side | None = None
        for dtype, network in networks.items():
            progress(f"{batch.name}, {dtype}")
            image = batch.image.astype(np.float32).astype(dtype)
            expected = TorchNetwork(network, image, list(layers), differentiate=batch.differentiate)
            order = list(expected.layers)
            theirs = _Side(expected.logits, expected.layers, expected.statistics, {})
            measured = flax.forward(image)
            named = {p.torch_name: measured.layers[p.flax_path] for p in pairs if p.flax_path in measured.layers}
            ours = _Side(measured.logits, named, measured.statistics, {})
            if len(ours.statistics) != len(expected.norms):
                counts = f"{len(ours.statistics)} batch-norm statistics, PyTorch has {len(expected.norms)}"
                report.problems.append(counts)
                return
            exact = exact or theirs
            for name, error in _errors(ours, theirs, expected.norms).items():
                layer = logits if name == "logits" else layers[name]
                layer.kind = "batch norm" if name in expected.norms else layer.kind
                own = partial(_error_of, name, exact, theirs, expected.norms)
                layer.add(dtype, error, batch.name, own if dtype == "float32" else None)
            if dtype == "float32":
                report.add_logits(ours.logits, theirs.logits, exact.logits, batch.name)
            if batch.differentiate:
                progress(f"{batch.name}, {dtype}: gradients")
                theirs.gradients.update(_torch_gradients(expected, image))
                cotangents = term_cotangents(image, ours.logits, ours.statistics, expected.running)
                ours.gradients.update(_pull_back(partial(flax.gradient, image), cotangents))
                kinks = _Kinks(networks["float64"], image, list(layers), exact.gradients)
                for term, gradient in theirs.gradients.items():
                    found = gradients.setdefault(term, GradientErrors(term, image_alone=looks_at_image_alone(term)))
                    error = l2_error(ours.gradients[term], gradient)
                    own = partial(_kink_of, term, exact, theirs, kinks, error / ROUNDING_FACTOR)
                    found.add(dtype, error, batch.name, own if dtype == "float32" else None)
    unseen = [name for name in layers if name not in order]
    if unseen:
        report.problems.append(f"{len(unseen)} layers were never called, such as {unseen[0]}")
    report.layers = [*(layers[name] for name in order), *(layers[name] for name in unseen)]
    if theirs.logits.size:  # a network without a head has none
        report.layers.append(logits)
    report.gradients = list(gradients.values())
    report.inputs = [batch.name for batch in inputs]


def compare_prepared(
    report: ValidationReport,
    flax: FlaxNetwork,
    reference: Any,
    pairs: Sequence[Pair],
    batch: Inputs,
    progress: Callable[[str], None] = lambda stage: None,
) -> None:
    """One more entry: the worst layer of the network as synthesis runs it, with what it derives from its kernels."""
    progress(f"{batch.name}, float32, as synthesis runs it")
    image, names = batch.image.astype(np.float32), [pair.torch_name for pair in pairs]
    expected, measured = TorchNetwork(reference, image, names, differentiate=False), flax.forward(image)
    exact = cache(
        lambda: TorchNetwork(copy.deepcopy(reference).double(), image.astype(np.float64), names, differentiate=False)
    )
    worst = LayerErrors("worst layer, as synthesis runs it", kind="network")
    for pair in pairs:
        name = pair.torch_name
        if name in expected.layers and pair.flax_path in measured.layers:
            error = relative_error(measured.layers[pair.flax_path], expected.layers[name])
            worst.add("float32", error, batch.name, partial(_difference, name, exact, expected))
    report.operations.append(worst)


def compare_weights(
    report: ValidationReport,
    pairs: Sequence[Pair],
    variables: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
) -> None:
    """Count, layer by layer, the tensors that are not exactly the checkpoint's; one changed bit is enough."""
    by_name = {layer.name: layer for layer in report.layers}
    for pair in pairs:
        for name, target in pair.tensors.items():
            if not np.array_equal(variables[target.path], target.laid_out(weights[name])):
                by_name[pair.torch_name].tensors_differ += 1


def compare_operations(report: ValidationReport, seed: int = 0) -> None:
    """Poolings and activations alone, on a signed input of even and an all-negative one of odd size."""
    random = np.random.default_rng(seed)
    inputs = [random.normal(scale=4, size=(2, 14, 14, 3)), -random.uniform(1, 2, size=(1, 9, 23, 2))]
    for name, operation in OPERATIONS.items():
        compiled = jax.jit(operation)
        errors = LayerErrors(name, kind="operation")
        for dtype in DTYPES:
            for x in (x.astype(dtype) for x in inputs):
                with on_cpu(x.dtype):
                    actual = np.asarray(compiled(x))
                errors.add(dtype, relative_error(actual, run_operation(name, x)), "x".join(map(str, x.shape)))
        report.operations.append(errors)


class _Side(NamedTuple):
    """What one network computed: layers by torch name, statistics in network order, gradients by term."""

    logits: np.ndarray
    layers: dict[str, np.ndarray]
    statistics: Any
    gradients: dict[str, np.ndarray]


def _errors(side: _Side, reference: _Side, norms: Sequence[str]) -> dict[str, float]:
    """The relative error of every layer, of its statistics where those are worse, and of the logits."""
    errors = {
        name: relative_error(side.layers[name], expected)
        for name, expected in reference.layers.items()
        if name in side.layers
    }
    for name, (mean, variance), found in zip(norms, reference.statistics, side.statistics, strict=True):
        # Of the layer's typical activation: the mean of standardised noise is nearly zero, and only rounding there.
        power = variance + mean**2
        of_mean = relative_error(found[0][None], mean[None], np.sqrt(power)[None])
        of_variance = relative_error(found[1][None], variance[None], power[None])
        errors[name] = max(errors.get(name, 0.0), of_mean, of_variance)
    return errors | {"logits": relative_error(side.logits, reference.logits)}


def _error_of(name: str, exact: "_Side", theirs: "_Side", norms: Sequence[str]) -> float:
    """What float32 does to one layer of PyTorch itself."""
    return _errors(exact, theirs, norms)[name]


def _difference(name: str, exact: Callable[[], TorchNetwork], expected: TorchNetwork) -> float:
    return relative_error(exact().layers[name], expected.layers[name])


def _kink_of(term: str, exact: "_Side", theirs: "_Side", kinks: "_Kinks", enough: float) -> float:
    """What float32, or the image's change by as much, does to a gradient of PyTorch itself; `enough` ends the search."""
    own = l2_error(exact.gradients[term], theirs.gradients[term])
    return own if own >= enough else max(own, kinks.of(term, enough))


def _torch_gradients(network: TorchNetwork, image: np.ndarray) -> dict[str, np.ndarray]:
    """PyTorch's gradient of every term with respect to the image."""
    cotangents = term_cotangents(image, network.logits, network.statistics, network.running)
    return _pull_back(lambda cotangents: network.gradient(*cotangents), cotangents)


def _pull_back(
    through: Callable[[Cotangents], np.ndarray], of_terms: Mapping[str, Cotangents]
) -> dict[str, np.ndarray]:
    return {
        term: cotangents.image if looks_at_image_alone(term) else through(cotangents)
        for term, cotangents in of_terms.items()
    }


class _Kinks:
    """How far every gradient moves, in PyTorch's float64 alone, where the image moves by what float32 may change.

    Rounding flips ReLUs and maxima that are nearly tied, and each flip moves the gradient by far more than rounding:
    one float32 evaluation sees too few of them to be a measure. Asked for only where a gradient needs the excuse.
    """

    def __init__(self, network: Any, image: np.ndarray, layers: Sequence[str], exact: Mapping[str, np.ndarray]) -> None:
        self._network, self._image, self._layers, self._exact = network, image.astype(np.float64), layers, exact
        self._random = np.random.default_rng(2)
        self._moved: dict[str, list[float]] = {term: [] for term in exact}

    def of(self, term: str, enough: float) -> float:
        """The farthest of up to `KINK_DRAWS` draws, which end where one is far enough."""
        moved = self._moved[term]
        while max(moved, default=0.0) < enough and len(moved) < KINK_DRAWS:
            nearby = self._image * (1 + KINK_SIZE * self._random.normal(size=self._image.shape))
            found = _torch_gradients(TorchNetwork(self._network, nearby, self._layers, differentiate=True), nearby)
            for name, gradient in found.items():
                self._moved[name].append(l2_error(gradient, self._exact[name]))
        return max(moved, default=0.0)
