"""Signatures are registrations: which public functions a module defines, and what their parameters and results say they are."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any


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
