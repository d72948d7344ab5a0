"""The comparison itself: a Flax and a torch network on the same inputs, in float64 and float32, layer by layer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from convert.parity_inputs import Inputs
from convert.parity_jax import FlaxNetwork, Measured, on_cpu, term_cotangents
from convert.parity_report import (
    LOGITS_ATOL,
    LOGITS_RTOL,
    GradientErrors,
    LayerErrors,
    ValidationReport,
    l2_error,
    relative_error,
)
from convert.reference.measure import TorchNetwork, run_operation
from convert.rules import expected_targets
from jinv.models import ops
from jinv.models.registry import Architecture

DTYPES = ("float64", "float32")
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "max_pool 3x3 stride 2 padding 1": lambda x: ops.max_pool(x, window=3, stride=2, padding=ops.symmetric(1)),
    "max_pool 2x2 stride 2": lambda x: ops.max_pool(x, window=2, stride=2),
    "average_pool 2x2": lambda x: ops.average_pool(x, window=2),
    "adaptive_average_pool 7x7": lambda x: ops.adaptive_average_pool(x, size=7),
    "global_average_pool": ops.global_average_pool,
    "relu6": ops.relu6,
}
"""jinv's side of `convert.reference.measure.OPERATIONS`."""


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
    module: nn.Module,
    variables: Mapping[str, np.ndarray],
    reference: Any,
    pairs: Sequence[Pair],
    inputs: Sequence[Inputs],
    progress: Callable[[str], None] = lambda stage: None,
) -> None:
    """Fill `report` with the errors of every layer, the logits and the gradients of every term."""
    flax = FlaxNetwork(module, variables, [pair.flax_path for pair in pairs])
    layers = {pair.torch_name: LayerErrors(pair.torch_name, "layer") for pair in pairs}
    logits, order = LayerErrors("logits", "logits"), []
    gradients: dict[str, GradientErrors] = {}
    for dtype in DTYPES:
        network = copy.deepcopy(reference).double() if dtype == "float64" else reference
        for batch in inputs:
            progress(f"{dtype}: {batch.name}")
            image = batch.image.astype(dtype)
            expected = TorchNetwork(network, image, list(layers), differentiate=batch.differentiate)
            actual = flax.forward(image)
            order = list(expected.layers)
            for pair in pairs:
                if pair.torch_name in expected.layers and pair.flax_path in actual.layers:
                    error = relative_error(actual.layers[pair.flax_path], expected.layers[pair.torch_name])
                    layers[pair.torch_name].add(dtype, error, batch.name)
            _compare_statistics(report, layers, expected, actual, dtype, batch.name)
            logits.add(dtype, relative_error(actual.logits, expected.logits), batch.name)
            if dtype == "float32" and not np.allclose(actual.logits, expected.logits, LOGITS_RTOL, LOGITS_ATOL):
                report.logits_close = False
            if batch.differentiate:
                progress(f"{dtype}: {batch.name}: gradients")
                _compare_gradients(gradients, flax, expected, actual, image, dtype)
    unseen = [name for name in layers if name not in order]
    if unseen:
        report.problems.append(f"{len(unseen)} layers were never called, such as {unseen[0]}")
    report.layers = [*(layers[name] for name in order), *(layers[name] for name in unseen), logits]
    report.gradients = list(gradients.values())
    report.inputs = [batch.name for batch in inputs]


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
            if not np.array_equal(variables[target.path], weights[name].transpose(target.transpose)):
                by_name[pair.torch_name].tensors_differ += 1


def compare_operations(report: ValidationReport, seed: int = 0) -> None:
    """Poolings and activations alone, on a signed input of even and an all-negative one of odd size."""
    random = np.random.default_rng(seed)
    inputs = [random.normal(scale=4, size=(2, 14, 14, 3)), -random.uniform(1, 2, size=(1, 9, 23, 2))]
    for name, operation in OPERATIONS.items():
        compiled = jax.jit(operation)
        errors = LayerErrors(name, "operation")
        for dtype in DTYPES:
            for x in (x.astype(dtype) for x in inputs):
                with on_cpu(x.dtype):
                    actual = np.asarray(compiled(x))
                errors.add(dtype, relative_error(actual, run_operation(name, x)), "x".join(map(str, x.shape)))
        report.operations.append(errors)


def _compare_statistics(
    report: ValidationReport,
    layers: dict[str, LayerErrors],
    expected: TorchNetwork,
    actual: Measured,
    dtype: str,
    input_name: str,
) -> None:
    if len(actual.statistics) != len(expected.norms):
        report.problems.append(f"{len(actual.statistics)} batch-norm statistics, PyTorch has {len(expected.norms)}")
        return
    for name, theirs, ours in zip(expected.norms, expected.statistics, actual.statistics, strict=True):
        mean, variance = theirs
        # Of the layer's typical activation: the mean of standardised noise is nearly zero, and only rounding there.
        power = variance + mean**2
        for one, other, scale in ((ours[0], mean, np.sqrt(power)), (ours[1], variance, power)):
            if name in layers:
                layers[name].kind = "batch norm"
                layers[name].add(dtype, relative_error(one[None], other[None], scale[None]), input_name)


def _compare_gradients(
    gradients: dict[str, GradientErrors],
    flax: FlaxNetwork,
    expected: TorchNetwork,
    actual: Measured,
    image: np.ndarray,
    dtype: str,
) -> None:
    theirs = term_cotangents(image, expected.logits, expected.statistics, expected.running)
    ours = term_cotangents(image, actual.logits, actual.statistics, expected.running)
    for name, cotangents in theirs.items():
        errors = gradients.setdefault(name, GradientErrors(name))
        reference = expected.gradient(*cotangents)
        error = l2_error(flax.gradient(image, ours[name]), reference)
        setattr(errors, dtype, max(getattr(errors, dtype), error))
