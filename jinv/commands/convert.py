"""`jinv convert`: a PyTorch checkpoint becomes Flax parameters; the converter has the arguments and the work."""

from jinv_convert.commands import add_convert_arguments as add_arguments
from jinv_convert.commands import run_convert as run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "convert a PyTorch checkpoint to Flax, without running anything in it"
