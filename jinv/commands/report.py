"""`jinv report`: pages of runs that are there, and of trainings, distillations, searches and sweeps."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jinv.errors import StorageError, UnsafeInputError, UsageError, legible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinv.record.verify import Finding

HELP = "write a run's report.html, one self-contained page, or the page of a training, distillation, search or sweep; several runs side by side"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    out = "where several runs' comparison goes (default: comparison.html)"
    command.add_argument("--out", type=Path, metavar="FILE", help=out)
    command.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also all runs on one picture, by class column")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.files import check_writable
    from jinv.record.kinds import COMPARISON, kind_of
    from jinv.report.page import write_comparison, write_report

    for path in arguments.runs if len(arguments.runs) > 1 or arguments.sheet else ():
        if (kind := kind_of(path)) not in ("run", None):
            raise UsageError(
                f"{path}: is a {kind}; runs alone are shown side by side, and {kind} pages are written one by one"
            )
    if arguments.out and len(arguments.runs) == 1:
        raise UsageError("--out: is for the comparison of several runs; one run's report goes into its directory")
    if arguments.sheet and arguments.sheet.suffix.lower() not in (".jpg", ".jpeg"):
        raise UsageError(f"--sheet {arguments.sheet}: is a JPEG, give it a name that ends in .jpg")
    out = (arguments.out or Path(COMPARISON)) if len(arguments.runs) > 1 else None
    for written in filter(None, (out, arguments.sheet)):
        check_writable(written)
    for path in arguments.runs:
        print(legible(str(_write_other(path) or write_report(path))))
    if out is not None:
        print(legible(str(write_comparison(arguments.runs, out))))
    if arguments.sheet:
        from jinv.reproduce.pages import write_contact_sheet

        print(legible(str(write_contact_sheet(arguments.runs, arguments.sheet))))
    return 0


def _write_other(path: Path) -> Path | None:
    """Write the page of what is no run; None where it is one, or nothing of jinv's.

    Raises:
      StorageError, UnsafeInputError: as those who write the pages. RunConflictError: another version's.
    """
    from jinv.record.distillation import read_distillation
    from jinv.record.kinds import kind_of
    from jinv.record.training import read_training_record

    kind = kind_of(path)
    if kind == "training" and (training := read_training_record(path)) is not None:
        from jinv.record.verify_training import verify_shown
        from jinv.report.training import write_training_page

        _refuse_damaged(path, verify_shown(path))
        return write_training_page(path, training)
    if kind == "distillation" and (distillation := read_distillation(path)) is not None:
        from jinv.console import Waiting, make_console
        from jinv.record.verify_distillation import verify_shown_of_all
        from jinv.report.distillation import write_distillation_page

        with Waiting(make_console(stderr=True)) as waiting:
            _refuse_damaged(path, verify_shown_of_all(path, waiting.watch))
        return write_distillation_page(path, distillation)
    if kind == "search" or kind == "sweep":
        return _write_settings(path, kind)
    return None


def _refuse_damaged(path: Path, found: "Sequence[Finding]") -> None:
    """Draw no page of what is damaged.

    Raises:
      StorageError, UnsafeInputError: it is.
    """
    from jinv.record.verify import refusal

    if (error := refusal(path, found)) is not None:
        raise error


def _write_settings(path: Path, kind: Literal["search", "sweep"]) -> Path:
    """Write comparison.html of a search or a sweep again."""
    from jinv.record.entry import read_json
    from jinv.record.kinds import COMPARISON, RECORDS
    from jinv.report.settings_page import write_settings_page
    from jinv.runs.search_summary import search_table
    from jinv.runs.sweep_summary import settings_table

    record = path / RECORDS[kind]
    try:
        table = (search_table if kind == "search" else settings_table)(read_json(record), path)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:  # edited by somebody
        raise UnsafeInputError(f"{record}: is not as it was written: {type(error).__name__}: {error}") from error
    if not any(row.run is not None for row in table.rows):
        raise StorageError(f"{path}: nothing of the {kind} is done yet that has images")
    return write_settings_page(table, path / COMPARISON)
