"""`jinv evaluate`: other networks judge a run's images."""

import argparse
from pathlib import Path

from jinv.commands.compilation import keep_compiled

HELP = "let independent networks judge a run's images"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    command.add_argument("run", type=Path, metavar="RUN")
    verifier = (
        "networks that judge the images (default: those of the run's config): a name of jinv models, a published network "
        "such as mobilenet_v2, which is fetched once, a converted file, or FILE.onnx with FILE.toml beside it"
    )
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE", help=verifier)
    reference = "real images to compare with (default: those of the run's config)"
    command.add_argument("--reference", type=Path, metavar="FOLDER_OR_ZIP", help=reference)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    keep_compiled()
    from rich.console import Console

    from jinv.report.text import print_evaluation
    from jinv.runs.evaluate import evaluate

    console = Console(stderr=True)
    print_evaluation(evaluate(arguments.run, arguments.verifier, reference=arguments.reference, console=console))
    return 0
