"""What a tensor must be before it becomes a weight: a finite float32 with a past that is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jinv.errors import ModelMismatchError, shorten
from jinv_convert.reader import TensorRef

WIDENED = ("float16", "bfloat16")
FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
MAXIMUM_VARIANCE = 1e34
"""Above it, `(x - mean)^2` of a float32 activation overflows before the division makes sense of it."""
LARGE_VARIANCE = 1e10
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass
class Findings:
    """What is said about the tensors of one file: `notes` are facts, `warnings` are doubts."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_weights(
    tensors: Mapping[str, TensorRef], *, allow_float8: bool = False
) -> tuple[dict[str, np.ndarray], Findings]:
    """Every tensor as float32, in the file's layout.

    Raises:
      ModelMismatchError: integers where weights belong, NaN or infinity, a negative variance, a file mostly of zeros.
    """
    findings = Findings()
    arrays = {name: _as_float32(name, ref, allow_float8) for name, ref in tensors.items()}
    for name, array in arrays.items():
        bad = array.size - np.count_nonzero(np.isfinite(array))
        if bad:
            source = tensors[name].dtype
            beyond = " beyond float32's range" if source == "float64" else ""
            raise ModelMismatchError(f"{shorten(name)}: {bad} of {array.size} values are NaN or infinite{beyond}")
    _note_dtypes(tensors, arrays, findings)
    _check_variances(arrays, findings)
    _check_training(arrays, findings)
    return arrays, findings


def _as_float32(name: str, ref: TensorRef, allow_float8: bool) -> np.ndarray:
    if ref.dtype in FLOAT8 and not allow_float8:
        raise ModelMismatchError(f"{shorten(name)} is {ref.dtype}, 8 bits per weight; --allow-float8 takes it as it is")
    if ref.dtype not in ("float32", "float64", *WIDENED, *FLOAT8):
        raise ModelMismatchError(f"{shorten(name)} is {ref.dtype}, where weights are floating point")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found and named afterwards
        return ref.numpy().astype(np.float32, copy=False)


def _note_dtypes(tensors: Mapping[str, TensorRef], arrays: Mapping[str, np.ndarray], findings: Findings) -> None:
    for dtype in (*WIDENED, *FLOAT8):
        if count := sum(ref.dtype == dtype for ref in tensors.values()):
            findings.warnings.append(f"{count} tensors were {dtype}, widened to float32: exact, but rounded before")
    doubles = [name for name, ref in tensors.items() if ref.dtype == "float64"]
    if doubles:
        worst, name = max((_rounding(tensors[name], arrays[name]), name) for name in doubles)
        findings.warnings.append(
            f"{len(doubles)} tensors were float64, rounded to float32: largest difference {worst:.3g}, in {shorten(name)}"
        )


def _rounding(ref: TensorRef, array: np.ndarray) -> float:
    return float(np.abs(ref.numpy() - array).max(initial=0.0))


def _check_variances(arrays: Mapping[str, np.ndarray], findings: Findings) -> None:
    counted = {"zero": [0, 0], "denormal": [0, 0], f"above {LARGE_VARIANCE:g}": [0, 0]}
    for name, variance in arrays.items():
        if not name.endswith(".running_var"):
            continue
        if variance.size and variance.min() < 0:
            raise ModelMismatchError(f"{shorten(name)}: a variance of {variance.min():.6g} is negative")
        if variance.size and variance.max() > MAXIMUM_VARIANCE:
            raise ModelMismatchError(
                f"{shorten(name)}: a variance of {variance.max():.6g}, at most {MAXIMUM_VARIANCE:g} is possible"
            )
        kinds = (variance == 0, (variance > 0) & (variance < SMALLEST_NORMAL), variance > LARGE_VARIANCE)
        for (channels_and_layers), found in zip(counted.values(), kinds, strict=True):
            channels_and_layers[0] += int(found.sum())
            channels_and_layers[1] += bool(found.any())
    for kind, (channels, layers) in counted.items():
        if channels:
            findings.warnings.append(f"running variance is {kind} in {channels} channels of {layers} layers")


def _check_training(arrays: Mapping[str, np.ndarray], findings: Findings) -> None:
    kernels = {name: array for name, array in arrays.items() if array.ndim >= 2 and array.size}
    size = sum(array.size for array in kernels.values())
    zeros = size - sum(np.count_nonzero(array) for array in kernels.values())
    # What was pruned has zeros in between; what was never written has whole tensors of them.
    empty = sum(array.size for array in kernels.values() if not array.any())
    if size and empty > size / 2:
        raise ModelMismatchError(
            f"{empty} of {size} kernel weights lie in kernels of zeros alone: the file looks uninitialised or zero-filled"
        )
    if size and zeros > size / 2:
        findings.warnings.append(f"{zeros} of {size} kernel weights are zero: pruned, or not fully trained")
    constant = [name for name, array in kernels.items() if array.size > 1 and array.min() == array.max()]
    if constant:
        findings.warnings.append(
            f"{len(constant)} kernels are constant and look uninitialised, such as {shorten(constant[0])}"
        )
    norms = [name.removesuffix(".running_var") for name in arrays if name.endswith(".running_var")]
    untouched = [
        name
        for name in norms
        if np.all(arrays[f"{name}.running_var"] == 1) and not np.any(arrays.get(f"{name}.running_mean", 1))
    ]
    if untouched:
        findings.warnings.append(
            f"{len(untouched)} of {len(norms)} BatchNorm layers have mean 0 and variance 1 (fused, or never trained): "
            "feature statistics mean nothing there"
        )
