"""A validation report on the terminal: the verdict, the worst layers, the gradients, and what is wrong in words."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jinv_convert.parity.report import (
    GRADIENT_FLOAT32,
    GRADIENT_FLOAT64,
    LARGEST,
    LAYER_FLOAT32,
    LAYER_FLOAT64,
    Errors,
    LayerErrors,
    ValidationReport,
)

SHOWN = 12


def print_report(report: ValidationReport, console: Console) -> None:
    """Print `report`, worst layers first."""
    console.print(
        f"[bold]{escape(report.converted)}[/bold] beside [bold]{escape(report.checkpoint)}[/bold]: "
        f"{report.architecture}, {escape(report.reference)}, checkpoint read by {escape(report.read_by)}"
    )
    worst = report.worst_layers
    title = f"Layers, {min(SHOWN, len(worst))} worst of {len(worst)} (max |difference| / max |reference|)"
    console.print(_layer_table(title, worst[:SHOWN]))
    if failed := [operation for operation in report.operations if not operation.passed]:
        console.print(_layer_table("Operations that differ", failed))
    gradients = Table(
        "term", *_columns(GRADIENT_FLOAT64, GRADIENT_FLOAT32), title="Image gradients (relative L2)", **_LEFT
    )
    for errors in report.gradients:
        # A term of the image alone never meets the network: there is nothing that a conversion could get wrong.
        numbers = _numbers(errors)
        gradients.add_row(errors.name, *(("image alone", "image alone") if errors.image_alone else numbers))
    console.print(gradients)
    if report.agreement:
        found = report.agreement
        accuracy = ""
        if found.correct:
            accuracy = f"; right: PyTorch {found.correct[0]:,}, jinv {found.correct[1]:,}"
        console.print(
            f"real images: {found.different} of {found.count:,} top-1 classes differ, "
            f"logits by at most {found.largest_logit_difference:.2g}{accuracy}"
        )
    for note in report.notes:
        console.print(f"note: {escape(note)}", style="yellow")
    for excuse in report.excuses:
        console.print(f"excused by rounding: {escape(excuse)}", style="yellow")
    for problem in [*report.digest_problems, *report.problems]:
        console.print(f"wrong: {escape(problem)}", style="red")
    if not report.logits_close:
        console.print("wrong: logits differ by more than rtol 1e-3, atol 1e-4 in float32", style="red")
    if report.first_wrong_layer:
        console.print(f"first wrong layer in network order: {escape(report.first_wrong_layer)}", style="red")
    matching = "[green]match[/green]" if report.digests_match else "[red]DO NOT MATCH[/red]"
    equal = "[green]equal[/green]" if report.numerically_equal else "[red]NOT EQUAL[/red]"
    console.print(f"digests {matching}, numerically {equal}, {report.seconds:.0f} s")


_LEFT: dict[str, Any] = {"title_justify": "left"}


def _layer_table(title: str, layers: list[LayerErrors]) -> Table:
    table = Table(title=title, **_LEFT)
    for header in ("layer", *_columns(LAYER_FLOAT64, LAYER_FLOAT32), "tensors"):
        table.add_column(header, no_wrap=True)
    table.add_column("worst on", overflow="fold")
    for layer in layers:
        tensors = f"[red]{layer.tensors_differ} differ[/red]" if layer.tensors_differ else "exact"
        table.add_row(escape(layer.name), *_numbers(layer), tensors, escape(layer.worst_input))
    return table


def _columns(float64: float, float32: float) -> tuple[str, str]:
    return f"f64 ≤ {float64:g}", f"f32 ≤ {float32:g}"


def _numbers(errors: Errors) -> tuple[str, str]:
    """Wrong ones red, excused ones yellow."""
    excused = "yellow" if errors.excuse and not errors.unexcused else "red"
    return _number(errors.float64, errors.limits[0], "red"), _number(errors.float32, errors.limits[1], excused)


def _number(error: float, limit: float, color: str) -> str:
    text = "not a number" if error >= LARGEST else f"{error:.1e}"
    return text if error <= limit else f"[{color}]{text}[/{color}]"
