"""`jinv terms`: what an objective can be made of, read from the signatures themselves."""

import argparse
import inspect
import typing
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Column

HELP = "list the terms of the objective, augmentations, parameterizations and schedules"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    print_terms()
    return 0


def print_terms(console: Console | None = None) -> None:
    """Every term, augmentation, parameterization and schedule with its hyperparameters and defaults."""
    from jinv.console import add, make_console, table
    from jinv.core.objective import term_fields
    from jinv.core.schedules import BALANCED, balanced
    from jinv.experiment.vocabulary import standard_vocabulary

    console, vocabulary = console or make_console(), standard_vocabulary()
    # In a narrow terminal the explanations wrap; names are shown whole.
    columns = (
        Column("[terms.NAME]", no_wrap=True),
        "looks at",
        Column("hyperparameters", min_width=20),
        "what it is",
    )
    shown = table(*columns, title="Terms")
    for name, function in vocabulary.terms.items():
        add(shown, name, ",\n".join(term_fields(function)), _hyperparameters(function), _summary(function))
    console.print(shown)
    shown = table("[augment.NAME]", "hyperparameters", "what it does", title="Augmentations")
    for name, function in vocabulary.augmentations.items():
        add(shown, name, _hyperparameters(function) + '\ndraw = "batch" | "image"', _summary(function))
    console.print(shown)
    shown = table("parameterization", "hyperparameters", "what is optimised", title="Parameterizations")
    for name, make in vocabulary.parameterizations.items():
        add(shown, name, _hyperparameters(make), _summary(make))
    console.print(shown)
    title = "Schedules of weights, learning rates and other numbers"
    shown = table("schedule", "hyperparameters", "what it does", title=title)
    for name, schedule in vocabulary.schedules.items():
        add(shown, name, _hyperparameters(schedule), _summary(schedule))
    add(shown, BALANCED, _hyperparameters(balanced), f"{_summary(balanced)} (of terms' weights alone)")
    console.print(shown)


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _hyperparameters(function: Callable[..., Any]) -> str:
    lines = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        choices = (
            typing.get_args(parameter.annotation) if typing.get_origin(parameter.annotation) is typing.Literal else ()
        )
        lines.append(parameter.name + default + (f"  ({' | '.join(map(repr, choices))})" if choices else ""))
    return "\n".join(lines)
