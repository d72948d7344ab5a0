"""An evaluation in words: the table of the command line, and the rows of figures that table and report share."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Column

from jinv.console import add, make_console, say, table
from jinv.errors import legible
from jinv.record.directory import RunDirectory
from jinv.record.estimate import Estimate
from jinv.record.evaluation import (
    ControlEvaluation,
    Distance,
    Diversity,
    Evaluation,
    MetricFigure,
    Pictures,
    RealImages,
    Relation,
    Verdict,
    Withheld,
    in_order,
)

OWN = "the inverted network itself"

KIN: dict[Relation, str] = {
    "stranger": "a stranger",
    "unknown": "of unknown relation",
    "sibling": "a sibling",
    "student": "the synthesis' student",
    "inverted": OWN,
}
"""What a judge is to the inverted network, beside its name."""

INTERVALS = "under a share and a mean confidence: its 95 % interval"

HOW_TO_STATE = (
    "of unknown relation: state the training of its network, and the inverted one's, by jinv convert --training NAME "
    "(an ONNX file's family and training in the table beside it)"
)


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """The verdicts as tables."""
    console = console or make_console()
    verdicts = in_order(evaluation.verifiers)
    shown = table(*_columns("verifier"), "itself right on", caption=INTERVALS)
    for name, verdict in verdicts.items():
        row = _shares(verdict.top1, verdict.top5, verdict.mean_confidence)
        add(shown, f"{name}\n{KIN[verdict.kin]}", *row, accuracy_text(verdict))
    if verdicts:
        console.print(shown)
    _print_notes(verdicts, console)
    real = evaluation.photographs.pictures if evaluation.photographs else None
    if evaluation.pictures is not None:
        _print_pictures(
            f"the {evaluation.pictures.count} images alone", picture_rows(evaluation.pictures, real), console
        )
    for name, verdict in verdicts.items():
        if verdict.reference is not None:
            shown = table("figure", "value", title=f"beside {verdict.reference.count} real images, in {name} features")
            for title, text in reference_rows(name, verdict, verdict.reference):
                add(shown, title, text)
            console.print(shown)


def print_control(control: ControlEvaluation, console: Console | None = None) -> None:
    """What networks say of real images alone, as tables."""
    console = console or make_console()
    shown = table(*_columns("network"), caption=INTERVALS)
    for name, said in control.verifiers.items():
        add(shown, name, *_shares(said.top1, said.top5, said.mean_confidence))
    if control.verifiers:
        console.print(shown)
    pictures = control.photographs.pictures
    _print_pictures(f"the {pictures.count} real images alone", picture_rows(pictures), console)


def print_result(run: Path) -> None:
    """Where to look, and how well it went."""
    print(legible(f"\nimages   {run / 'grid.png'}\nreport   {run / 'report.html'}"))
    evaluation = RunDirectory(run).evaluation()
    verdicts = in_order(evaluation.verifiers) if evaluation else {}
    for name, verdict in verdicts.items():
        top1, known = verdict.top1, accuracy_text(verdict)
        who = f"{KIN[verdict.kin]}, right on {known}," if known else f"{KIN[verdict.kin]},"
        sure = f", mean confidence {confidence_text(verdict.mean_confidence)}" if verdict.mean_confidence else ""
        print(f"{name}, {who} recognises {top1.right} of {verdict.count} ({whole_percent(top1.value)} %, "
              f"95 % interval {100 * top1.low:.0f} to {100 * top1.high:.0f} %){sure}")  # fmt: skip
    _print_notes(verdicts, make_console())
    pictures = evaluation.pictures if evaluation else None
    for name, figure in (pictures.metrics if pictures else {}).items():
        print(legible(f"{metric_title(name, figure)} {figure.value:.3g}, 95 % interval {_ends(figure)}"))


def headline(verdicts: Iterable[Verdict]) -> str:
    """What has to be said first where no stranger judged, else ""."""
    kin = {verdict.kin for verdict in verdicts} - {"student", "inverted"}
    if "stranger" in kin or not kin:
        return ""
    if kin == {"sibling"}:
        return "judged by siblings of the inverted network alone, no stranger has seen it"
    return "judged by no network that is known to be a stranger to the inverted one"


def accuracy_text(verdict: Verdict) -> str:
    """How much of real images the judge itself is right on, as far as that is known: "62 % of 1000 photographs"."""
    if verdict.photographs is not None:
        share, kind = verdict.photographs.top1, "photographs"
    elif verdict.reference is not None and verdict.reference.top1 is not None:
        share, kind = verdict.reference.top1, "real images"
    else:
        return "" if verdict.accuracy is None else f"{100 * verdict.accuracy:.1f} % of real images as published"
    return f"{whole_percent(share.value)} % of {share.count} {kind}"


def confidence_text(confidence: Estimate) -> str:
    """A mean confidence, with its interval where it has one."""
    interval = f" ({confidence.low:.2f} to {confidence.high:.2f})" if confidence.bounded else ""
    return f"{confidence.value:.2f}{interval}"


def part_text(verdict: Verdict) -> str:
    """What a verifier was in the synthesis, "" for one that was no part of it: the images were made to please the others."""
    return "" if verdict.independent else KIN[verdict.kin]


def kin_text(verdict: Verdict) -> str:
    """What a judge is to the inverted network."""
    return KIN[verdict.kin]


def whole_percent(share: float) -> str:
    """A share as percents without decimals, but never 100 for less than all: 0.9995 is 99.9."""
    return f"{min(100 * share, 99.9):.1f}" if 0.995 <= share < 1 else f"{100 * share:.0f}"


PICTURE_FIGURES = {
    "high_frequency_energy": "energy above 0.25 cycles per pixel",
    "mean_variation": "variation between neighbouring pixels",
    "mean_frequency": "mean frequency, cycles per pixel",
    "contrast": "contrast, standard deviation of the luma",
    "saturation": "saturation",
}
"""How the figures of `jinv.images.metrics` are called where people read them."""


class PictureRow(NamedTuple):
    """A figure of pictures in words; `real` is the real images' of the same classes, "" where there were none."""

    title: str
    mean: str
    interval: str
    real: str = ""


def picture_rows(pictures: Pictures, real: Pictures | None = None) -> list[PictureRow]:
    """What the pictures say by themselves, beside what `real` ones of the same classes do."""
    rows = []
    asked: list[tuple[str, Estimate | None, Estimate | None]] = [
        (title, getattr(pictures, key), getattr(real, key, None)) for key, title in PICTURE_FIGURES.items()
    ]
    for name, metric in pictures.metrics.items():
        other = real.metrics.get(name) if real else None
        same = other is not None and (other.sha256, other.hyperparameters) == (metric.sha256, metric.hyperparameters)
        asked.append((metric_title(name, metric), metric, other if same else None))
    for title, figure, beside in asked:
        if figure is not None:
            text = "" if beside is None else f"{beside.value:.3g}" + (f" ({_ends(beside)})" if beside.bounded else "")
            rows.append(PictureRow(title, f"{figure.value:.3g}", _ends(figure), text))
    return rows


def metric_title(name: str, figure: MetricFigure) -> str:
    """A plugin's metric, with what of it is not at its default: "sharpness (sigma 2)"."""
    given = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in figure.hyperparameters.items()
    )
    return f"{name} ({given})" if given else name


def reference_rows(name: str, verdict: Verdict, reference: RealImages) -> list[tuple[str, str]]:
    """A verdict's comparison with real images as (figure, text); a figure is named after the network it is taken in."""
    rows = []
    if verdict.sampled is not None or reference.sampled is not None:
        ours, theirs = verdict.sampled or verdict.count, reference.sampled or reference.count
        text = f"{ours} of the run's {verdict.count}, {theirs} of the {reference.count} real ones, drawn class by class"
        rows.append(("images whose features are compared", text))
    rows.append((f"kernel distance (KID) in {name} features", _figure_text(reference.kernel_distance)))
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


def _ends(figure: Estimate) -> str:
    return f"{figure.low:.3g} to {figure.high:.3g}" if figure.bounded else "one image has none"


def _columns(first: str) -> list[Column]:
    # A name is folded where there is no room, never cut; on 80 columns there is.
    return [Column(first, overflow="fold"), *(Column(name, no_wrap=True) for name in ("right", "top-5", "confidence"))]


def _shares(top1: Estimate, top5: Estimate | None, confidence: Estimate | None) -> list[str]:
    right = f"{top1.right} of {top1.count}, {_percent(top1)}\n{100 * top1.low:.1f} to {100 * top1.high:.1f} %"
    sure = confidence_text(confidence).replace(" (", "\n").rstrip(")") if confidence else ""
    return [right, _percent(top5) if top5 else "", sure]


def _print_notes(verdicts: Mapping[str, Verdict], console: Console) -> None:
    """What the verdicts are worth, where that has to be said."""
    if said := headline(verdicts.values()):
        say(console, f"{said[0].upper()}{said[1:]}.")
    if unknown := [name for name, verdict in verdicts.items() if verdict.kin == "unknown"]:
        say(console, f"{', '.join(unknown)}, {HOW_TO_STATE}.")


def _print_pictures(title: str, rows: Sequence[PictureRow], console: Console) -> None:
    beside = any(row.real for row in rows)
    shown = table("figure", "mean", "95 % interval", *(["photographs"] if beside else []), title=title)
    for row in rows:
        add(shown, *(row if beside else row[:3]))
    console.print(shown)
