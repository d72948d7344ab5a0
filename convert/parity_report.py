"""What a comparison of two networks found: errors, tolerances, the verdict, and the report as a table and as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jinv.atomic import write_text

LAYER_FLOAT64 = 1e-10
"""Separates a wrong conversion from rounding, which stays orders of magnitude below."""
LAYER_FLOAT32 = 5e-5
LOGITS_RTOL, LOGITS_ATOL = 1e-3, 1e-4
GRADIENT_FLOAT64, GRADIENT_FLOAT32 = 1e-8, 1e-3
ROUNDING_FACTOR = 4.0
"""float32 may also differ by this many times what rounding does to PyTorch itself on the same input. Layers of real
networks stay below the fixed tolerance; their gradients need not (one ReLU that flips), nor do random networks."""
MAX_DIFFERENT_TOP1 = 1e-4
LARGEST = float(np.finfo(np.float64).max)
"""Stands for an error without a number (NaN, or something where the reference is zero), so that JSON can hold it."""


@dataclass
class LayerErrors:
    """The worst errors of one layer over all inputs, of its output and, for batch norm, its input's statistics."""

    name: str
    kind: str
    float64: float = 0.0
    float32: float = 0.0
    rounding: float = 0.0  # PyTorch's own, float32 from float64
    tensors_differ: int = 0
    worst_input: str = ""

    @property
    def float32_limit(self) -> float:
        return max(LAYER_FLOAT32, ROUNDING_FACTOR * self.rounding)

    @property
    def passed(self) -> bool:
        return self.float64 <= LAYER_FLOAT64 and self.float32 <= self.float32_limit and not self.tensors_differ

    def add(self, dtype: str, error: float, rounding: float, input_name: str) -> None:
        """Keep the worst."""
        if dtype == "float64" and error >= self.float64:
            self.float64, self.worst_input = error, input_name
        elif dtype == "float32":
            self.float32, self.rounding = max(self.float32, error), max(self.rounding, rounding)


@dataclass
class GradientErrors:
    """Relative L2 errors of one term's gradient with respect to the image, the worst over random and real inputs."""

    term: str
    image_alone: bool = False  # the term looks at nothing that the network computes
    float64: float = 0.0
    float32: float = 0.0
    rounding: float = 0.0

    @property
    def float32_limit(self) -> float:
        return max(GRADIENT_FLOAT32, ROUNDING_FACTOR * self.rounding)

    @property
    def passed(self) -> bool:
        return self.float64 <= GRADIENT_FLOAT64 and self.float32 <= self.float32_limit

    def add(self, dtype: str, error: float, rounding: float) -> None:
        """Keep the worst."""
        if dtype == "float64":
            self.float64 = max(self.float64, error)
        else:
            self.float32, self.rounding = max(self.float32, error), max(self.rounding, rounding)


@dataclass
class Agreement:
    """Top-1 classes on real images; `correct` is (PyTorch, jinv) where the folders name classes."""

    count: int
    different: int
    largest_logit_difference: float
    correct: tuple[int, int] | None = None

    @property
    def passed(self) -> bool:
        return self.different <= max(1, int(self.count * MAX_DIFFERENT_TOP1))


@dataclass
class ValidationReport:
    """The verdict on a converted file; `problems` are what no number expresses, such as a missing tensor."""

    converted: str
    checkpoint: str
    architecture: str
    reference: str
    read_by: str
    digest_problems: tuple[str, ...]
    problems: list[str] = field(default_factory=list)
    layers: list[LayerErrors] = field(default_factory=list)
    operations: list[LayerErrors] = field(default_factory=list)
    gradients: list[GradientErrors] = field(default_factory=list)
    logits_close: bool = True
    agreement: Agreement | None = None
    inputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def digests_match(self) -> bool:
        return not self.digest_problems

    @property
    def numerically_equal(self) -> bool:
        compared = all(one.passed for one in [*self.layers, *self.operations]) and all(g.passed for g in self.gradients)
        agrees = self.agreement is None or self.agreement.passed
        return not self.problems and self.logits_close and bool(self.layers) and compared and agrees

    @property
    def passed(self) -> bool:
        return self.digests_match and self.numerically_equal

    @property
    def worst_layers(self) -> list[LayerErrors]:
        """Failed layers first, each group by falling error; a layer is the first wrong one where those before pass."""
        return sorted(self.layers, key=lambda layer: (layer.passed, -layer.float64, -layer.float32))

    @property
    def first_wrong_layer(self) -> str | None:
        """The first layer in network order that fails: where to look for the bug."""
        return next((layer.name for layer in self.layers if not layer.passed), None)


def relative_error(actual: np.ndarray, reference: np.ndarray, scale: np.ndarray | None = None) -> float:
    """max|actual - reference| / max|reference| of each image (first axis), the worst of them.

    `scale` replaces |reference| in the denominator. Zero everywhere on both sides is no error.
    """
    if actual.shape != reference.shape or not np.isfinite(actual).all():
        return LARGEST
    images = len(reference)
    difference = np.abs(actual.astype(np.float64) - reference).reshape(images, -1).max(1)
    largest = np.abs(reference if scale is None else scale).astype(np.float64).reshape(images, -1).max(1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        errors = np.where(difference == 0, 0.0, difference / largest)
    return min(float(errors.max(initial=0.0)), LARGEST)


def l2_error(actual: np.ndarray, reference: np.ndarray) -> float:
    """|actual - reference|_2 / |reference|_2 over everything."""
    difference = float(np.linalg.norm(actual.astype(np.float64) - reference))
    if difference == 0:
        return 0.0
    size = float(np.linalg.norm(reference.astype(np.float64)))
    return difference / size if size and np.isfinite(difference) else LARGEST


def to_json(report: ValidationReport) -> dict[str, Any]:
    """The report as the JSON that `jinv validate --json` writes."""
    agreement = report.agreement
    return {
        "digests_match": report.digests_match,
        "numerically_equal": report.numerically_equal,
        "layers": [_errors_json(layer) for layer in report.layers],
        "operations": [_errors_json(operation) for operation in report.operations],
        "gradients": [
            {
                "term": g.term,
                "relative_l2_error_float64": g.float64,
                "relative_l2_error_float32": g.float32,
                "pytorch_rounding_float32": g.rounding,
                "image_alone": g.image_alone,
                "passed": g.passed,
            }
            for g in report.gradients
        ],
        "logits_close": report.logits_close,
        "top1": None
        if agreement is None
        else {
            "count": agreement.count,
            "different": agreement.different,
            "largest_logit_difference": agreement.largest_logit_difference,
            "correct": agreement.correct and {"pytorch": agreement.correct[0], "jinv": agreement.correct[1]},
        },
        "problems": report.problems,
        "digest_problems": list(report.digest_problems),
        "first_wrong_layer": report.first_wrong_layer,
        "architecture": report.architecture,
        "converted": report.converted,
        "checkpoint": report.checkpoint,
        "reference": report.reference,
        "read_by": report.read_by,
        "inputs": report.inputs,
        "notes": report.notes,
        "tolerances": {
            "layer_float64": LAYER_FLOAT64,
            "layer_float32": LAYER_FLOAT32,
            "logits_rtol": LOGITS_RTOL,
            "logits_atol": LOGITS_ATOL,
            "gradient_float64": GRADIENT_FLOAT64,
            "gradient_float32": GRADIENT_FLOAT32,
        },
        "seconds": report.seconds,
    }


def write_json(report: ValidationReport, path: Path) -> None:
    """Write `to_json` atomically."""
    write_text(path, json.dumps(to_json(report), indent=1, allow_nan=False) + "\n")


def _errors_json(layer: LayerErrors) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "max_relative_error_float64": layer.float64,
        "max_relative_error_float32": layer.float32,
        "pytorch_rounding_float32": layer.rounding,
        "tensors_differ": layer.tensors_differ,
        "worst_input": layer.worst_input,
        "passed": layer.passed,
    }
