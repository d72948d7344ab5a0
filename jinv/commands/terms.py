"""`jinv terms`: what an objective can be made of, read from the signatures themselves."""

import argparse
import inspect
import typing
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

HELP = "list the terms of the objective, augmentations, parameterizations and schedules"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    print_terms()
    return 0


def print_terms(console: Console | None = None) -> None:
    """Every term, augmentation, parameterization and schedule with its hyperparameters and defaults."""
    from jinv.core.objective import term_fields
    from jinv.experiment.vocabulary import standard_vocabulary

    console, vocabulary = console or Console(), standard_vocabulary()
    # In a narrow terminal the explanations wrap; names are shown whole.
    columns = (
        Column("\\[terms.NAME]", no_wrap=True),
        "looks at",
        Column("hyperparameters", min_width=20),
        "what it is",
    )
    table = Table(*columns, title="Terms", title_justify="left")
    for name, function in vocabulary.terms.items():
        table.add_row(name, ",\n".join(term_fields(function)), _hyperparameters(function), _summary(function))
    console.print(table)
    table = Table("\\[augment.NAME]", "hyperparameters", "what it does", title="Augmentations", title_justify="left")
    for name, function in vocabulary.augmentations.items():
        table.add_row(name, _hyperparameters(function) + '\ndraw = "batch" | "image"', _summary(function))
    console.print(table)
    table = Table(
        "parameterization", "hyperparameters", "what is optimised", title="Parameterizations", title_justify="left"
    )
    for name, make in vocabulary.parameterizations.items():
        table.add_row(name, _hyperparameters(make), _summary(make))
    console.print(table)
    table = Table(
        "schedule",
        "hyperparameters",
        "what it does",
        title="Schedules of weights, learning rates and other numbers",
        title_justify="left",
    )
    for name, schedule in vocabulary.schedules.items():
        table.add_row(name, _hyperparameters(schedule), _summary(schedule))
    console.print(table)


def _summary(function: Callable[..., Any]) -> str:
    return escape((inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "))


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
