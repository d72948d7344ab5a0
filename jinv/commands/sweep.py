"""`jinv sweep`: one experiment in many settings."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_log, add_plugins, add_positional, add_words, log_override, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError, legible

HELP = "one experiment in many settings, side by side in one program, and what compares them"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "config", "CONFIG.toml")
    vary = (
        "every combination of these values; numbers of terms, augmentations, learning rates, schedules, betas, and "
        "seeds and labels run in one program, anything else in one of its own"
    )
    add_words(command, "--vary", "key.path=[value,...]", vary, positional="config", dest="vary")
    zip_help = "pair the values instead: the first of each, the second ..."
    command.add_argument("--zip", action="store_true", help=zip_help)
    set_help = "change a config value in every setting"
    add_words(command, "--set", "key.path=value", set_help, positional="config", dest="overrides")
    add_log(command)
    at_once = "at most K settings at a time; each takes the memory of a run (default: all)"
    command.add_argument("--at-once", type=int, metavar="K", help=at_once)
    command.add_argument("--resume", action="store_true", help="continue an interrupted sweep in DIR")
    add_plugins(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="its directory (default: runs/<config name>_sweep)")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.recipe.packaged import check_packaged_files, find_config
    from jinv.recipe.variations import read_variations

    if arguments.config is None:
        raise UsageError("sweep: which CONFIG.toml? For example: jinv sweep demo --vary seed=[0,1,2]")
    if arguments.at_once is not None and arguments.at_once < 1:
        raise UsageError(f"--at-once: {arguments.at_once} must be a whole number of at least 1")
    config = find_config(arguments.config)
    overrides = [*arguments.overrides, *log_override(arguments)]
    variations = read_variations(config, arguments.vary, overrides=overrides, zipped=arguments.zip)
    for variation in variations:
        check_packaged_files(config, variation.recipe)
    out = arguments.out or Path("runs") / f"{config.stem}_sweep"
    ready_to_compute()
    from jinv.record.kinds import COMPARISON
    from jinv.runs.sweep import RECORD, run_sweep
    from jinv.runs.sweep_summary import print_summary

    vocabulary = vocabulary_of(arguments)
    print_summary(run_sweep(variations, out, at_once=arguments.at_once, resume=arguments.resume, vocabulary=vocabulary))
    print(legible(f"settings   {out / RECORD}"))
    if (out / COMPARISON).exists():
        print(legible(f"comparison {out / COMPARISON}"))
    return 0
