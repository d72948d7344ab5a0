"""Which values of a config are paths, and what those are relative to."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".th", ".ckpt", ".tar", ".bin", ".safetensors")
"""How a network's file ends; what has neither such an end nor a slash is a network's name."""
ONNX_SUFFIX = ".onnx"
"""So does a file end whose network can judge, but not be inverted."""


class Typed(str):
    """A text from the command line: a path in it is where the user stands, if there is such a file."""


def on_disk(path: str) -> str:
    """A path as it is; where nothing is there, the one of bytes that is shown so, see `jinv.errors.legible`."""
    if "\\x" not in path or os.path.exists(path):
        return path
    found = re.sub(rb"\\x([89a-f][0-9a-f])", lambda match: bytes.fromhex(match[1].decode()), os.fsencode(path))
    return os.fsdecode(found) if os.path.exists(found) else path


def typed(value: Any) -> Any:
    """The value with every text in it marked as `Typed`."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return Typed(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class PathKind:
    """A kind of value that is, or may be, a path: `is_path` tells by the value alone, whatever lies on the disk.

    Stands in the declaration of a key; what it is in a config's folder and in a run's config follows from it.
    """

    is_path: Callable[[str], bool]

    def before(self, value: Any, info: Any) -> Any:
        """The value of a key of this kind before its check: a path relative to the config's folder is made one from here."""
        return self.located(value, info.context or Path()) if isinstance(value, str) and value else value

    def located(self, value: str, folder: Path) -> str:
        """A path as it is from here; what is no path stays."""
        if not self.is_path(value):
            return str(value)
        if isinstance(value, Typed) and os.path.exists(value):
            return str(Path(value).resolve())
        path = on_disk(str(folder / value))
        return path if self.is_path(path) else f"./{path}"  # pathlib takes the "./" away that made it one

    def absolute(self, value: str) -> str:
        """A path as it is from anywhere; what is no path stays."""
        return str(Path(value).resolve()) if self.is_path(value) else value


def _is_network_file(value: str) -> bool:
    return "/" in value or value.endswith((*CHECKPOINT_SUFFIXES, ONNX_SUFFIX))


def _is_start_file(value: str) -> bool:
    return value not in ("noise", "uniform", "class_gaussian") and not value.startswith("package:")


NETWORK = PathKind(_is_network_file)
START = PathKind(_is_start_file)
ANY = PathKind(lambda value: True)


def is_onnx(name: str) -> bool:
    """Whether a network's name is that of an ONNX file."""
    return name.endswith(ONNX_SUFFIX)
