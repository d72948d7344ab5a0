"""What is there to be continued: a sweep, a search, a training, a distillation, and the config that it was begun with."""

from pathlib import Path
from typing import Any

from jinv.errors import RunConflictError, StorageError, UnsafeInputError
from jinv.record.config import is_whole, read_table
from jinv.record.directory import RunDirectory


def is_begun(directory: Path, *, resume: bool) -> bool:
    """Whether something lies in `directory` that is to be continued.

    Raises:
      RunConflictError: something does, and `resume` is false.
    """
    begun = directory.is_dir() and bool(RunDirectory(directory).entries())
    if begun and not resume:
        raise RunConflictError(f"{directory}: already exists; choose another --out, or continue it with --resume")
    return begun


def begun_config(path: Path) -> dict[str, Any]:
    """The table in a config that something was begun with, as it was written.

    Raises:
      StorageError: it cannot be read. UnsafeInputError: it is not as it was written, or damaged.
    """
    try:
        whole = is_whole(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not whole:
        raise UnsafeInputError(f"{path}: is not as it was written; put it back, or choose another --out")
    return read_table(path)
