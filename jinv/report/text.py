"""An evaluation in words: the table of the command line, and the rows of figures that table and report share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OWN = "the inverted network itself"


def print_evaluation(evaluation: dict[str, Any], console: Console | None = None) -> None:
    """The verdicts as a table."""
    table = Table("verifier", "right", "top-1", "95 % interval", "top-5", title_justify="left")
    for name, verdict in evaluation["verifiers"].items():
        low, high = (100 * x for x in verdict["interval"])
        right = round(verdict["top1"] * verdict["count"])
        own = f" ({part})" if (part := part_text(verdict)) else ""
        top1, top5 = (f"{100 * verdict[key]:.1f} %" for key in ("top1", "top5"))
        table.add_row(name + own, f"{right} of {verdict['count']}", top1, f"{low:.1f} to {high:.1f} %", top5)
    console = console or Console()
    console.print(table)
    if "pictures" in evaluation:
        table = Table("figure", "mean", "95 % interval", title=f"the {evaluation['pictures']['count']} images alone")
        for row in picture_rows(evaluation["pictures"]):
            table.add_row(*row)
        console.print(table)
    for name, verdict in evaluation["verifiers"].items():
        if "reference" in verdict:
            _print_reference(name, verdict, console)


def print_result(run: Path) -> None:
    """Where to look, and how well it went."""
    print(f"\nimages   {run / 'grid.png'}\nreport   {run / 'report.html'}")
    evaluation = run / "evaluation.json"
    if not evaluation.exists():
        return
    for name, verdict in json.loads(evaluation.read_text(encoding="utf-8"))["verifiers"].items():
        low, high = verdict["interval"]
        right = round(verdict["top1"] * verdict["count"])
        part = part_text(verdict) or "which took no part"
        print(f"{name}, {part}, recognises {right} of {verdict['count']} "
              f"({whole_percent(verdict['top1'])} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %)")  # fmt: skip


def part_text(verdict: dict[str, Any]) -> str:
    """What a verifier was in the synthesis, "" for one that took no part: the images were made to please the others."""
    if verdict.get("independent", True):
        return ""
    return "the synthesis' student" if verdict.get("part") == "student" else OWN


def whole_percent(share: float) -> str:
    """A share as percents without decimals, but never 100 for less than all: 0.9995 is 99.9."""
    return f"{min(100 * share, 99.9):.1f}" if 0.995 <= share < 1 else f"{100 * share:.0f}"


PICTURE_FIGURES = {
    "high_frequency_energy": "energy above 0.25 cycles per pixel",
    "mean_variation": "variation between neighbouring pixels",
    "mean_frequency": "mean frequency, cycles per pixel",
}
"""How the figures of `jinv.core.picture_metrics` are called where people read them."""


def picture_rows(pictures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(figure, mean, interval) of the entry `pictures` of an evaluation."""
    rows = []
    for key, title in PICTURE_FIGURES.items():
        figure = pictures[key]
        value, low, high = (None if v is None else f"{v:.3g}" for v in (figure["value"], figure["low"], figure["high"]))
        rows.append((title, str(value), f"{low} to {high}" if low else "one image has none"))
    return rows


def _print_reference(name: str, verdict: dict[str, Any], console: Console) -> None:
    reference = verdict["reference"]
    table = Table("figure", "value", title=f"beside {reference['count']} real images, in {name} features")
    for title, text in reference_rows(name, verdict):
        table.add_row(title, text)
    console.print(table)


def reference_rows(name: str, verdict: dict[str, Any]) -> list[tuple[str, str]]:
    """A verdict's comparison with real images as (figure, text); a figure is named after the network it is taken in."""
    reference = verdict["reference"]

    def text(figure: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
        return f"withheld: {figure['withheld']}" if "withheld" in figure else show(figure)

    def value(figure: dict[str, Any]) -> str:
        return text(figure, lambda f: f"{f['value']:.4g}")

    kernel = text(
        reference["kernel_distance"], lambda f: f"{f['value']:.4g}, 95 % interval {f['low']:.4g} to {f['high']:.4g}"
    )
    rows = [(f"kernel distance (KID) in {name} features", kernel)]
    overlap = reference["overlap"]
    if "withheld" in overlap:
        rows.append(("precision, recall, density, coverage", text(overlap, str)))
    else:
        rows += [(key, f"{overlap[key]:.3f}") for key in ("precision", "recall", "density", "coverage")]
    rows.append((f"Fréchet distance in {name} features", value(reference["frechet_distance"])))
    rows.append(("diversity of the run", value(verdict["diversity"])))
    if "diversity" in reference:
        rows.append(("diversity of the real images", value(reference["diversity"])))
    if "top1" in reference:
        low, high = reference["interval"]
        recognised = f"{100 * reference['top1']:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
        rows.append((f"real images that {name} recognises", recognised))
    return rows
