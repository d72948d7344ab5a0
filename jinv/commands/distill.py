"""`jinv distill`: what images are worth to train on."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_training, log_override, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError

HELP = "train students on each of several sources of images, and test them on real ones: what the images are worth"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_training(command, "distillation", "count=500 teacher=FILE")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    if arguments.config is None:
        raise UsageError("distill: which CONFIG.toml? For example: jinv distill distillation/cifar10")
    from jinv.recipe.packaged import DISTILLATIONS, check_files, find_config
    from jinv.recipe.training import DistillationRecipe, read_training

    config = find_config(arguments.config, DISTILLATIONS)
    recipe = read_training(config, DistillationRecipe, (*arguments.overrides, *log_override(arguments)))
    check_files(config, recipe.files)
    ready_to_compute()
    from jinv.console import make_console
    from jinv.report.distillation import print_distillation
    from jinv.students.distill import distill

    out = arguments.out or Path("runs") / config.stem
    record = distill(
        recipe, out, resume=arguments.resume, console=make_console(stderr=True), vocabulary=vocabulary_of(arguments)
    )
    print_distillation(record, out)
    return 0
