"""Every check of a function of some kind."""

from collections.abc import Callable, Mapping
from typing import Any

from jinv.core.contract.augmentations import check_augmentation
from jinv.core.contract.findings import Finding, Findings, Stop
from jinv.core.contract.hyperparameters import Given
from jinv.core.contract.metrics import check_metric
from jinv.core.contract.parameterizations import check_parameterization
from jinv.core.contract.projections import check_projection
from jinv.core.contract.schedules import check_schedule
from jinv.core.contract.terms import check_term

SUITES: Mapping[str, Callable[[Callable[..., Any], Given], Findings]] = {
    "terms": check_term,
    "augmentations": check_augmentation,
    "parameterizations": check_parameterization,
    "projections": check_projection,
    "schedules": check_schedule,
    "metrics": check_metric,
}
"""By kind, as a vocabulary calls them."""

FILLED_IN: Mapping[tuple[str, str], Given] = {("augmentations", "roll"): {"max_shift": 3}}
"""Hyperparameters without a default that a config's reader fills in, by the stage's size."""


def program(kind: str, name: str, function: Callable[..., Any]) -> str:
    """What a function of that kind comes to, as text; where it is not even asked, why."""
    try:
        for finding in SUITES[kind](function, FILLED_IN.get((kind, name), {})):
            if finding.check == "pure":
                return finding.program or str(finding.found)
    except Stop as stop:
        return str(stop.finding.found)
    return ""


def check(kind: str, name: str, function: Callable[..., Any], given: Given | None = None) -> tuple[Finding, ...]:
    """What every check says of a function of that kind; those that could not be asked after a violation are left out.

    Args:
      given: hyperparameters other than the defaults.
    """
    found: list[Finding] = []
    try:
        for finding in SUITES[kind](function, {**FILLED_IN.get((kind, name), {}), **(given or {})}):
            found.append(finding)
    except Stop as stop:
        found.append(stop.finding)
    return tuple(found)
