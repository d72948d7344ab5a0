"""`jinv worker`: make images of a run that many processes and machines share."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_log, add_plugins, add_positional, add_words, read_recipe, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError

HELP = "make images of a run beside other workers, on this machine or others; jinv merge completes it"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    config_help = "as of jinv synthesize; left out, that of the run in DIR"
    add_positional(command, "config", "CONFIG.toml", config_help)
    set_help = "change a config value, the same for every worker"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    add_log(command)
    out = "the run's directory, on a file system that all workers see; whoever comes first begins it"
    command.add_argument("--out", type=Path, metavar="DIR", help=out)
    lease = (
        "a worker that is not heard of for so long is taken for dead, and what it was at is gone on with (default: 180)"
    )
    command.add_argument("--lease", metavar="SECONDS", help=lease)
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.console import make_console
    from jinv.record.claims import LEASE_S
    from jinv.record.config import CONFIG

    lease = LEASE_S if arguments.lease is None else _seconds(arguments.lease)
    if arguments.config is None:
        if arguments.out is None:
            raise UsageError("worker: which CONFIG.toml, or which run? For example: jinv worker CONFIG.toml --out DIR")
        if not (arguments.out / CONFIG).is_file():
            raise UsageError(f"worker: {arguments.out} has no {CONFIG}: no run was begun there; name the CONFIG.toml")
        arguments.config = arguments.out / CONFIG
    recipe, out = read_recipe(arguments)
    ready_to_compute()
    from jinv.runs.synthesize import work_on

    work_on(recipe, out, lease=lease, console=make_console(stderr=True), vocabulary=vocabulary_of(arguments))
    return 0


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:
        raise UsageError(f"--lease {word}: must be a number of seconds from 1 to 1000000")
    return seconds
