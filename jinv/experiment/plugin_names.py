"""Which plugins are to be loaded, and where their text is; knows nothing of what is in them, and needs no jax."""

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from jinv.errors import StorageError, UsageError, nearest

GROUP = "jinv.plugins"
"""The entry points of installed packages, each a module's name."""

VARIABLE = "JINV_PLUGINS"
"""The environment variable with more, separated as PATH is."""

OPTION = "--plugin"


def installed_plugins() -> Iterator[tuple[str, str]]:
    """(module, who installed it) of every entry point."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.value, entry.name)):
        package = f" of {entry.dist.name}" if entry.dist else ""
        yield entry.value.partition(":")[0], f"entry point {entry.name}{package}"


def named_plugins(*named: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """(path or module, who named it) of what the environment and the arguments name."""
    for name in os.environ.get(VARIABLE, "").split(os.pathsep):
        if name.strip():
            yield name.strip(), VARIABLE
    for given in named:
        yield os.fspath(given), OPTION


def is_module(name: str) -> bool:
    """Is it a module's name, and not a file's?"""
    return not name.endswith(".py") and all(part.isidentifier() for part in name.split("."))


def read_source(name: str) -> bytes:
    """The text of a plugin's file.

    Raises:
      UsageError: no name of a .py file. StorageError: it cannot be read.
    """
    path = Path(name)
    if path.suffix != ".py":
        raise UsageError(f"{name}: a plugin is a .py file or an importable module, such as my_prior.py")
    try:
        return path.read_bytes()
    except OSError as error:
        hint = (
            nearest(path.name, (other.name for other in path.parent.glob("*.py")), ".py") if not path.exists() else ""
        )
        raise StorageError(f"{name}: the plugin cannot be read: {error.strerror or error}{hint}") from error
