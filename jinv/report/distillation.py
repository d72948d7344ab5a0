"""distillation.html: what students of each source recognise, beside some of its images; and the same for the command line."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from jinv.console import add, clock_text, make_console, say, table
from jinv.files import write_text
from jinv.images.codec import fit_image, grid_png, read_image
from jinv.images.folder import MANIFEST
from jinv.images.sample import sample_by_class
from jinv.record.config import CONFIG, read_table
from jinv.record.distillation import PAGE, DistillationRecord, Source, run_folder
from jinv.record.estimate import Estimate
from jinv.record.run import open_run
from jinv.report.page import environment, settings

SHOWN, SIDE, ACROSS = 30, 64, 10
"""Pictures of a source on the page, their height and width in pixels, and how many lie side by side."""


def write_distillation_page(directory: Path, record: DistillationRecord) -> Path:
    """Write the distillation's page; returns its path.

    Raises:
      StorageError, UnsafeInputError: what it is made of cannot be read, or it cannot be written.
    """
    path = directory / PAGE
    page = environment().get_template("distillation.html.j2")
    text = page.render(
        name=directory.absolute().name,
        record=record,
        rows=[row_of(source) for source in record.sources],
        sheets=[(source.name, sheet) for source in record.sources if (sheet := _sheet(directory, source))],
        settings=settings(read_table(directory / CONFIG)),
    )
    write_text(path, text)
    return path


def row_of(source: Source) -> dict[str, Any]:
    """A source's line of the table, in words."""
    synthesis = source.synthesis_seconds
    return {
        "source": source,
        "share": percent_text(source.share),
        "behind": "" if source.behind is None else points_text(source.behind),
        "synthesis": "" if synthesis is None else clock_text(synthesis),
        "training": clock_text(sum(student.seconds for student in source.students) / max(len(source.students), 1)),
        "seeds": ", ".join(f"{100 * student.right / student.count:.1f}" for student in source.students),
    }


def percent_text(share: Estimate) -> str:
    """A mean share with its interval, as far as it has one."""
    interval = f" ({100 * share.low:.1f} to {100 * share.high:.1f})" if share.bounded else ""
    return f"{100 * share.value:.1f} %{interval}"


def points_text(difference: Estimate) -> str:
    """A difference of shares in points."""
    interval = f" ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})" if difference.bounded else ""
    return f"{100 * difference.value:+.1f}{interval}"


def _sheet(directory: Path, source: Source) -> str | None:
    """Some of a source's images, of every class as many, as a data URI; none of real ones, which are others' to show."""
    run = run_folder(directory, source.name)
    if not (run / MANIFEST).exists():
        return None
    record = open_run(run)
    files = record.picture_files
    places = sample_by_class([int(label) for label in record.labels[: len(files)]], SHOWN)
    pictures = [fit_image(read_image(run / files[place]), (SIDE, SIDE)) for place in places]
    png = grid_png(np.stack(pictures), columns=min(ACROSS, len(pictures)))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def print_distillation(record: DistillationRecord, directory: Path) -> None:
    """The table on the command line."""
    console = make_console()
    shown = table("images", "students recognise", "minus real images", "synthesis", "a student", "by seed")
    for row in map(row_of, record.sources):
        cells = (row[name] for name in ("share", "behind", "synthesis", "training", "seeds"))
        add(shown, f"{row['source'].name} ({row['source'].images})", *cells)
    console.print(shown)
    teacher = f"{record.teacher_right} of {record.test_images}"
    say(console, f"the teacher itself, {record.teacher}, recognises {teacher}; {directory / PAGE}")
