"""What is there to be continued: a sweep, a search, a training, a distillation, and the config that it was begun with."""

from pathlib import Path
from typing import Any

from jinv.errors import RunConflictError, StorageError, UnsafeInputError
from jinv.record.config import CONFIG, is_whole, read_table
from jinv.record.directory import RunDirectory

ANEW = "put it back, or begin anew in another --out"
"""What is left to do where nothing makes a lost or damaged file again."""


def is_begun(directory: Path, *, resume: bool) -> bool:
    """Whether something lies in `directory` that is to be continued.

    Raises:
      RunConflictError: something does, and `resume` is false.
    """
    begun = directory.is_dir() and bool(RunDirectory(directory).entries())
    if begun and not resume:
        raise RunConflictError(f"{directory}: already exists; choose another --out, or continue it with --resume")
    return begun


def has_come(directory: Path, record: str, *, is_done: bool) -> bool:
    """Whether the config of a training or a distillation is there, which comes a moment after its `record`.

    Where nothing but the record is there it was killed, or is, between the two; `is_done`: by what the record says something
    came after them.

    Raises:
      StorageError: the config is lost; what was begun with it nobody knows.
    """
    # Listed first: what comes after the config may come while one looks.
    others = [path for path in RunDirectory(directory).entries() if path.name not in (record, CONFIG)]
    if (directory / CONFIG).exists():
        return True
    if others or is_done:
        raise StorageError(f"{directory / CONFIG}: no such file, and it says what was begun here; {ANEW}")
    return False


def begun_config(path: Path) -> dict[str, Any]:
    """The table in a config that a training or a distillation was begun with, as it was written.

    Raises:
      StorageError: it cannot be read. UnsafeInputError: it is not as it was written, or damaged.
    """
    try:
        whole = is_whole(path.read_bytes(), signed=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not whole:
        raise UnsafeInputError(f"{path}: is not as it was written; {ANEW}")
    return read_table(path)
