"""`jinv verify`: are the files of a run, a training or a distillation as they were written?"""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, vocabulary_of
from jinv.errors import JinvError, StorageError, UnsafeInputError, UsageError, legible

HELP = "find what is missing, altered, orphaned or half-written in a run, a training or a distillation, and make a run's again"
SHOWN = 50

_INSTEAD = {
    "training": "jinv train CONFIG --out {} --resume makes again what an unfinished one needs; a finished one's files are put back, or it is trained anew",
    "distillation": "jinv distill CONFIG --out {} --resume makes students again, and jinv verify RUN --repair a run",
}
"""What makes again what a training or a distillation lacks."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument(
        "run", type=Path, metavar="RUN", help="the directory of a run, a training or a distillation, finished or not"
    )
    command.add_argument("--repair", action="store_true", help="make just those batches again that it takes")
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.console import Waiting, make_console
    from jinv.record.kinds import kind_of
    from jinv.record.verify import verify
    from jinv.record.verify_training import verify_distillation, verify_training

    console, kind = make_console(stderr=True), kind_of(arguments.run)
    instead = _INSTEAD.get(kind or "", "").format(arguments.run)
    if arguments.repair and instead:
        raise UsageError(f"--repair: {arguments.run} is a {kind}, and repairs are of runs; {instead}")
    if arguments.repair:
        from jinv.commands.compilation import keep_compiled
        from jinv.runs.repair import repair

        keep_compiled()
        found = repair(arguments.run, console, vocabulary_of(arguments))
    else:
        with Waiting(console) as waiting:
            if kind == "training":
                found = verify_training(arguments.run)
            elif kind == "distillation":
                found = verify_distillation(arguments.run, waiting.watch)
            else:
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
    refuse: type[JinvError] = UnsafeInputError if altered else StorageError
    many = f"{len(wrong)} files are" if len(wrong) > 1 else "a file is"
    raise refuse(f"{arguments.run}: {many} not as written; {instead or 'jinv verify --repair makes them again'}")
