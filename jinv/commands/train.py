"""`jinv train`: a network from images, standard, adversarial, or taught by another one."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_training, log_override, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError

HELP = "train a network on a folder, a zip or a run: standard, adversarial, or taught by another network"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_training(command, "training", "epochs=10 train=FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    if arguments.config is None:
        raise UsageError("train: which CONFIG.toml? For example: jinv train training/cifar10_resnet20")
    from jinv.recipe.packaged import TRAININGS, check_files, find_config
    from jinv.recipe.training import TrainingRecipe, read_training

    config = find_config(arguments.config, TRAININGS)
    recipe = read_training(config, TrainingRecipe, (*arguments.overrides, *log_override(arguments)))
    check_files(config, recipe.files)
    ready_to_compute()
    from jinv.console import make_console
    from jinv.report.training import print_training
    from jinv.students.train import train

    out = arguments.out or Path("runs") / config.stem
    train(recipe, out, resume=arguments.resume, console=make_console(stderr=True), vocabulary=vocabulary_of(arguments))
    print_training(out)
    return 0
