"""Experiments as TOML: a config is read, checked as a whole (all problems at once) and becomes a `Recipe`.

Reading a config imports neither jax nor a model; what depends on the model (class names, smallest image) is checked by
`jinv.experiment` once the model is loaded.
"""

import codecs
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinv.errors import StorageError, UsageError
from jinv.recipe import toml
from jinv.recipe.declaration import checked
from jinv.recipe.overrides import changed_by, parse_override, set_value
from jinv.recipe.recipe import Recipe

MAXIMUM_BYTES = 1_000_000


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a config file; `overrides` are `key.path=value` strings applied on top.

    Raises:
      StorageError: no such file. UsageError: not TOML, or anything wrong in it, all problems in one line.
    """
    path = Path(path)
    changed = changed_by({"--set": overrides})
    return check_config(read_table(path, overrides), where=str(path), folder=path.parent, changed=changed)


def read_table(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A TOML file as it is written, with the overrides, unchecked; raises as `read_config`."""
    table = _parsed(path)
    for override in overrides:
        key, value = parse_override(override)
        set_value(table, key, value, where=f"--set {key}")
    return table


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAXIMUM_BYTES:
        raise UsageError(f"{path}: more bytes than a config's limit of {MAXIMUM_BYTES}")
    try:
        # Some editors begin a file with a byte-order mark; TOML knows none.
        return toml.loads(data.removeprefix(codecs.BOM_UTF8).decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error


def check_config(
    table: Mapping[str, Any],
    *,
    where: str = "config",
    folder: Path = Path("."),
    changed: Mapping[str, str] = MappingProxyType({}),
) -> Recipe:
    """Check a config table and make it a `Recipe`. Paths in it are relative to `folder`; `changed` as in `checked`.

    Raises:
      UsageError: anything wrong in it, all problems in one line.
    """
    return checked(Recipe, table, where=where, folder=folder, changed=changed)
