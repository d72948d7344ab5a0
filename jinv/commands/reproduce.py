"""`jinv reproduce`: a folder of experiments as a whole."""

import argparse
from pathlib import Path

from jinv.commands.arguments import add_plugins, add_positional, add_words, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError, legible, naming_option, nearest

HELP = "carry out a folder of experiments: a sheet per figure, findings in numbers"
PRESETS = ("quick", "full")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_positional(command, "folder", "CONFIG_FOLDER", "configs with a sheets.toml beside them")
    preset = "quick: embedded networks, few steps, under an hour on two cores; full: the published size"
    command.add_argument("--preset", default="quick", metavar="|".join(PRESETS), help=preset)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<folder's name>-<preset>")
    command.add_argument("--only", default="", metavar="4.4,4.5", help="these figures alone")
    set_help = "change a config value in every run, such as --set image.count=28"
    add_words(command, "--set", "key.path=value", set_help, positional="folder", dest="overrides")
    command.add_argument("--standard", type=Path, metavar="FILE", help="a standard network, converted or a checkpoint")
    command.add_argument("--robust", type=Path, metavar="FILE", help="its robust twin, converted or a checkpoint")
    verifier = "who judges the images of --standard and --robust"
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE", help=verifier)
    reference = "real images of --standard and --robust"
    command.add_argument("--reference", type=Path, metavar="FOLDER_OR_ZIP", help=reference)
    photograph = "a photograph of a golden retriever, figure 3.1"
    command.add_argument("--photograph", type=Path, metavar="FILE", help=photograph)
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    from jinv.recipe.packaged import find_folder

    if arguments.folder is None:
        raise UsageError("reproduce: which CONFIG_FOLDER? For example: jinv reproduce thesis")
    folder = find_folder(arguments.folder)
    if arguments.preset not in PRESETS:
        raise UsageError(
            f"--preset {arguments.preset}: no such preset{nearest(arguments.preset, PRESETS)} (known: quick, full)"
        )
    ready_to_compute()
    from jinv.reproduce.carry_out import reproduce
    from jinv.reproduce.plan import Choices
    from jinv.weights.load import converted_file

    converted = {}
    for option in ("standard", "robust"):
        if (file := getattr(arguments, option)) is not None:
            with naming_option(f"--{option}"):
                converted[option] = converted_file(file)
    verifiers = tuple(map(_verifier, arguments.verifier))
    _check_images(arguments)
    choices = Choices(
        arguments.preset,
        tuple(arguments.overrides),
        converted,
        verifiers,
        arguments.reference,
        arguments.photograph,
    )
    out = arguments.out or Path("runs") / f"{folder.name}-{arguments.preset}"
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    index = reproduce(folder, out, choices, only=only, vocabulary=vocabulary_of(arguments))
    print(legible(f"\nfigures and findings   {index}"))
    return 0


def _verifier(name: str) -> str:
    """What a run's config calls a verifier: of a file its path, of a checkpoint that of the converted one."""
    from jinv.recipe.paths import is_onnx
    from jinv.weights.load import converted_file

    if is_onnx(name):
        return str(Path(name).resolve())
    with naming_option("--verifier"):
        return str(converted_file(name)) if Path(name).is_file() else name


def _check_images(arguments: argparse.Namespace) -> None:
    """Before hours of runs: are the real images there that are asked for?"""
    from jinv.images.codec import read_image
    from jinv.images.folder import open_image_folder

    if arguments.reference is not None:
        with naming_option("--reference"):
            open_image_folder(arguments.reference)
    if arguments.photograph is not None:
        with naming_option("--photograph"):
            read_image(arguments.photograph)
