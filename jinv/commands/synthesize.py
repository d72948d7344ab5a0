"""`jinv synthesize`: carry an experiment out."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jinv.commands.arguments import (
    add_amount,
    add_log,
    add_plugins,
    add_positional,
    add_words,
    read_recipe,
    vocabulary_of,
)
from jinv.commands.compilation import ready_to_compute
from jinv.commands.distributed import Gang, add_distributed, gang_of
from jinv.errors import JinvError, UsageError

if TYPE_CHECKING:
    from jinv.recipe.recipe import Recipe

HELP = "carry out an experiment: images of chosen classes from a config"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(
        command, "config", "CONFIG.toml", "a file, or the name of a config that comes with jinv, such as demo"
    )
    set_help = "change a config value, such as --set image.count=4 stages.0.steps=50"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    add_log(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="the run directory (default: runs/<config name>)")
    command.add_argument("--resume", action="store_true", help="continue an interrupted run in DIR")
    memory = "run nothing: print the memory needed and the largest batch in BUDGET (such as 8GB)"
    add_amount(command, "--memory", "BUDGET", memory, positional="config")
    command.add_argument("--replace", action="store_true", help="remove an earlier run in DIR first")
    add_plugins(command)
    add_distributed(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    if arguments.config is None:
        raise UsageError("synthesize: which CONFIG.toml? For example: jinv synthesize demo")
    recipe, out = read_recipe(arguments)
    gang = gang_of(arguments)
    if gang is not None:
        from jinv.commands.supervision import supervised

        late = f"the processes of the job were not together within {gang.timeout} s (--distributed-timeout); start all of them"
        where = f", each with --coordinator {gang.coordinator}" if gang.coordinator else ""
        return supervised(partial(_together, recipe, out, arguments, gang), late + where)
    ready_to_compute()
    if arguments.memory is not None:
        from jinv.experiment.memory import parse_bytes, print_plan

        budget = parse_bytes(arguments.memory) if arguments.memory else None
        print_plan(recipe, budget, vocabulary_of(arguments))
        return 0
    from jinv.console import make_console
    from jinv.report.text import print_result
    from jinv.runs.synthesize import run as carry_out

    console = make_console(stderr=True)
    run_directory = carry_out(
        recipe,
        out,
        resume=arguments.resume,
        replace=arguments.replace,
        console=console,
        vocabulary=vocabulary_of(arguments),
    )
    print_result(run_directory.path)
    return 0


def _together(
    recipe: "Recipe", out: Path, arguments: argparse.Namespace, gang: Gang, together: Callable[[], None]
) -> int:
    """As `run`, as one process of several; `together` is told when they are."""
    from jinv.console import make_console, say
    from jinv.report.text import print_result
    from jinv.runs.allocator import keep_freed_memory
    from jinv.runs.distributed import follow
    from jinv.runs.job import Job, introduction, join
    from jinv.runs.synthesize import run as carry_out

    console = make_console(stderr=True)
    keep_freed_memory()  # before joining starts threads
    join(*gang)
    together()
    ready_to_compute()
    say(console, introduction(gang.coordinator))
    job = Job()
    if not job.leads:
        follow(job, recipe, arguments.plugins)
        return 0
    try:
        vocabulary, resume, replace = vocabulary_of(arguments), arguments.resume, arguments.replace
        run_directory = carry_out(
            recipe, out, resume=resume, replace=replace, console=console, vocabulary=vocabulary, job=job
        )
    except JinvError as error:
        job.end(error.exit_code)
        raise
    job.end()
    print_result(run_directory.path)
    return 0
