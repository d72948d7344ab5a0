"""The only way files come into being: temporary name in the same directory, fsync, rename, fsync of the directory.

A reader therefore sees the old file, or the whole new one, also after a crash or a full disk.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jinv.errors import StorageError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is synced and renamed to `path`, otherwise removed.

    Raises:
      StorageError: the directory is missing or unwritable, or the disk is full.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes 0600; give the file the permissions that a plain open() would have given it.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_writable(path: str | Path) -> Path:
    """`path`, where a file can be written to it: asked before long work, not after it.

    Raises:
      StorageError: a directory, or in none, or in one that is not writable.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path}: is a directory; name the file to write")
    if not path.parent.is_dir():
        raise StorageError(f"{path}: the directory {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path}: the directory {path.parent} is not writable")
    return path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable; file systems that cannot sync directories are left to themselves."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
