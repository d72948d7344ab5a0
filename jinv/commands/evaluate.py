"""`jinv evaluate`: other networks judge a run's images."""

import argparse
from pathlib import Path

from jinv.commands.compilation import keep_compiled
from jinv.errors import StorageError, UsageError

HELP = "let independent networks judge a run's images"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("run", type=Path, metavar="RUN")
    verifier = "networks that took no part in the synthesis (default: those of the run's config)"
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE", help=verifier)
    reference = "real images to compare with (default: those of the run's config)"
    command.add_argument("--reference", type=Path, metavar="FOLDER_OR_ZIP", help=reference)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    keep_compiled()
    from jinv.judge.evaluate import evaluate_run
    from jinv.record.directory import RunDirectory
    from jinv.record.run import open_run
    from jinv.report.text import print_evaluation
    from jinv.runs.synthesize import finish

    record = open_run(arguments.run)
    if not record.manifest.finished:
        raise StorageError(f"{arguments.run}: the run is not finished; continue it with jinv synthesize --resume")
    asked = record.config.get("evaluate", {})
    verifiers = list(arguments.verifier) or asked.get("verifiers", [])
    if not verifiers:
        raise UsageError(
            "evaluate: the run's config names no verifiers; give some, such as --verifier efficientnet_lite1"
        )
    result = evaluate_run(arguments.run, verifiers, arguments.reference or asked.get("reference"))
    finish(RunDirectory(record.path), record.manifest)
    print_evaluation(result)
    return 0
