"""`jinv report`: pages of runs that are there."""

import argparse
from pathlib import Path

from jinv.errors import UsageError, legible

HELP = "write report.html, one self-contained page; several runs side by side"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    out = "where several runs' comparison goes (default: comparison.html)"
    command.add_argument("--out", type=Path, metavar="FILE", help=out)
    command.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also all runs on one picture, by class column")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.files import check_writable
    from jinv.report.page import write_comparison, write_report

    if arguments.out and len(arguments.runs) == 1:
        raise UsageError("--out: is for the comparison of several runs; one run's report goes into its directory")
    if arguments.sheet and arguments.sheet.suffix.lower() not in (".jpg", ".jpeg"):
        raise UsageError(f"--sheet {arguments.sheet}: is a JPEG, give it a name that ends in .jpg")
    out = (arguments.out or Path("comparison.html")) if len(arguments.runs) > 1 else None
    for written in filter(None, (out, arguments.sheet)):
        check_writable(written)
    for path in arguments.runs:
        print(legible(str(write_report(path))))
    if out is not None:
        print(legible(str(write_comparison(arguments.runs, out))))
    if arguments.sheet:
        from jinv.reproduce.pages import write_contact_sheet

        print(legible(str(write_contact_sheet(arguments.runs, arguments.sheet))))
    return 0
