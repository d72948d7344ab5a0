"""`jinv merge`: complete a run whose images were made by workers."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, vocabulary_of
from jinv.commands.compilation import ready_to_compute

HELP = "complete a run whose images jinv worker made: put them together, judge, report, seal"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("run", type=Path, metavar="DIR", help="the run's directory")
    add_plugins(command, "here a run needs it whose config names a metric of it")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    ready_to_compute()
    from jinv.console import make_console
    from jinv.report.text import print_result
    from jinv.runs.completion import merge

    directory = merge(arguments.run, console=make_console(stderr=True), vocabulary=vocabulary_of(arguments))
    print_result(directory.path)
    return 0
