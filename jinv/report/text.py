"""An evaluation in words: the table of the command line, and the rows of figures that table and report share."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from jinv.record.directory import RunDirectory
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Distance, Diversity, Evaluation, Pictures, RealImages, Verdict, Withheld

OWN = "the inverted network itself"


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """The verdicts as a table."""
    table = Table("verifier", "right", "top-1", "95 % interval", "top-5", title_justify="left")
    for name, verdict in evaluation.verifiers.items():
        top1, own = verdict.top1, f" ({part})" if (part := part_text(verdict)) else ""
        interval = f"{100 * top1.low:.1f} to {100 * top1.high:.1f} %"
        right = f"{top1.right} of {verdict.count}"
        table.add_row(name + own, right, _percent(top1), interval, _percent(verdict.top5) if verdict.top5 else "")
    console = console or Console()
    console.print(table)
    if evaluation.pictures is not None:
        table = Table("figure", "mean", "95 % interval", title=f"the {evaluation.pictures.count} images alone")
        for row in picture_rows(evaluation.pictures):
            table.add_row(*row)
        console.print(table)
    for name, verdict in evaluation.verifiers.items():
        if verdict.reference is not None:
            table = Table("figure", "value", title=f"beside {verdict.reference.count} real images, in {name} features")
            for title, text in reference_rows(name, verdict, verdict.reference):
                table.add_row(title, text)
            console.print(table)


def print_result(run: Path) -> None:
    """Where to look, and how well it went."""
    print(f"\nimages   {run / 'grid.png'}\nreport   {run / 'report.html'}")
    evaluation = RunDirectory(run).evaluation()
    for name, verdict in evaluation.verifiers.items() if evaluation else ():
        top1, part = verdict.top1, part_text(verdict) or "which took no part"
        print(f"{name}, {part}, recognises {top1.right} of {verdict.count} ({whole_percent(top1.value)} %, "
              f"95 % interval {100 * top1.low:.0f} to {100 * top1.high:.0f} %)")  # fmt: skip


def part_text(verdict: Verdict) -> str:
    """What a verifier was in the synthesis, "" for one that took no part: the images were made to please the others."""
    if verdict.independent:
        return ""
    return "the synthesis' student" if verdict.part == "student" else OWN


def whole_percent(share: float) -> str:
    """A share as percents without decimals, but never 100 for less than all: 0.9995 is 99.9."""
    return f"{min(100 * share, 99.9):.1f}" if 0.995 <= share < 1 else f"{100 * share:.0f}"


PICTURE_FIGURES = {
    "high_frequency_energy": "energy above 0.25 cycles per pixel",
    "mean_variation": "variation between neighbouring pixels",
    "mean_frequency": "mean frequency, cycles per pixel",
}
"""How the figures of `jinv.judge.picture_metrics` are called where people read them."""


def picture_rows(pictures: Pictures) -> list[tuple[str, str, str]]:
    """(figure, mean, interval) of what the pictures say by themselves."""
    rows = []
    for key, title in PICTURE_FIGURES.items():
        figure: Estimate = getattr(pictures, key)
        interval = f"{figure.low:.3g} to {figure.high:.3g}" if figure.bounded else "one image has none"
        rows.append((title, f"{figure.value:.3g}", interval))
    return rows


def reference_rows(name: str, verdict: Verdict, reference: RealImages) -> list[tuple[str, str]]:
    """A verdict's comparison with real images as (figure, text); a figure is named after the network it is taken in."""
    rows = [(f"kernel distance (KID) in {name} features", _figure_text(reference.kernel_distance))]
    overlap = reference.overlap
    if isinstance(overlap, Withheld):
        rows.append(("precision, recall, density, coverage", _figure_text(overlap)))
    else:
        rows += [(key, f"{value:.3f}") for key, value in overlap]
    rows.append((f"Fréchet distance in {name} features", _figure_text(reference.frechet_distance)))
    if verdict.diversity is not None:
        rows.append(("diversity of the run", _figure_text(verdict.diversity)))
    if reference.diversity is not None:
        rows.append(("diversity of the real images", _figure_text(reference.diversity)))
    if (top1 := reference.top1) is not None:
        interval = f"95 % interval {100 * top1.low:.1f} to {100 * top1.high:.1f} %"
        rows.append((f"real images that {name} recognises", f"{_percent(top1)}, {interval}"))
    return rows


def _figure_text(figure: Estimate | Distance | Diversity | Withheld) -> str:
    if isinstance(figure, Withheld):
        return f"withheld: {figure.withheld}"
    if isinstance(figure, Estimate):
        return f"{figure.value:.4g}, 95 % interval {figure.low:.4g} to {figure.high:.4g}"
    return f"{figure.value:.4g}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} %"
