"""Signatures are registrations: which public functions a module defines, and what their parameters and results say they are."""

import inspect
import math
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np


def own_functions(namespace: Mapping[str, Any], module: str) -> dict[str, Callable[..., Any]]:
    """The public functions that the module of that name defines itself, by name; what it imports is another's."""
    return {
        name: value
        for name, value in list(namespace.items())
        if not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module
    }


def positional(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the parameters in front of the `*`."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def returned(function: Callable[..., Any]) -> Any:
    """What a function's annotation says that it returns, `inspect.Signature.empty` where it says nothing."""
    return inspect.signature(function).return_annotation


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """What a `Literal` may be, also where it is one of several types; of others a bool may be True or False, and no more is said."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return typing.get_args(annotation)
    if origin not in (typing.Union, types.UnionType):
        return ()
    parts = typing.get_args(annotation)
    choices = tuple(choice for part in parts for choice in choices_of(part))
    return (*((True, False) if bool in parts else ()), *choices) if choices else ()


def as_float(value: Any) -> float | None:
    """What a function that says so returns as a float: a number, or an array of shape () with one; None of all else."""
    if isinstance(value, bool | complex | str | bytes) or getattr(value, "shape", ()) != ():
        return None
    if getattr(getattr(value, "dtype", None), "kind", "f") in "bcSUO":
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return math.inf
    except (TypeError, ValueError):
        return None


@contextmanager
def silently() -> Iterator[None]:
    """NumPy says nothing of divisions by 0 and means of nothing: who asks looks at what comes of them."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def kind_of(value: Any) -> str:
    """What a value is, in words: "a NoneType", "a ndarray of shape (3,)"."""
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {shape}" if isinstance(shape, tuple) and shape else "")
