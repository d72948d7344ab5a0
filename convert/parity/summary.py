"""A validation report in a dozen lines: what was checked, the worst that was found, what is allowed."""

from collections.abc import Iterable
from typing import NamedTuple

from jinv_convert.parity.report import LARGEST, LOGITS_ATOL, LOGITS_RTOL, MAX_DIFFERENT_TOP1, Errors, ValidationReport


class Check(NamedTuple):
    """One line; `excused` where it passes by PyTorch's own rounding alone."""

    what: str
    found: str
    allowed: str
    passed: bool
    excused: bool = False


def summarize(report: ValidationReport) -> list[Check]:
    """Everything that the verdict depends on, in the order in which to trust it."""
    differ = sum(layer.tensors_differ for layer in report.layers)
    through = [gradient for gradient in report.gradients if not gradient.image_alone]
    checks = [
        Check(
            "digests of the file", "match" if report.digests_match else "do not match", "match", report.digests_match
        ),
        Check(
            "tensors, bit by bit",
            f"{differ} differ" if differ else "all equal",
            "all equal",
            not differ and not report.problems,
        ),
        *_errors("layers", report.layers),
        *_errors("poolings and activations", report.operations),
        *_logits(report),
        *_errors("gradients", through),
    ]
    if report.agreement:
        found = report.agreement
        allowed = f"{max(1, int(found.count * MAX_DIFFERENT_TOP1))} of {found.count:,}"
        checks.append(Check("most likely classes of real images", f"{found.different} differ", allowed, found.passed))
    return checks


def _logits(report: ValidationReport) -> list[Check]:
    if not any(layer.kind == "logits" for layer in report.layers):
        return []
    close, excused = report.logits_close, bool(report.logits_excuse)
    within = "within" if close and not excused else "beyond"
    return [Check("logits in float32", within, f"rtol {LOGITS_RTOL:g}, atol {LOGITS_ATOL:g}", close, excused)]


def number(error: float) -> str:
    """An error as text."""
    return "not a number" if error >= LARGEST else f"{error:.1e}"


def _errors(what: str, errors: Iterable[Errors]) -> list[Check]:
    errors = list(errors)
    if not errors:
        return []
    limits = max(errors, key=lambda one: one.limits[1]).limits
    float64, float32 = (max(values) for values in zip(*((e.float64, e.float32) for e in errors), strict=True))
    excused = any(one.excuse for one in errors)
    close = all(one.float32 <= one.limits[1] or (one.excuse and not one.unexcused) for one in errors)
    return [
        Check(f"{what} in float64", number(float64), f"{limits[0]:.0e}", float64 <= limits[0]),
        Check(f"{what} in float32", number(float32), f"{limits[1]:.0e}", close, excused),
    ]
