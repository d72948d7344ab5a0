"""A validation report as one self-contained page: the verdict, what was checked, a plot of every layer's error, tables."""

import math
from html import escape
from pathlib import Path

from jinv.files import write_text
from jinv_convert.parity.report import LAYER_FLOAT32, LAYER_FLOAT64, Errors, LayerErrors, ValidationReport
from jinv_convert.parity.summary import Check, number, summarize

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1040, 330, 56, 54, 12
LOWEST, HIGHEST = -18, 2  # powers of ten on the error axis; what is smaller or exact lies on its floor
WORST = 12
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #6b7280; --line: #d5d9de; --paper: #fff;
  --double: #2563a8; --single: #c2701c; --bad: #c02626; --good: #1d7f46; --excused: #a06a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --dim: #9aa3ad; --line: #3a4047; --paper: #16191c;
  --double: #6aa9e9; --single: #e6a052; --bad: #f07070; --good: #5cc48a; --excused: #e0b050; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .dim { color: var(--dim) } .bad { color: var(--bad); font-weight: 600 }
.good { color: var(--good); font-weight: 600 } .excused { color: var(--excused); font-weight: 600 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
th { font-weight: 600; color: var(--dim) } td.number { font-family: ui-monospace, monospace }
svg { width: 100%; min-width: 640px; height: auto; display: block }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim) }
.scroll { overflow-x: auto } summary { cursor: pointer; color: var(--dim); margin: .5rem 0 }
"""


def write_html(report: ValidationReport, path: Path) -> None:
    """Write the page atomically."""
    write_text(path, page(report))


def page(report: ValidationReport) -> str:
    """The page as text."""
    verdict = '<span class="good">equal</span>' if report.passed else '<span class="bad">not equal</span>'
    facts = [
        f"{report.architecture}, against {escape(report.reference)}; checkpoint read by {escape(report.read_by)}",
        *(f'<span class="bad">{escape(problem)}</span>' for problem in [*report.digest_problems, *report.problems]),
        *(f'<span class="excused">Excused by rounding:</span> {escape(excuse)}' for excuse in report.excuses),
        *(f'<span class="dim">{escape(note)}</span>' for note in report.notes),
    ]
    if report.first_wrong_layer:
        facts.insert(1, f'<span class="bad">First wrong layer: {escape(report.first_wrong_layer)}</span>')
    worst = report.worst_layers
    rest = worst[WORST:]
    more = f"<details><summary>the other {len(rest)}</summary>{_layers(rest)}</details>" if rest else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(Path(report.converted).name)}: conversion {"equal" if report.passed else "not equal"}</title>
<style>{STYLE}</style></head><body>
<h1>{escape(Path(report.converted).name)}: {verdict}</h1>
<p class="dim">beside {escape(Path(report.checkpoint).name)}</p>
{"".join(f"<p>{fact}</p>" for fact in facts)}
<h2>What was checked</h2>
{_checks(summarize(report))}
<p class="dim">{_inputs(report)}</p>
<h2>Largest relative error of every layer, in network order</h2>
<div class="scroll">{_plot(report.layers)}</div>
<h2>Image gradients, relative L2 error</h2>
{_gradients(report)}
<h2>Layers, worst first</h2>
{_layers(worst[:WORST])}{more}
<h2>Operations without parameters</h2>
{_layers(report.operations)}
</body></html>
"""


def _inputs(report: ValidationReport) -> str:
    text = f"Inputs: {escape('; '.join(report.inputs))}. {report.seconds:.0f} s."
    if report.agreement and report.agreement.correct:
        theirs, ours = report.agreement.correct
        text += f" Of {report.agreement.count:,} real images PyTorch is right on {theirs:,}, jinv on {ours:,}."
    return text


def _checks(checks: list[Check]) -> str:
    rows = []
    for check in checks:
        word, mark = (
            ("wrong", "bad") if not check.passed else ("excused", "excused") if check.excused else ("ok", "good")
        )
        cells = f'<td class="number">{escape(check.found)}</td><td class="number dim">{escape(check.allowed)}</td>'
        rows.append(f'<tr><td class="{mark}">{word}</td><td>{escape(check.what)}</td>{cells}</tr>')
    head = "<tr><th></th><th>what</th><th>worst found</th><th>allowed</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _plot(layers: list[LayerErrors]) -> str:
    """Logarithmic; a dot per layer and precision, the tolerances as dashed lines."""
    step = (WIDTH - LEFT) / max(len(layers), 1)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="error of every layer">']
    for power in range(LOWEST, HIGHEST + 1, 4):
        y = _height(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    parts += _stages(layers, step)
    for limit, color in ((LAYER_FLOAT64, "--double"), (LAYER_FLOAT32, "--single")):
        y = _height(limit)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var({color})" stroke-dasharray="5 4"/>'
        )
    for position, layer in enumerate(layers):
        x = LEFT + (position + 0.5) * step
        for error, color, name in ((layer.float64, "--double", "float64"), (layer.float32, "--single", "float32")):
            fill = f"var({color})" if layer.passed else "var(--bad)"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{_height(error):.1f}" r="{min(3.5, max(1.5, step / 2)):.1f}" fill="{fill}">'
                f"<title>{escape(layer.name)}, {name}: {error:.2g}</title></circle>"
            )
    for x, color, text in ((LEFT, "--double", "float64"), (LEFT + 90, "--single", "float32")):
        parts.append(f'<circle cx="{x + 5}" cy="{HEIGHT - 8}" r="4" fill="var({color})"/>')
        parts.append(f'<text x="{x + 14}" y="{HEIGHT - 4}">{text}</text>')
    parts.append(f'<text x="{LEFT + 180}" y="{HEIGHT - 4}">dashed: largest allowed; on the floor: exact</text></svg>')
    return "".join(parts)


def _stages(layers: list[LayerErrors], step: float) -> list[str]:
    """Where the networks' stages begin, named under the axis: the longest first, as far as there is room."""
    starts: dict[str, list[float]] = {}
    for position, layer in enumerate(layers):
        stage, _, rest = layer.name.partition(".")
        if stage == "features" and not rest[:1].isdigit():  # DenseNet's blocks are all inside
            stage = rest.split(".")[0]
        starts.setdefault(stage, []).append(LEFT + position * step)
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for stage, places in sorted(starts.items(), key=lambda item: -len(item[1])):
        x, width = places[0], 7.0 * len(stage) + 8
        left = min(x, WIDTH - width)
        if all(left + width <= begin or end <= left for begin, end in taken):
            taken.append((left, left + width))
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM + 6}" stroke="var(--line)"/>'
            )
            parts.append(f'<text x="{left + 2:.1f}" y="{HEIGHT - BOTTOM + 18}">{escape(stage)}</text>')
    return parts


def _height(error: float) -> float:
    power = min(max(math.log10(error), LOWEST), HIGHEST) if error > 0 else LOWEST
    return TOP + (HIGHEST - power) / (HIGHEST - LOWEST) * (HEIGHT - TOP - BOTTOM)


def _layers(layers: list[LayerErrors]) -> str:
    rows = [
        f"<tr><td>{escape(layer.name)}</td><td>{layer.kind}</td>{_cells(layer)}"
        f"<td{' class=bad' if layer.tensors_differ else ''}>"
        f"{f'{layer.tensors_differ} differ' if layer.tensors_differ else 'exact'}</td>"
        f'<td class="dim">{escape(layer.worst_input)}</td></tr>'
        for layer in layers
    ]
    head = "<tr><th>layer</th><th>kind</th><th>float64</th><th>float32</th><th>tensors</th><th>worst on</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _gradients(report: ValidationReport) -> str:
    alone = '<td class="dim">image alone</td>' * 2
    rows = [
        f"<tr><td>{escape(errors.name)}</td>{alone if errors.image_alone else _cells(errors)}</tr>"
        for errors in report.gradients
    ]
    head = "<tr><th>term</th><th>float64</th><th>float32</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _cells(errors: Errors) -> str:
    excused = "excused" if errors.excuse and not errors.unexcused else "bad"
    return _cell(errors.float64, errors.limits[0], "bad") + _cell(errors.float32, errors.limits[1], excused)


def _cell(error: float, limit: float, beyond: str) -> str:
    return f'<td class="number{f" {beyond}" if error > limit else ""}">{number(error)}</td>'
