"""`jinv terms`: what an objective can be made of, read from the signatures themselves."""

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from jinv.commands.arguments import add_plugins, vocabulary_of

if TYPE_CHECKING:
    from jinv.experiment.vocabulary import Vocabulary

HELP = "list the terms of the objective, augmentations, parameterizations, projections, schedules and metrics"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    print_terms(vocabulary_of(arguments))
    return 0


def print_terms(vocabulary: "Vocabulary", console: Console | None = None) -> None:
    """Every term, augmentation, parameterization, schedule and metric with its hyperparameters and defaults, and whose it is."""
    from jinv.console import add, make_console, say
    from jinv.core.objective import term_fields
    from jinv.core.schedules import BALANCED, balanced

    console = console or make_console()
    # In a narrow terminal the explanations wrap; names are shown whole.
    columns = (
        Column("[terms.NAME]", no_wrap=True),
        "looks at",
        Column("hyperparameters", min_width=20),
        "what it is",
    )
    fields = {"terms": lambda function: [",\n".join(term_fields(function))]}
    for kind, title, headers in (
        ("terms", "Terms", columns),
        ("augmentations", "Augmentations", ("[augment.NAME]", "hyperparameters", "what it does")),
        ("parameterizations", "Parameterizations", ("parameterization", "hyperparameters", "what is optimised")),
        ("projections", "Projections, after each update", ("[project.NAME]", "hyperparameters", "what it does")),
        (
            "schedules",
            "Schedules of weights, learning rates and other numbers",
            ("schedule", "hyperparameters", "what it does"),
        ),
        (
            "metrics",
            "Metrics of finished pictures; jinv's own are always taken, of plugins those that a config names",
            ("[metric.NAME]", "hyperparameters", "what it measures"),
        ),
    ):
        if getattr(vocabulary, kind):  # jinv's own projections are keys: clip, low_pass
            shown = _table(vocabulary, kind, title, headers, fields.get(kind, lambda function: []))
            if kind == "schedules":
                add(shown, BALANCED, _hyperparameters(balanced), f"{_summary(balanced)} (of terms' weights alone)")
            console.print(shown)
    for plugin in vocabulary.plugins:
        say(console, f"{plugin.name}: by {plugin.origin}, sha256 {plugin.sha256}")
        for why in plugin.passed_over.values():
            say(console, f"  passed over: {why}")


def _table(
    vocabulary: "Vocabulary",
    kind: str,
    title: str,
    headers: Sequence[Column | str],
    more: Callable[[Callable[..., Any]], list[str]],
) -> Table:
    from jinv.console import add, table

    shown = table(*headers, title=title)
    for name, function in getattr(vocabulary, kind).items():
        hyperparameters = _hyperparameters(function) + ('\ndraw = "batch" | "image"' if kind == "augmentations" else "")
        plugin = vocabulary.origin(kind, name)
        whose = f"\n({plugin.name})" if plugin else ""
        add(shown, name, *more(function), hyperparameters, _summary(function) + whose)
    return shown


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _hyperparameters(function: Callable[..., Any]) -> str:
    from jinv.core.signatures import choices_of

    lines = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        choices = choices_of(parameter.annotation)
        lines.append(parameter.name + default + (f"  ({' | '.join(map(repr, choices))})" if choices else ""))
    return "\n".join(lines)
