"""report.html: one self-contained page per run, and one for several runs side by side.

Pictures, styles and the little script are inside the page, whose content policy forbids it to fetch anything.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from jinv.errors import UsageError
from jinv.files import write_text
from jinv.images.sample import sample_by_class
from jinv.record.evaluation import RELATIONS
from jinv.record.manifest import Manifest
from jinv.report.charts import Chart, Series, format_number, line_chart
from jinv.report.facts import run_facts
from jinv.report.gallery import ImageView, Room
from jinv.report.text import accuracy_text, confidence_text, kin_text, reference_rows, whole_percent
from jinv.report.totals import count_text
from jinv.report.view import RunView, read_run, size_text, stage_spans

MANY = 60
"""Of more judged images the page says what the judges make of each class."""

MOST_PAIRS = 8
"""Of terms, in the chart of their gradients' cosines."""

MOST_RUNS, MOST_IMAGES, COMPARED_BYTES = 32, 512, 4_500_000
"""Of a comparison: runs side by side, images of all of them, and their bytes."""


def write_report(run_dir: str | Path, manifest: Manifest | None = None) -> Path:
    """Write the run's `report.html`; returns its path. `manifest` is what the run's will say once it is sealed.

    Raises:
      StorageError: no run directory, or it cannot be read or written. UnsafeInputError: a damaged record or picture.
    """
    view = read_run(run_dir, manifest=manifest)
    path = view.path / "report.html"
    page = environment().get_template("report.html.j2")
    text = page.render(
        run=view,
        facts=run_facts(view),
        columns=gallery_columns([image.class_name for image in view.gallery.images]),
        charts=_run_charts(view),
        references=[
            (v.name, beside.count, reference_rows(v.name, v.verdict, beside))
            for v in view.verdicts
            if (beside := v.verdict.reference) is not None
        ],
        photographs=view.photographs.pictures.count if view.photographs else 0,
        settings=settings(view.config),
        heat_maps=view.curves.layers.maps(
            view.manifest.layers or (), [Path(model.name or "").stem for model in view.manifest.inverted]
        ),
        totals=view.totals if view.totals and view.totals.count > MANY else None,
    )
    write_text(path, text)
    return path


def write_comparison(run_dirs: Sequence[str | Path], out: str | Path) -> Path:
    """Write one page that shows several runs side by side, of more than `MOST_RUNS` some evenly spread; returns its path.

    Raises:
      UsageError: fewer than two runs. StorageError: as `write_report`.
    """
    if len(run_dirs) < 2:
        raise UsageError(f"a comparison needs at least 2 runs, not {len(run_dirs)}")
    shown = [run_dirs[place] for place in sample_by_class(range(len(run_dirs)), MOST_RUNS)]
    most = max(MOST_IMAGES // len(shown), 1)
    views = [read_run(run_dir, room=Room(most, COMPARED_BYTES // len(shown), most)) for run_dir in shown]
    page = environment().get_template("comparison.html.j2")
    names = _distinct_names(views)
    text = page.render(
        given=len(run_dirs),
        sampled=any(view.gallery.sampled for view in views),
        runs=[{"name": name, "view": view, "facts": run_facts(view)} for name, view in zip(names, views, strict=True)],
        charts=comparison_charts(names, views),
        settings=_setting_rows(views),
        rows=_image_rows(views),
        verifiers=_verifiers(views),
        figures=_figure_rows(views),
    )
    write_text(out, text)
    return Path(out)


def _verifiers(views: Sequence[RunView]) -> list[str]:
    """Everybody's judges, strangers of any run first."""
    places: dict[str, int] = {}
    for v in (v for view in views for v in view.verdicts):
        places[v.name] = min(places.get(v.name, len(RELATIONS)), RELATIONS.index(v.verdict.kin))
    return sorted(places, key=places.__getitem__)


def _figure_rows(views: Sequence[RunView]) -> list[tuple[str, list[str]]]:
    """What was measured of the pictures and beside real images: (figure, its text for every run)."""
    columns: list[dict[str, str]] = []
    for view in views:
        column: dict[str, str] = {}
        for row in view.picture_rows:
            real = f"; photographs {row.real}" if row.real else ""
            column[row.title] = f"{row.mean}, 95 % interval {row.interval}{real}"
        for v in view.verdicts:
            if (beside := v.verdict.reference) is not None:
                rows = reference_rows(v.name, v.verdict, beside)
                column |= {title if v.name in title else f"{title} ({v.name})": text for title, text in rows}
        columns.append(column)
    titles = dict.fromkeys(title for column in columns for title in column)
    return [(title, [column.get(title, "not measured") for column in columns]) for title in titles]


def settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """A resolved config as titled groups of (key, text)."""
    plain = [(key, value_text(value, key)) for key, value in config.items() if not _is_table(value)]
    groups = [("run", plain)] if plain else []
    for key, value in config.items():
        if key == "stages":
            groups += [
                (f"stage {i + 1}" if len(value) > 1 else "stage", [(k, value_text(v, k)) for k, v in stage.items()])
                for i, stage in enumerate(value)
            ]
        elif key in ("terms", "augment", "project", "metric") and isinstance(value, dict):
            groups.append((key, [(name, _entry_text(entry)) for name, entry in value.items()] or [("none", "")]))
        elif isinstance(value, dict):
            groups.append((key, [(k, value_text(v, k)) for k, v in value.items()]))
    return groups


def value_text(value: Any, key: str = "") -> str:
    """A config's value on one line: schedules and optimizers as calls, long lists cut; two numbers are a size under that key."""
    if isinstance(value, dict):
        values = dict(value)
        name = next((values.pop(key) for key in ("schedule", "name") if key in values), "")
        inside = ", ".join(f"{k} {value_text(v, k)}" for k, v in values.items())
        return f"{name}({inside})" if name else inside
    if isinstance(value, list):
        if key == "size" and len(value) == 2:
            return size_text(value)
        shown = ", ".join(value_text(v) for v in value[:24])
        return shown if len(value) <= 24 else f"{shown}, … ({len(value)} in all)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_number(value)
    return str(value)


def gallery_columns(names: Sequence[str]) -> int:
    """How many columns a wide gallery has: one per class where classes are cycled, else what fills the last row."""
    count, classes = len(names), len(set(names))
    if 5 <= classes <= 12 and classes < count and all(name == names[i % classes] for i, name in enumerate(names)):
        return classes
    wanted = 4 if count <= 16 else 5 if count <= 25 else 6 if count <= 60 else 8
    choices = range(max(wanted - 1, 4), wanted + 4)
    return min(choices, key=lambda columns: (-count % columns, abs(columns - wanted)))


def _entry_text(entry: Any) -> str:
    if not isinstance(entry, dict):
        return value_text(entry)
    rest = {key: value for key, value in entry.items() if key != "weight"}
    parts = [f"weight {value_text(entry['weight'])}"] if "weight" in entry else []
    return ", ".join([*parts, *(f"{k} {value_text(v)}" for k, v in rest.items())])


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _run_charts(view: RunView) -> dict[str, list[Chart]]:
    spans, curves = stage_spans(view), view.curves
    colors = {name: i for i, name in enumerate(curves.terms)}
    weighted = [curves.series("weighted", name, color=color) for name, color in colors.items()]
    objective = line_chart(
        "Objective", [curves.series("total", color=None), *weighted], scales=("log", "linear"), spans=spans,
        caption="Every term as it enters the objective, weight included, and their total.",
    )  # fmt: skip
    small = [
        line_chart(
            name, [curves.series("value", name, color=color)], caption="without its weight", scales=("log", "linear"),
            spans=spans,
        )
        for name, color in colors.items()
    ]  # fmt: skip
    rate = curves.series("learning_rate", color=None)
    small.append(line_chart("learning rate", [rate], caption="after its schedule", spans=spans, zero=True))
    own = curves.series("accuracy", color=None)
    small.append(
        line_chart("own accuracy", [own], caption="share the inverted network recognises", spans=spans, zero=True)
    )
    gradients = line_chart(
        "Gradient norms",
        [curves.series("gradient_norm", name, color=colors.get(name)) for name in curves.gradients],
        scales=("log", "linear"), spans=spans, caption="How hard each weighted term pulls at the image.",
    )  # fmt: skip
    rank = {pair: _strength(curves.series("cosine", pair)) for pair in curves.pairs}
    pairs = [pair for pair in curves.pairs if pair in sorted(rank, key=rank.__getitem__, reverse=True)[:MOST_PAIRS]]
    which = f" The {len(pairs)} of {len(rank)} pairs with most to say." if len(pairs) < len(rank) else ""
    cosines = line_chart(
        "Gradient cosines", [curves.series("cosine", pair, color=i) for i, pair in enumerate(pairs)], spans=spans,
        caption=f"Of the angle between two terms' gradients: 1 pulls alike, below 0 one undoes the other's work.{which}",
    )  # fmt: skip
    speed, memory = curves.series("steps_per_second", color=None), curves.series("memory", color=None)
    small.append(line_chart("steps per second", [speed], caption="between logged steps", spans=spans, zero=True))
    small.append(line_chart("memory", [memory], caption="GB, when a step was logged", spans=spans, zero=True))
    return {
        "large": [chart for chart in (objective, gradients, cosines) if chart],
        "small": [chart for chart in small if chart],
        "layers": _layer_charts(view),
    }


def _strength(series: Series) -> float:
    sizes = [abs(value) for value in series.y if math.isfinite(value)]
    return sum(sizes) / len(sizes) if sizes else 0.0


def _layer_charts(view: RunView) -> list[Chart]:
    """Per verifier, by what fraction each layer's statistics are off."""
    charts = []
    for column, title in enumerate(("Layer means", "Layer variances")):
        series = [
            Series(v.short, list(range(1, len(rows) + 1)), [row[column] for row in rows], color=i)
            for i, v in enumerate(view.verdicts)
            if (rows := v.verdict.norm_distances)
        ]
        caption = "How far the images' batch-norm statistics are off the training set's, as a fraction, layer by layer."
        chart = line_chart(title, series, caption=caption, x_label="layer", scales=("log", "linear"), zero=True)
        charts += [chart] if chart else []
    return charts


def comparison_charts(names: Sequence[str], views: Sequence[RunView]) -> list[Chart]:
    """Every run's total and terms over its steps, one chart of each."""

    def overlay(title: str, caption: str, series: Sequence[Series]) -> Chart | None:
        return line_chart(title, [s for s in series if s.x], caption=caption, scales=("log", "linear"))

    runs = list(enumerate(zip(names, views, strict=True)))
    totals = [view.curves.series("total", name=name, color=i) for i, (name, view) in runs]
    charts = [overlay("total", "the weighted sum of all terms", totals)]
    for term in dict.fromkeys(term for view in views for term in view.curves.terms):
        series = [view.curves.series("value", term, name=name, color=i) for i, (name, view) in runs]
        charts.append(overlay(term, "without its weight", series))
    return [chart for chart in charts if chart]


def _setting_rows(views: list[RunView]) -> list[dict[str, Any]]:
    """Every setting of any run, with the runs' values beside each other; those that differ first."""
    tables = [
        {f"{title} · {key}": text for title, rows in settings(view.config) for key, text in rows} for view in views
    ]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = []
    for key in keys:
        values = [table.get(key, "") for table in tables]
        rows.append({"key": key, "values": values, "differs": len(set(values)) > 1})
    return sorted(rows, key=lambda row: not row["differs"])


def _image_rows(views: list[RunView]) -> list[dict[str, Any]]:
    """Images of the same class (and the same place among that class's) beside each other."""
    rows: dict[tuple[str, int], list[ImageView | None]] = {}
    for column, view in enumerate(views):
        seen: dict[str, int] = {}
        for image in view.gallery.images:
            name = image.class_name
            place = seen[name] = seen.get(name, -1) + 1
            rows.setdefault((name, place), [None] * len(views))[column] = image
    return [{"class_name": name, "cells": cells} for (name, _), cells in rows.items()]


def _distinct_names(views: list[RunView]) -> list[str]:
    names = [view.name for view in views]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


@functools.cache
def environment() -> jinja2.Environment:
    """Where templates are found, and the filters that they use; one for all pages, so that templates are compiled once."""
    # Everything is escaped: class names, file names and configs are other people's text.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jinv.report"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["share"] = whole_percent
    environment.filters["percent"] = lambda x: f"{100 * x:.0f}"
    environment.filters["number"] = format_number
    environment.filters["count"] = count_text
    environment.filters["kin"] = kin_text
    environment.filters["accuracy"] = accuracy_text
    environment.filters["confidence"] = confidence_text
    return environment
