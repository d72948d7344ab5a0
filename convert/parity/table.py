"""A validation report on the terminal: the verdict, the worst layers, the gradients, and what is wrong in words."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from jinv.console import add, say, table
from jinv.errors import legible
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
    files = Text.assemble((legible(report.converted), "bold"), " beside ", (legible(report.checkpoint), "bold"))
    said = f": {report.architecture}, {report.reference}, checkpoint read by {report.read_by}"
    say(console, files.append(legible(said)))
    worst = report.worst_layers
    title = f"Layers, {min(SHOWN, len(worst))} worst of {len(worst)} (max |difference| / max |reference|)"
    console.print(_layer_table(title, worst[:SHOWN]))
    if failed := [operation for operation in report.operations if not operation.passed]:
        console.print(_layer_table("Operations that differ", failed))
    limits = _columns(GRADIENT_FLOAT64, GRADIENT_FLOAT32)
    gradients = table("term", *limits, title="Image gradients (relative L2)")
    for errors in report.gradients:
        # A term of the image alone never meets the network: there is nothing that a conversion could get wrong.
        numbers = _numbers(errors)
        add(gradients, errors.name, *(("image alone", "image alone") if errors.image_alone else numbers))
    console.print(gradients)
    if report.agreement:
        found = report.agreement
        accuracy = ""
        if found.correct:
            accuracy = f"; right: PyTorch {found.correct[0]:,}, jinv {found.correct[1]:,}"
        say(
            console,
            f"real images: {found.different} of {found.count:,} top-1 classes differ, "
            f"logits by at most {found.largest_logit_difference:.2g}{accuracy}",
        )
    for note in report.notes:
        say(console, f"note: {note}", style="yellow")
    for excuse in report.excuses:
        say(console, f"excused by rounding: {excuse}", style="yellow")
    for problem in [*report.digest_problems, *report.problems]:
        say(console, f"wrong: {problem}", style="red")
    if not report.logits_close:
        say(console, "wrong: logits differ by more than rtol 1e-3, atol 1e-4 in float32", style="red")
    if report.first_wrong_layer:
        say(console, f"first wrong layer in network order: {report.first_wrong_layer}", style="red")
    matching = ("match", "green") if report.digests_match else ("DO NOT MATCH", "red")
    equal = ("equal", "green") if report.numerically_equal else ("NOT EQUAL", "red")
    say(console, Text.assemble("digests ", matching, ", numerically ", equal, f", {report.seconds:.0f} s"))


def _layer_table(title: str, layers: list[LayerErrors]) -> Table:
    whole = [Column(header, no_wrap=True) for header in (*_columns(LAYER_FLOAT64, LAYER_FLOAT32), "tensors")]
    found = table(Column("layer", no_wrap=True), *whole, "worst on", title=title)
    for layer in layers:
        tensors = Text(f"{layer.tensors_differ} differ", "red") if layer.tensors_differ else "exact"
        add(found, layer.name, *_numbers(layer), tensors, layer.worst_input)
    return found


def _columns(float64: float, float32: float) -> tuple[str, str]:
    return f"f64 ≤ {float64:g}", f"f32 ≤ {float32:g}"


def _numbers(errors: Errors) -> tuple[Text, Text]:
    """Wrong ones red, excused ones yellow."""
    excused = "yellow" if errors.excuse and not errors.unexcused else "red"
    return _number(errors.float64, errors.limits[0], "red"), _number(errors.float32, errors.limits[1], excused)


def _number(error: float, limit: float, color: str) -> Text:
    text = "not a number" if error >= LARGEST else f"{error:.1e}"
    return Text(text) if error <= limit else Text(text, color)
