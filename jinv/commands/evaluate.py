"""`jinv evaluate`: other networks judge a run's images, or real ones, and metrics of one's own are taken of them."""

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

from jinv.commands.arguments import add_plugins, check_output, vocabulary_of
from jinv.commands.compilation import ready_to_compute
from jinv.errors import UsageError

HELP = "let other networks judge a run's images, or real images alone, and measure them by metrics of your own"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    run_help = "a run's directory; or a folder or zip of real images, of which the networks' accuracy is printed"
    command.add_argument("run", type=Path, metavar="RUN", help=run_help)
    verifier = (
        "who judges; strangers to the inverted network say most (default: those of the run's config): a name of jinv "
        "models, a published network such as mobilenet_v2, which is fetched once, a converted file, or FILE.onnx with "
        "FILE.toml beside it"
    )
    command.add_argument("--verifier", nargs="+", action="extend", default=[], metavar="NAME_OR_FILE", help=verifier)
    reference = "real images to compare with (default: those of the run's config)"
    command.add_argument("--reference", type=Path, metavar="FOLDER_OR_ZIP", help=reference)
    photographs = "real images of the run's classes, judged too: the ceiling (default: those of the run's config)"
    command.add_argument("--photographs", type=Path, metavar="FOLDER_OR_ZIP", help=photographs)
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="for real images alone: write what was found as JSON"
    )
    metrics = "here every metric of it is taken, beside those of the run's config; with no verifier anywhere, alone"
    add_plugins(command, metrics)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    _check_kind(arguments.run)
    ready_to_compute()
    from jinv.console import make_console
    from jinv.report.text import print_evaluation
    from jinv.runs.evaluate import evaluate

    console = make_console(stderr=True)
    if _holds_images_alone(arguments.run):
        return _judge_images(arguments, console)
    if arguments.json is not None:
        raise UsageError("--json: is for real images alone; what is said of a run is in its evaluation.json")
    evaluation = evaluate(
        arguments.run,
        arguments.verifier,
        reference=arguments.reference,
        photographs=arguments.photographs,
        console=console,
        vocabulary=vocabulary_of(arguments),
    )
    print_evaluation(evaluation)
    return 0


def _check_kind(path: Path) -> None:
    """Refuse what holds runs or a network; as a folder of images all of its runs' would be taken for real ones.

    Raises:
      UsageError: it is such a directory; what to do instead.
    """
    from jinv.record.kinds import INSTEAD, kind_of

    if (kind := kind_of(path)) in INSTEAD:
        instead = INSTEAD[kind].judges.format(path=path)
        raise UsageError(f"{path}: evaluate judges runs and images, and this is a {kind}; {instead}")


def _holds_images_alone(path: Path) -> bool:
    """Is it a zip, or a folder with images somewhere in it and no manifest? What is neither is refused as no run."""
    from jinv.images.folder import MANIFEST, open_image_folder

    if path.is_file():
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    if not path.is_dir() or (path / MANIFEST).exists():
        return False
    try:
        open_image_folder(path)
    except UsageError:
        return False
    return True


def _judge_images(arguments: argparse.Namespace, console: Any) -> int:
    from jinv.console import Waiting, make_console
    from jinv.experiment.metrics import bind_metrics, with_named
    from jinv.files import is_stream, write_text
    from jinv.images.folder import MANIFEST
    from jinv.judge.photographs import evaluate_photographs
    from jinv.report.text import print_control
    from jinv.runs.progress import teller

    for option in ("reference", "photographs"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option}: is for a run, and {arguments.run} is none (no {MANIFEST})")
    if arguments.json is not None:
        check_output(arguments.json, "--json")
    vocabulary = vocabulary_of(arguments)
    metrics = bind_metrics(with_named({}, vocabulary), vocabulary)
    with Waiting(console) as waiting:
        control = evaluate_photographs(
            arguments.run, arguments.verifier, metrics=metrics, say=teller(console), watch=waiting.watch
        )
    print_control(control, make_console(stderr=arguments.json is not None and is_stream(arguments.json)))
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(control.to_json(), indent=1) + "\n")
    return 0
