"""`jinv verify`: are a run's files as they were written?"""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, vocabulary_of
from jinv.errors import JinvError, StorageError, UnsafeInputError, legible

HELP = "find what is missing, altered, orphaned or half-written in a run, and make it again"
SHOWN = 50


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("run", type=Path, metavar="RUN", help="a run's directory, finished or not")
    command.add_argument("--repair", action="store_true", help="make just those batches again that it takes")
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.console import Waiting, make_console
    from jinv.record.verify import verify

    console = make_console(stderr=True)
    if arguments.repair:
        from jinv.commands.compilation import keep_compiled
        from jinv.runs.repair import repair

        keep_compiled()
        found = repair(arguments.run, console, vocabulary_of(arguments))
    else:
        with Waiting(console) as waiting:
            found = verify(arguments.run, waiting.watch)
    for finding in found[:SHOWN]:
        print(legible(str(finding)))
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN} more")
    wrong = [finding for finding in found if finding.kind in ("missing", "altered")]
    if not wrong:
        print(legible(f"{arguments.run}: every file is as it was written"))
        return 0
    if arguments.repair:
        print(legible(f"{arguments.run}: repaired"))
        return 0
    altered = any(finding.kind == "altered" for finding in wrong)
    kind: type[JinvError] = UnsafeInputError if altered else StorageError
    many = f"{len(wrong)} files are" if len(wrong) > 1 else "a file is"
    raise kind(f"{arguments.run}: {many} not as written; jinv verify --repair makes them again")
