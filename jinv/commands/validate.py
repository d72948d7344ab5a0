"""`jinv validate`: a conversion proved against PyTorch; the converter has the arguments and the work."""

import argparse

from jinv.commands.compilation import ready_to_compute
from jinv_convert.commands import add_validate_arguments as add_arguments
from jinv_convert.commands import run_validate

__all__ = ["HELP", "add_arguments", "run"]

HELP = "prove a conversion against PyTorch, layer by layer"


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code."""
    ready_to_compute()
    return run_validate(arguments)
