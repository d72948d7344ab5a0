"""What a comparison of two networks found: errors, tolerances, the verdict, and the report as a table and as JSON."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jinv.errors import legible
from jinv.files import write_text

LAYER_FLOAT64 = 1e-10
"""Separates a wrong conversion from rounding, which stays orders of magnitude below."""
LAYER_FLOAT32 = 5e-5
LOGITS_RTOL, LOGITS_ATOL = 1e-3, 1e-4
GRADIENT_FLOAT64, GRADIENT_FLOAT32 = 1e-8, 1e-3
ROUNDING_FACTOR = 4.0
"""What float32 exceeds of the limits above may still be rounding: up to this many times what rounding does to PyTorch
itself, on the same input and in the same place. It is asked only there, and a report says where (`excuses`)."""
MAX_DIFFERENT_TOP1 = 1e-4
LARGEST = float(np.finfo(np.float64).max)
"""Stands for an error without a number (NaN, or something where the reference is zero), so that JSON can hold it."""


@dataclass
class Errors:
    """The worst errors of one thing over all inputs.

    A float32 error above its limit is excused where PyTorch's own rounding explains it: `excuse` then says so in words,
    and `unexcused` where it does not.
    """

    name: str
    float64: float = 0.0
    float32: float = 0.0
    worst_input: str = ""
    excuse: str = ""
    unexcused: bool = False

    limits: ClassVar[tuple[float, float]]  # of float64 and of float32

    def add(self, dtype: str, error: float, input_name: str, rounding: Callable[[], float] | None = None) -> None:
        """Keep the worst. `rounding` is asked only above float32's limit: PyTorch's own error there."""
        if dtype == "float64":
            if error >= self.float64:
                self.float64, self.worst_input = error, input_name
            return
        self.float32 = max(self.float32, error)
        if error > self.limits[1]:
            # What is wrong in float64 is no rounding, and not worth the search for it.
            own = rounding() if rounding and self.float64 <= self.limits[0] else 0.0
            if error > ROUNDING_FACTOR * own:
                self.unexcused = True
            elif error == self.float32:
                self.excuse = (
                    f"{self.name}: float32 differs by {error:.1e} on {input_name}, more than {self.limits[1]:g}; "
                    f"PyTorch's float32 differs from its own float64 by {own:.1e} there"
                )

    @property
    def passed(self) -> bool:
        """Whether both precisions are within their limits, or what exceeds them is excused."""
        close = self.float32 <= self.limits[1] or (self.excuse != "" and not self.unexcused)
        return self.float64 <= self.limits[0] and close


@dataclass
class LayerErrors(Errors):
    """Relative errors of one layer: of its output and, for batch norm, of its input's statistics."""

    kind: str = "layer"
    tensors_differ: int = 0

    limits = (LAYER_FLOAT64, LAYER_FLOAT32)

    @property
    def passed(self) -> bool:
        """Whether the layer's values are, and its tensors are the same bit by bit."""
        return super().passed and not self.tensors_differ


@dataclass
class GradientErrors(Errors):
    """Relative L2 errors of one term's gradient with respect to the image, over random and real inputs."""

    image_alone: bool = False  # the term looks at nothing that the network computes

    limits = (GRADIENT_FLOAT64, GRADIENT_FLOAT32)


@dataclass
class Agreement:
    """Top-1 classes on real images; `correct` is (PyTorch, jinv) where the folders name classes."""

    count: int
    different: int
    largest_logit_difference: float
    correct: tuple[int, int] | None = None

    @property
    def passed(self) -> bool:
        """Whether at most one image in ten thousand, or a single one, gets another class."""
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
    logits_excuse: str = ""
    agreement: Agreement | None = None
    inputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add_logits(self, actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, input_name: str) -> None:
        """float32 logits by rtol and atol; `exact` are PyTorch's own in float64, the excuse beyond."""
        difference, allowed = np.abs(actual - expected), LOGITS_ATOL + LOGITS_RTOL * np.abs(expected)
        if (difference <= allowed).all():
            return
        rounding = np.abs(expected - exact).max(1, keepdims=True)
        if (difference <= np.maximum(allowed, ROUNDING_FACTOR * rounding)).all():
            self.logits_excuse = (
                f"logits: float32 differs by up to {difference.max():.1e} on {input_name}, where they reach "
                f"{np.abs(expected).max():.3g}; PyTorch's float32 differs from its own float64 by {rounding.max():.1e}"
            )
        else:
            self.logits_close = False

    @property
    def excuses(self) -> list[str]:
        """Where float32 exceeds a fixed limit and passes all the same, and why."""
        errors: list[Errors] = [*self.layers, *self.operations, *self.gradients]
        found = [one.excuse for one in errors if one.passed] + [self.logits_excuse]
        return [excuse for excuse in found if excuse]

    @property
    def digests_match(self) -> bool:
        """Whether the converted file is what was written."""
        return not self.digest_problems

    @property
    def numerically_equal(self) -> bool:
        """Whether everything that was compared agrees."""
        compared = all(one.passed for one in [*self.layers, *self.operations]) and all(g.passed for g in self.gradients)
        agrees = self.agreement is None or self.agreement.passed
        return not self.problems and self.logits_close and bool(self.layers) and compared and agrees

    @property
    def passed(self) -> bool:
        """Whether the conversion is proved: digests and numbers."""
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
    if not reference.size:
        return 0.0
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
                "term": g.name,
                "relative_l2_error_float64": g.float64,
                "relative_l2_error_float32": g.float32,
                "image_alone": g.image_alone,
                "passed": g.passed,
            }
            for g in report.gradients
        ],
        "logits_close": report.logits_close,
        "excuses": report.excuses,
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
            "rounding_factor": ROUNDING_FACTOR,
        },
        "seconds": report.seconds,
    }


def write_json(report: ValidationReport, path: Path) -> None:
    """Write `to_json` atomically."""
    write_text(path, json.dumps(legible(to_json(report)), indent=1, allow_nan=False) + "\n")


def _errors_json(layer: LayerErrors) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "max_relative_error_float64": layer.float64,
        "max_relative_error_float32": layer.float32,
        "tensors_differ": layer.tensors_differ,
        "worst_input": layer.worst_input,
        "passed": layer.passed,
    }
