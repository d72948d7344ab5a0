"""What every benchmark refuses in one line, exit code 2, before it works for minutes: options that could only end in a traceback."""

import argparse
import math

from jinv.errors import UsageError
from jinv.models.registry import get_architecture


def refuse_model(parser: argparse.ArgumentParser, model: str) -> int:
    """Where there is no such network; the fewest pixels of an image that it takes."""
    try:
        return get_architecture(model).min_size
    except UsageError as error:
        parser.error(str(error))


def refuse_problem(parser: argparse.ArgumentParser, model: str, size: int) -> None:
    """Where there is no such network, or it takes no images of so few pixels."""
    smallest = refuse_model(parser, model)
    if size < smallest:
        parser.error(f"--size {size}: {model} takes {smallest} px or more")


def refuse_places(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str, suffix: str = "") -> None:
    """Where what is measured could not be written: each a file's path, or None; a picture's suffix is its format."""
    for name in names:
        path = getattr(options, name)
        if path is None:
            continue
        option = f"--{name.replace('_', '-')} {path}"
        if path.is_dir():
            parser.error(f"{option}: a folder")
        if not path.parent.is_dir():
            parser.error(f"{option}: no folder {path.parent}")
        if suffix and path.suffix != suffix:
            parser.error(f"{option}: FILE{suffix}")


def refuse_amounts(
    parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str, least: int | None = None
) -> None:
    """Where nothing would be measured: each a number, several, or None."""
    for name in names:
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is None:
                continue
            if not 0 < value < math.inf or (least is not None and value < least):
                said = "above 0" if least is None else f"{least} or more"
                parser.error(f"--{name.replace('_', '-')} {value}: {said}")
