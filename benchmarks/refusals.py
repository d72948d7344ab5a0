"""What every benchmark refuses in one line, exit code 2, before it works for minutes: options that could only end in a traceback."""

import argparse

from jinv.errors import UsageError
from jinv.models.registry import get_architecture


def refuse_problem(parser: argparse.ArgumentParser, model: str, size: int) -> None:
    """Where there is no such network, or it takes no images of so few pixels."""
    try:
        smallest = get_architecture(model).min_size
    except UsageError as error:
        parser.error(str(error))
    if size < smallest:
        parser.error(f"--size {size}: {model} takes {smallest} px or more")


def refuse_places(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """Where what is measured could not be written: each a file's path, or None."""
    for name in names:
        path = getattr(options, name)
        if path and not path.parent.is_dir():
            parser.error(f"--{name} {path}: no folder {path.parent}")


def refuse_amounts(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """Where nothing would be measured: each a number, several, or None."""
    for name in names:
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and value <= 0:
                parser.error(f"--{name.replace('_', '-')} {value}: above 0")
