"""What every schedule keeps: a finite number at every step of a stage of any length, the step traced or not."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, in_words, raised
from jinv.core.contract.hyperparameters import Given, check_declared, check_numbers
from jinv.core.contract.purity import check_pure
from jinv.core.contract.tracing import check_traces
from jinv.core.objective import hyperparameters_of
from jinv.core.types import Number

LENGTHS = (1, 2, 37)
STANDING_IN = (0.7, 0.1)
"""For numbers that have no default, such as where a line starts and ends."""

Function = Callable[..., Any]


def check_schedule(function: Function, given: Given) -> Findings:
    """Everything that a schedule keeps; hyperparameters without a default get one of `STANDING_IN`.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("schedules", function, given, defaults=False)
    given = {**_standing_in(function), **given}
    called = f"{LENGTHS[-1]} steps"

    def call(step: Any, hyperparameters: Given = given) -> Any:
        return function(LENGTHS[-1], **hyperparameters)(step)

    yield from check_traces(call, function, (jnp.int32(3),), called)
    yield _check_values(function, given)
    yield check_pure(call, function, (jnp.int32(3),))
    yield check_numbers(call, function, given, (jnp.int32(3),), call(jnp.int32(3)))


def _standing_in(function: Function) -> dict[str, float | int]:
    found: dict[str, float | int] = {}
    for name, parameter in hyperparameters_of(function).items():
        if parameter.default is inspect.Parameter.empty and parameter.annotation in (int, float, Number):
            found[name] = 1 if parameter.annotation is int else STANDING_IN[len(found) % len(STANDING_IN)]
    return found


def _check_values(function: Function, given: Given) -> Finding:
    """ "finite": a finite number at every step, the same of a traced step."""
    for steps in LENGTHS:
        try:
            schedule = function(steps, **given)
            compiled = jax.jit(lambda step, schedule=schedule: schedule(step) + jnp.float32(0))
            for step in range(steps):
                plain, traced = schedule(step), compiled(jnp.int32(step))
                if np.shape(plain) != () or np.shape(traced) != ():
                    return Finding("finite", f"is of shape {np.shape(traced)} at step {step}", "one number")
                if not (np.isfinite(plain) and np.isfinite(traced)):
                    wrong = traced if np.isfinite(plain) else plain
                    found = f"is {in_words(float(wrong))} at step {step} of {steps}"
                    return Finding("finite", found, "a stage may have one step: max(steps - 1, 1)")
                if not np.allclose(plain, traced, rtol=1e-4, atol=1e-6):
                    found = f"is {float(plain):.6g} at step {step}, and {float(traced):.6g} of a traced step"
                    return Finding("finite", found, "the step is an int32 that is traced")
        except Exception as error:
            raise Stop(raised("finite", error, function, f"{steps} steps")) from error
    return Finding("finite")
