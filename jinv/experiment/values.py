"""A config's values become what the core takes: hyperparameters checked by their annotations, schedules, optimizers.

Everything here that can be wrong is a `UsageError` naming the key. A sweep binds recipes whose numbers are arrays, inside
the program: those were checked when they were plain numbers, and pass here.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from jinv.core.objective import hyperparameters_of
from jinv.core.optimizers import check_hyperparameters, make_optimizer
from jinv.core.schedules import BALANCED, Balance, balanced
from jinv.core.signatures import choices_of
from jinv.core.types import Number
from jinv.errors import UsageError, nearest
from jinv.experiment.vocabulary import Vocabulary

Parameters = dict[str, inspect.Parameter]


def is_traced(value: Any) -> bool:
    """Is it a sweep's number, inside the program?"""
    return isinstance(value, jax.Array)


def bind_schedule(spec: Any, steps: int, where: str, vocabulary: Vocabulary) -> float | jax.Array | optax.Schedule:
    """A number stays one; a table names a schedule and gives its hyperparameters."""
    if not isinstance(spec, dict):
        return spec if is_traced(spec) else float(spec)
    name = spec["schedule"]
    make = vocabulary.meaning("schedules", name, f"{where}.schedule")
    hyperparameters = {key: value for key, value in spec.items() if key != "schedule"}
    known = hyperparameters_of(make)
    hyperparameters = bind_hyperparameters(where, hyperparameters, known, steps, vocabulary, extra=("schedule",))
    missing = [key for key, p in known.items() if p.default is p.empty and key not in hyperparameters]
    if missing:
        raise UsageError.of(f"{where}.{missing[0]}", f"needed by the schedule {name!r}")
    portion = hyperparameters.get("portion", 1)
    if not 0 < portion <= 1:
        raise UsageError.of(f"{where}.portion", f"{portion} must be above 0 and at most 1")
    if name == "exponential" and any(not is_traced(hyperparameters[k]) and hyperparameters[k] <= 0 for k in known):
        raise UsageError.of(where, "an exponential schedule needs start and end above 0")
    try:
        schedule: optax.Schedule = make(steps, **hyperparameters)
    except ValueError as error:
        raise UsageError.of(where, f"{name}: {error}") from None
    return schedule


def bind_weight(
    name: str, terms: Mapping[str, Any], steps: int, vocabulary: Vocabulary
) -> float | jax.Array | optax.Schedule | Balance:
    """The weight of the term `name` of these tables: a number, a schedule, or one that follows from gradients."""
    spec, where = terms[name]["weight"], f"terms.{name}.weight"
    if not isinstance(spec, dict) or spec["schedule"] != BALANCED:
        return bind_schedule(spec, steps, where, vocabulary)
    given = {key: value for key, value in spec.items() if key != "schedule"}
    known = hyperparameters_of(balanced)
    bound = bind_hyperparameters(where, given, known, steps, vocabulary, extra=("schedule",))
    others = [other for other in terms if other != name]
    to = bound.get("to")
    if not isinstance(to, str) or to not in others:
        hint = nearest(to, others) if isinstance(to, str) else ""
        found = "not set" if to is None else f"{to!r:.60}"
        raise UsageError.of(
            f"{where}.to", f"{found} must be another term of the config{hint} ({', '.join(others) or 'none'})"
        )
    reference = terms[to]["weight"]
    if isinstance(reference, dict) and reference["schedule"] == BALANCED:
        raise UsageError.of(f"{where}.to", f"{to!r} has a balanced weight itself; name a term whose weight is its own")
    if bound.get("every", 1) < 1:
        raise UsageError.of(f"{where}.every", "0 must be at least 1")
    if bound.get("decay", 0.0) >= 1:
        raise UsageError.of(f"{where}.decay", f"{bound['decay']} must be below 1")
    return balanced(**bound)


def bind_optimizer(
    spec: dict[str, Any], rate: float | jax.Array | optax.Schedule, batch: int, where: str, vocabulary: Vocabulary
) -> optax.GradientTransformation:
    """The optimizer that a config's table names, for batches of `batch` images.

    The losses are means over the batch, so each image's gradient carries 1/batch, which Adam's ratio cancels but its eps
    does not. `eps_scaling = "image"` divides eps alike: without a term that couples the batch, an image's path is then
    that of a batch of its own. With such a term (batch statistics, a norm over the batch) it depends on the batch either
    way. `"none"` is eps as the published programs have it, in effect larger by the factor of the batch: on the thesis'
    objective with 84 images that alone changed about 1 % of what an image moved in 30 steps, 25 to 40 % in 150; other
    pictures, recognised as often.
    """
    name = spec["name"]
    make = vocabulary.meaning("optimizers", name, where)
    known = {key: p for key, p in inspect.signature(make).parameters.items() if key != "learning_rate"}
    hyperparameters = {key: value for key, value in spec.items() if key not in ("name", "eps_scaling")}
    if "eps_scaling" in spec and "eps" not in known:
        raise UsageError.of(f"{where}.eps_scaling", f"{name} has no eps to scale")
    unknown = [key for key in hyperparameters if key not in known]
    if unknown:
        raise UsageError.of(
            f"{where}.{unknown[0]}", f"unknown key{nearest(unknown[0], known)} (known: {', '.join(known)})"
        )
    try:
        hyperparameters = check_hyperparameters(make, hyperparameters)
    except ValueError as error:
        wrong, _, said = str(error).partition(": ")
        raise UsageError.of(f"{where}.{wrong}", said) from None
    scaled = spec.get("eps_scaling", "image") == "image"
    if scaled and "eps" in known and isinstance(hyperparameters.get("eps", known["eps"].default), float | jax.Array):
        hyperparameters["eps"] = hyperparameters.get("eps", known["eps"].default) / batch
    try:
        return make_optimizer(make, rate, hyperparameters)
    except ValueError as error:
        raise UsageError.of(where, f"{name} refuses {hyperparameters}: {error}") from error


def bind_hyperparameters(
    where: str,
    given: dict[str, Any],
    known: Parameters,
    steps: int,
    vocabulary: Vocabulary,
    *,
    extra: Sequence[str] = (),
) -> dict[str, Any]:
    """The checked values; where the signature says `Number`, a schedule's table becomes the schedule."""
    bound = dict(given)
    for key, value in given.items():
        if key not in known:
            valid = (*known, *extra)
            raise UsageError.of(f"{where}.{key}", f"unknown key{nearest(key, valid)} (known: {', '.join(valid)})")
        if not is_traced(value):
            bound[key] = _checked(f"{where}.{key}", value, known[key].annotation, steps, vocabulary)
    return bound


def _checked(where: str, value: Any, annotation: Any, steps: int, vocabulary: Vocabulary) -> Any:
    """One value by what the signature says of it; an annotation without a rule here lets it pass."""
    if choices := choices_of(annotation):
        # 1 == True == 1.0 in Python; a choice of numbers wants that number.
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise UsageError.of(where, f"{value!r} must be one of {', '.join(map(_written, choices))}")
    elif annotation is bool:
        if not isinstance(value, bool):
            raise UsageError.of(where, f"{value!r} must be true or false")
    elif annotation is int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError.of(where, f"{value!r} must be a whole number of at least 0")
    elif annotation == Number and isinstance(value, dict):
        if not isinstance(value.get("schedule"), str):
            schedules = ", ".join(vocabulary.schedules)
            raise UsageError.of(where, f"a schedule is a table with 'schedule', one of {schedules}")
        return bind_schedule(value, steps, where, vocabulary)
    elif annotation in (float, Number):
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value) or value < 0:
            raise UsageError.of(where, f"{value!r} must be a finite number of at least 0")
        return float(value)
    return value


def _written(choice: Any) -> str:
    """As a config has it."""
    return str(choice).lower() if isinstance(choice, bool) else repr(choice)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
