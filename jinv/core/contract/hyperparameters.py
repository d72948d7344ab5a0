"""What a config may set of a function, and what a sweep or a schedule hands to it instead of a plain number."""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Stop, raised
from jinv.core.objective import hyperparameters_of, taken_by_config
from jinv.core.types import Number

Given = Mapping[str, Any]


def check_declared(kind: str, function: Callable[..., Any], given: Given, *, defaults: bool = True) -> Finding:
    """ "hyperparameters": each says what it is and can be set, and with `defaults` has one, for a config may leave it out.

    Raises:
      Stop: a default is missing, so that it cannot be called.
    """
    if (taken := taken_by_config(kind, function)) is not None:
        return Finding("hyperparameters", taken, "call it otherwise")
    for name, parameter in hyperparameters_of(function).items():
        if parameter.annotation is inspect.Parameter.empty:
            return Finding(
                "hyperparameters",
                f"{name} is not annotated, so that a config may set it to anything",
                "float, int, bool, Literal[...], or jinv.Number, which schedules may drive and a sweep varies in one program",
            )
        if defaults and parameter.default is inspect.Parameter.empty and name not in given:
            found = f"{name} has no default, and a config may leave it out"
            raise Stop(Finding("hyperparameters", found, "without one it cannot be called"))
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in inspect.signature(function).parameters.values()):
        return Finding(
            "hyperparameters", "takes any arguments (* or **)", "name each: a config's typing error passes else"
        )
    return Finding("hyperparameters")


def variants(function: Callable[..., Any], given: Given) -> Iterator[dict[str, Any]]:
    """The hyperparameters as given, then with every other choice of each that has few, one at a time."""
    yield dict(given)
    for name, parameter in hyperparameters_of(function).items():
        choices: tuple[Any, ...] = ()
        if typing.get_origin(parameter.annotation) is typing.Literal:
            choices = typing.get_args(parameter.annotation)
        elif bool in (parameter.annotation, *typing.get_args(parameter.annotation)):
            choices = (False, True)
        yield from ({**given, name: choice} for choice in choices if choice != parameter.default and name not in given)


def numbers(function: Callable[..., Any], given: Given) -> dict[str, float]:
    """The hyperparameters that may be traced, with the values that they have."""
    values = {
        name: given.get(name, parameter.default)
        for name, parameter in hyperparameters_of(function).items()
        if parameter.annotation == Number
    }
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def check_numbers(
    call: Callable[..., Any], function: Callable[..., Any], given: Given, arguments: tuple[Any, ...], plain: Any
) -> Finding:
    """ "numbers": what is annotated `Number` may be traced, as in a sweep and under a schedule, and means the same then.

    Args:
      call: calls `function` with the arguments and a table of hyperparameters; `plain` is what it gives with those given.
    """
    found = numbers(function, given)
    if not found:
        return Finding("numbers")
    for name, value in found.items():
        try:
            jax.make_jaxpr(lambda x, name=name: call(*arguments, {**given, name: x}))(jnp.float32(value))
        except Exception as error:
            finding = raised("numbers", error, function, f"{name} = {value}, traced")
            return finding._replace(found=f"{name} is a Number, and traced it {finding.found}")
    traced = jax.jit(lambda values: call(*arguments, {**given, **values}))(
        {k: jnp.float32(v) for k, v in found.items()}
    )
    pairs = zip(jax.tree.leaves(plain), jax.tree.leaves(traced), strict=True)
    if not all(np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True) for one, other in pairs):
        found_names = ", ".join(found)
        return Finding("numbers", f"with {found_names} traced it gives something else than with the same plain numbers")
    return Finding("numbers")


def shown(given: Given) -> str:
    """ " with form = 'l1'", nothing of the defaults."""
    return " with " + ", ".join(f"{name} = {value!r}" for name, value in given.items()) if given else ""
