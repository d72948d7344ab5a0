"""The command `jinv reproduce`: its arguments, and what they become. Importing it loads neither jax nor a model."""

import argparse
from pathlib import Path

from jinv.errors import UsageError, nearest


def add_reproduce_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `jinv reproduce`."""
    command.add_argument(
        "folder", type=Path, nargs="?", metavar="CONFIG_FOLDER", help="configs with a sheets.toml beside them"
    )
    command.add_argument("--preset", default="quick", metavar="quick|full",
                         help="quick: embedded networks, few steps, under an hour on two cores; full: the published size")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<folder's name>-<preset>")
    command.add_argument("--only", default="", metavar="4.4,4.5", help="these figures alone")
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="key.path=value", dest="overrides",
                         help="change a config value in every run, such as --set image.count=28")  # fmt: skip
    command.add_argument("--standard", type=Path, metavar="FILE", help="a standard network, converted or a checkpoint")
    command.add_argument("--robust", type=Path, metavar="FILE", help="its robust twin, converted or a checkpoint")
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE",
                         help="who judges the images of --standard and --robust")  # fmt: skip
    command.add_argument(
        "--reference", type=Path, metavar="FOLDER_OR_ZIP", help="real images of --standard and --robust"
    )
    command.add_argument(
        "--photograph", type=Path, metavar="FILE", help="a photograph of a golden retriever, figure 3.1"
    )


def run_reproduce(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    folder, overrides = arguments.folder, list(arguments.overrides)
    if folder is None and overrides and "=" not in overrides[-1]:
        folder = Path(overrides.pop())  # `--set a=b FOLDER`: argparse gave --set one word too many
    if folder is None:
        raise UsageError("reproduce: which CONFIG_FOLDER? For example: jinv reproduce configs/thesis")
    presets = ("quick", "full")
    if arguments.preset not in presets:
        raise UsageError(
            f"--preset {arguments.preset}: no such preset{nearest(arguments.preset, presets)} (known: quick, full)"
        )
    from jinv.reproduce.carry_out import reproduce
    from jinv.reproduce.plan import Choices
    from jinv.weights.load import converted_file

    files = {option: getattr(arguments, option) for option in ("standard", "robust")}
    choices = Choices(
        arguments.preset,
        tuple(overrides),
        {option: converted_file(file) for option, file in files.items() if file is not None},
        tuple(str(converted_file(v)) if Path(v).is_file() else v for v in arguments.verifier),
        arguments.reference,
        arguments.photograph,
    )
    out = arguments.out or Path("runs") / f"{folder.name}-{arguments.preset}"
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    index = reproduce(folder, out, choices, only=only)
    print(f"\nfigures and findings   {index}")
    return 0
