"""The pages of `jinv reproduce`: one sheet per figure, and the index with findings and thumbnails."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jinv.errors import legible
from jinv.files import write_bytes, write_text
from jinv.images.codec import read_image
from jinv.report.charts import Chart, Series, line_chart
from jinv.report.contact_sheet import SheetPanel, sheet_jpeg
from jinv.report.facts import run_facts
from jinv.report.gallery import ImageView, Room
from jinv.report.page import environment, settings
from jinv.report.text import reference_rows
from jinv.report.view import RunView, read_run
from jinv.reproduce.findings import confidence_curve
from jinv.reproduce.plan import Figure, Panel, Sheets

ROWS = 4
"""Of a class, on the contact sheet of runs."""

ROOM = Room(size=2_500_000, fewest=256)
"""Of one panel."""

SHEET_IMAGES, SHEET_FEWEST = 1024, 16
"""On the contact sheet of runs, of all together; and of each at least."""


def write_sheet(figure: Figure, panels: Sequence[Panel], out: Path, folder: Path) -> dict[str, Any]:
    """Write `figure_N/sheet.html` and `sheet.jpg`; returns what the index says of the figure.

    Without a finished run nothing is written, and the index says why.
    """
    made = [panel for panel in panels if panel.recipe is not None]
    skipped = list(dict.fromkeys(f"{p.title}: {p.skipped}" for p in panels if p.recipe is None))
    summary: dict[str, Any] = {"figure": figure, "skipped": skipped, "page": None, "panels": []}
    if not made:
        return summary
    views = [read_run(out / "runs" / panel.run, room=ROOM) for panel in made]
    shown = [_columns(view, figure.classes) for view in views]
    entries = [
        {
            "panel": panel,
            "view": view,
            "facts": run_facts(view),
            "columns": columns,
            "pictures": _picture_rows(view),
            "references": [
                (v.short, reference_rows(v.short, v.verdict, beside))
                for v in view.verdicts
                if (beside := v.verdict.reference) is not None
            ],
            "settings": settings(view.config),
            "command": command(folder / figure.config, panel, [used.plugin for used in view.manifest.plugins or ()]),
        }
        for panel, view, columns in zip(made, views, shown, strict=True)
    ]
    place = out / figure.config.removesuffix(".toml")
    place.mkdir(exist_ok=True)
    page = environment().get_template("sheet.html.j2")
    text = page.render(
        figure=figure, entries=entries, skipped=skipped, charts=_charts(figure, made, views), source=figure.config
    )
    write_text(place / "sheet.html", text)
    jpeg = sheet_jpeg(
        f"Figure {figure.id}. {figure.title}",
        [
            SheetPanel(panel.title, result_line(view), [(name, _pixels(view, images)) for name, images in columns])
            for panel, view, columns in zip(made, views, shown, strict=True)
        ],
    )
    write_bytes(place / "sheet.jpg", jpeg)
    lines = [{"title": panel.title, "line": result_line(view)} for panel, view in zip(made, views, strict=True)]
    return summary | {"page": f"{place.name}/sheet.html", "thumbnail": _thumbnail(jpeg), "panels": lines}


def write_contact_sheet(run_dirs: Sequence[str | Path], out: str | Path) -> Path:
    """Write one JPEG of at most 400 kB with several runs' images by class column; returns its path.

    Raises:
      UsageError: a run without images. StorageError: as `read_run`.
    """
    most = max(SHEET_IMAGES // max(len(run_dirs), 1), SHEET_FEWEST)
    room = Room(most, fewest=most)
    views = [read_run(run_dir, room=room) for run_dir in run_dirs]
    panels = []
    for view in views:
        columns = [(name, _pixels(view, images[:ROWS])) for name, images in _columns(view, ())]
        panels.append(SheetPanel(view.name, result_line(view), columns))
    folders = {view.path.resolve().parent.name for view in views}
    many = folders.pop() if len(folders) == 1 else f"{len(views)} runs"
    title = " and ".join(view.name for view in views) if len(views) < 3 else many
    write_bytes(out, sheet_jpeg(legible(title), panels, rows=ROWS))
    return Path(out)


def write_index(
    sheets: Sheets, preset: str, summaries: Sequence[dict[str, Any]], findings: Sequence[dict[str, Any]], out: Path
) -> Path:
    """Write `index.html`; returns its path."""
    counts = {
        verdict: sum(f["verdict"] == verdict for entry in findings for f in entry["findings"])
        for verdict in ("confirmed", "refuted", "undecided")
    }
    page = environment().get_template("thesis.html.j2")
    text = page.render(sheets=sheets, preset=preset, summaries=summaries, findings=findings, counts=counts)
    write_text(out / "index.html", text)
    return out / "index.html"


def command(config: Path, panel: Panel, plugins: Sequence[str] = ()) -> str:
    """The `jinv synthesize` command that makes a panel's images, with the plugins that its run took something of."""
    import shlex

    own = [word for plugin in plugins for word in ("--plugin", plugin)]
    changes = ["--set", *panel.changes] if panel.changes else []
    return shlex.join(["jinv", "synthesize", config.as_posix(), *own, *changes])


def result_line(view: RunView) -> str:
    """A run in a line: steps, loss, how many images each network recognises, high frequencies."""
    facts = run_facts(view)
    parts = [facts.stages or "no steps"]
    if facts.final:
        parts.append(f"objective {facts.final}")
    if points := confidence_curve(view.curves):
        parts.append(f"confidence {100 * points[-1][1]:.1f} %")
    for v in view.verdicts:
        name = "itself, from the files" if v.verdict.kin == "inverted" else f"{v.short} ({v.verdict.kin})"
        parts.append(f"{name} {v.verdict.top1.right} of {v.verdict.count}")
    if view.pictures:
        parts.append(f"high frequencies {100 * view.pictures.high_frequency_energy.value:.0f} %")
    if view.headline:
        parts.insert(0, view.headline)
    return " · ".join(parts)


def _columns(view: RunView, classes: Sequence[int]) -> list[tuple[str, list[ImageView]]]:
    """The run's images by class, in the figure's order of classes; all classes where the run has none of those."""
    by_label: dict[int | None, list[ImageView]] = {}
    for image in view.gallery.images:
        by_label.setdefault(image.label, []).append(image)
    chosen: list[int | None] = [label for label in classes if label in by_label] or list(by_label)
    return [(by_label[label][0].class_name, by_label[label]) for label in chosen]


def _pixels(view: RunView, images: Sequence[ImageView]) -> list[np.ndarray]:
    return [read_image(view.path / image.file) for image in images]


def _picture_rows(view: RunView) -> list[tuple[str, str]]:
    return [
        (row.title, f"{row.mean} ({row.interval})" + (f"; photographs {row.real}" if row.real else ""))
        for row in view.picture_rows
    ]


def _charts(figure: Figure, panels: Sequence[Panel], views: Sequence[RunView]) -> list[Chart]:
    total = [
        view.curves.series("total", name=panel.title, color=i)
        for i, (panel, view) in enumerate(zip(panels, views, strict=True))
    ]
    confidence = []
    for i, (panel, view) in enumerate(zip(panels, views, strict=True)):
        points = confidence_curve(view.curves)
        if points:
            confidence.append(Series(panel.title, [x for x, _ in points], [y for _, y in points], color=i))
    charts = [
        line_chart("Objective", [s for s in total if s.x], caption="the weighted sum of all terms", scales=("log", "linear")),
        line_chart(
            "Confidence", confidence, zero=True,
            caption="of the inverted network in the wanted classes, geometric mean over the images, augmentation included",
        ),
    ]  # fmt: skip
    found = [chart for chart in charts if chart]
    return found[::-1] if figure.chart == "confidence" else found


def _thumbnail(jpeg: bytes) -> str:
    """The sheet at half its width, for the index."""
    with Image.open(io.BytesIO(jpeg)) as image:
        small = image.convert("RGB")
    small.thumbnail((720, 2000))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
