"""The page of a sweep or of a search: a table to sort, parallel axes, and every setting's images class by class.

Everything is readable without its script, which sorts, and highlights a setting everywhere at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinv.files import write_text
from jinv.images.sample import sample_by_class
from jinv.report.gallery import ImageView, Room
from jinv.report.page import COMPARED_BYTES, MOST_RUNS, comparison_charts, environment
from jinv.report.settings import SettingRow, SettingsTable, parallel_axes
from jinv.report.view import RunView, read_run

MOST_ROWS, MOST_CELLS = 200, 800
"""Settings whose images are shown, the best ones, and images of all of them."""

LARGEST_IMAGE = 20_000
"""Bytes of one image there, about; a page of few settings does not carry what a run's own page shows."""


class MatrixRow(NamedTuple):
    """A setting's images, by column of the matrix; None where it has none of that class."""

    row: int
    setting: SettingRow
    cells: list[ImageView | None]


class Matrix(NamedTuple):
    """A column per class, or per image of a class where there are several; `said` is what is left out, "" for nothing."""

    columns: list[str]
    rows: list[MatrixRow]
    said: str


def write_settings_page(table: SettingsTable, out: str | Path) -> Path:
    """Write the page; returns its path.

    Raises:
      StorageError: a run cannot be read, or the page not written. UnsafeInputError: a damaged record or picture.
    """
    with_images = [(place, row) for place, row in enumerate(table.rows) if row.run is not None]
    shown = with_images[:MOST_ROWS]
    each = max(MOST_CELLS // max(len(shown), 1), 1)
    room = Room(each, min(COMPARED_BYTES // max(len(shown), 1), each * LARGEST_IMAGE), min(each, 4))
    views = [read_run(row.run, room=room) for _, row in shown if row.run is not None]
    curves = sample_by_class(range(len(views)), MOST_RUNS)
    axes, lines = parallel_axes(table)
    text = (
        environment()
        .get_template("settings.html.j2")
        .render(
            table=table,
            axes=axes,
            lines=lines,
            matrix=_matrix(shown, views, len(with_images)),
            charts=comparison_charts([shown[place][1].name for place in curves], [views[place] for place in curves]),
            curves=len(curves),
        )
    )
    write_text(out, text)
    return Path(out)


def _matrix(shown: Sequence[tuple[int, SettingRow]], views: Sequence[RunView], settings: int) -> Matrix:
    found: list[dict[tuple[str, int], ImageView]] = []
    for view in views:
        cells: dict[tuple[str, int], ImageView] = {}
        seen: dict[str, int] = {}
        for image in view.gallery.images:
            place = seen[image.class_name] = seen.get(image.class_name, -1) + 1
            cells[image.class_name, place] = image
        found.append(cells)
    keys = list(dict.fromkeys(key for cells in found for key in cells))
    rows = [MatrixRow(at, row, [cells.get(k) for k in keys]) for (at, row), cells in zip(shown, found, strict=True)]
    said = []
    if len(shown) < settings:
        said.append(f"The images of the best {len(shown)} of {settings} settings are shown.")
    if any(view.gallery.sampled for view in views):
        said.append("Of every setting those of as many classes are shown as there is room for.")
    return Matrix([name for name, _ in keys], rows, " ".join(said))
