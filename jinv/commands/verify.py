"""`jinv verify`: are the files of a run, or of whatever else jinv makes, as they were written?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jinv.commands.arguments import add_plugins, vocabulary_of
from jinv.errors import UsageError, legible

if TYPE_CHECKING:
    from jinv.images.folder import Watch
    from jinv.record.verify import Finding

HELP = "find what is missing, altered, orphaned or half-written in a run, sweep, search, training or distillation, and make a run's again"
SHOWN = 50


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    what = "the directory of a run, a sweep, a search, a training or a distillation, finished or not"
    command.add_argument("run", type=Path, metavar="RUN", help=what)
    command.add_argument("--repair", action="store_true", help="make just those batches of a run again that it takes")
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.console import Waiting, make_console
    from jinv.record.verify import refusal

    console, directory = make_console(stderr=True), arguments.run
    if arguments.repair:
        _check_repair(directory)
        from jinv.commands.compilation import ready_to_compute
        from jinv.runs.repair import repair

        ready_to_compute()
        found = repair(directory, console, vocabulary_of(arguments))
    else:
        with Waiting(console) as waiting:
            found = _found(directory, waiting.watch)
    for finding in found[:SHOWN]:
        print(legible(str(finding)))
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN} more")
    error = refusal(directory, found)
    if error is not None and not arguments.repair:
        raise error
    print(legible(f"{directory}: {'every file is as it was written' if error is None else 'repaired'}"))
    return 0


def _found(directory: Path, watch: "Watch") -> "list[Finding]":
    """What is wrong with whatever lies there."""
    from jinv.record.kinds import JOURNAL, kind_of
    from jinv.record.status import settings_in
    from jinv.record.verify import verify
    from jinv.record.verify_distillation import verify_distillation
    from jinv.record.verify_settings import verify_settings
    from jinv.record.verify_training import verify_training

    match kind_of(directory):
        case "training":
            return verify_training(directory)
        case "distillation":
            return verify_distillation(directory, watch)
        case "search" | "sweep" as kind:
            return verify_settings(directory, kind, watch)
        case None if settings_in(
            directory
        ):  # a sweep's record comes at its end, a search's is there from the beginning
            return verify_settings(directory, "search" if (directory / JOURNAL).exists() else "sweep", watch)
        case _:
            return verify(directory, watch)


def _check_repair(directory: Path) -> None:
    """Raises UsageError: it is no run, but something that is mended in another way."""
    from jinv.record.kinds import INSTEAD, kind_of

    if (kind := kind_of(directory)) in INSTEAD:
        instead = INSTEAD[kind].mends.format(path=directory)
        raise UsageError(f"--repair: {directory} is a {kind}, and repairs are of runs; {instead}")
