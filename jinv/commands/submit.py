"""`jinv submit`: a run by many tasks, of a SLURM cluster or of this machine."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, add_positional, add_words, read_recipe
from jinv.errors import UsageError, legible, nearest

HELP = "give a run to a SLURM cluster: an array of workers that share it, and a job after them that completes it"

CLUSTERS = ("slurm", "local")
MOST_TASKS = 10_000


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "config", "CONFIG.toml")
    set_help = "change a config value, such as --set image.count=50000"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    command.add_argument("--array", type=int, metavar="N", help="how many workers", required=True)
    out = "the run directory, on a file system that all see (default: runs/<config name>); scripts and logs go to DIR.jobs"
    command.add_argument("--out", type=Path, metavar="DIR", help=out)
    cluster = "SLURM's, through submitit (the default), or tasks on this machine, which are waited for"
    command.add_argument("--cluster", default="slurm", metavar="slurm|local", help=cluster)
    command.add_argument("--partition", metavar="NAME", help="SLURM's partition (default: the cluster's)")
    time = (
        "the time of each task, as sbatch takes it: 90, 2:00:00, 1-12; it goes on in the next (default: the cluster's)"
    )
    command.add_argument("--time", metavar="TIME", help=time)
    slurm = "any other option of sbatch, such as --slurm gres=gpu:1 mem=16G exclusive=true"
    add_words(command, "--slurm", "key=value", slurm, positional="config", dest="slurm")
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.experiment.plugin_names import named_plugins
    from jinv.record.status import submitted
    from jinv.runs import submit

    if arguments.config is None:
        raise UsageError("submit: which CONFIG.toml? For example: jinv submit demo --array 4 --out runs/demo")
    if not 1 <= arguments.array <= MOST_TASKS:
        raise UsageError(f"--array {arguments.array}: from 1 to {MOST_TASKS} tasks")
    if arguments.cluster not in CLUSTERS:
        hint = nearest(arguments.cluster, CLUSTERS)
        raise UsageError(f"--cluster {arguments.cluster}: no such cluster{hint} (known: {', '.join(CLUSTERS)})")
    options = submit.check_options(_options(arguments))
    if options and arguments.cluster == "local":
        raise UsageError(f"--cluster local: has no {next(iter(options))}; that is an option of SLURM's")
    recipe, out = read_recipe(arguments)
    if not submit.check_directory(out, recipe):
        print(legible(f"{out}: already finished"))
        return 0
    plugins = [name for name, _ in named_plugins(*arguments.plugins)]
    watch = f"jinv status {out} --watch 10"
    if arguments.cluster == "local":
        print(legible(f"logs     {submitted(out)}\nwatch    {watch}"), flush=True)
        from jinv.console import make_console, say

        console = make_console(stderr=True)
        return submit.carry_out_here(recipe, out, arguments.array, lambda text: say(console, text), plugins)
    jobs = submit.submit(recipe, out, arguments.array, options, plugins)
    last = f" to {jobs.tasks[-1]}" if len(jobs.tasks) > 1 else ""
    print(legible(f"tasks    {jobs.tasks[0]}{last}\nmerge    {jobs.merge}, once they have ended"))
    print(legible(f"logs     {jobs.logs}\nwatch    {watch}"))
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, str]:
    """All options of sbatch that were given.

    Raises:
      UsageError: one was given twice.
    """
    named = {key: value for key in ("partition", "time") if (value := getattr(arguments, key)) is not None}
    found = dict(named)
    for word in arguments.slurm:
        key, separator, value = word.partition("=")
        if not separator:
            raise UsageError(
                f"--slurm {word}: key=value, for example --slurm mem=16G; key=true for one without a value"
            )
        if key.replace("_", "-") in found:
            raise UsageError(f"--slurm {word}: {key} is given twice")
        found[key.replace("_", "-")] = value
    return found
