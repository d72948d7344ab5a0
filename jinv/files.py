"""The only way files come into being: temporary name in the same directory, fsync, rename, fsync of the directory.
A folder of files that belong together comes into being in the same way, as a whole.

A reader therefore sees the old file, or the whole new one, also after a crash or a full disk. A link stays a link: the file
that it leads to is replaced. What is no file is never replaced by one: devices such as /dev/null, pipes, and open
descriptors such as /dev/stdout and /dev/fd/63 get the bytes once they are whole; sockets and disks are refused.
"""

import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jinv.errors import RunConflictError, StorageError, legible

MAXIMUM_LINKS = 40
TEMPORARY = re.compile(r"\..{1,50}\.[0-9a-f]{8}\.tmp", re.DOTALL)
"""How a file is called while it is written."""

ON_DISK: set[tuple[str, int, int]] = set()
"""Directories (path, device, inode) of which this process knows that they outlive a power loss."""
MOST_KNOWN = 1000

_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def atomic_path(path: str | Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is synced and renamed to `path`, otherwise removed.

    A new file can be read by whom the umask lets, a `private` one by its owner alone.

    Raises:
      StorageError: the directory is missing or unwritable, the disk is full, or `path` is what cannot be written.
    """
    path = Path(path)
    if is_stream(path):
        with _through(path) as temporary:
            yield temporary
        return
    target = _followed(path)
    try:
        temporary = _new_beside(target, 0o600 if private else 0o666)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        with temporary.open("rb") as file:
            _sync(file.fileno())
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_directory(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a new directory beside `path`; on a clean exit all in it is synced and it becomes `path`, otherwise removed.

    It takes the place of an empty directory, and with `replace` of any. Behind a link what it leads to is replaced. What
    was left by a process that was killed here goes when the next one begins: who lives holds a lock on its directory.

    Raises:
      StorageError: it cannot be made, or the disk is full. RunConflictError: by now something lies at `path`.
    """
    target = Path(os.path.realpath(path))
    try:
        make_directory(target.parent)
        _remove_abandoned(target)
        temporary, lock = _new_directory_beside(target)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield temporary
        _sync_tree(temporary)
        if replace and target.is_dir() and any(target.iterdir()):
            _exchange(temporary, target)
        else:
            os.rename(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise RunConflictError(f"{path}: already exists and is not empty") from error
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: str | Path) -> Path:
    """`path`, where a file can be written to it: asked before long work, not after it.

    Raises:
      StorageError: a directory, a socket or a disk, or in no directory, or in one that is not writable.
    """
    path = Path(path)
    if is_stream(path):
        if _descriptor(path) is None and not os.access(path, os.W_OK):
            raise StorageError(f"{path}: is not writable")
        return path
    target = _followed(path)
    if target.is_dir():
        raise StorageError(f"{path}: is a directory; name the file to write")
    if not target.parent.is_dir():
        raise StorageError(f"{path}: the directory {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise StorageError(f"{path}: the directory {target.parent} is not writable")
    return path


def is_stream(path: str | Path) -> bool:
    """Is it a device, a pipe or an open descriptor, into which is written, and which no file takes the place of?"""
    path = Path(path)
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def write_bytes(path: str | Path, data: bytes, *, private: bool = False) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path, private=private) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically, what it cannot hold as `legible` shows it."""
    write_bytes(path, legible(text).encode())


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable; file systems that cannot sync directories are left to themselves.

    Raises:
      OSError: the disk fails: the rename may be lost.
    """
    with suppress(PermissionError):  # a directory that can be written and not be listed
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            _sync(descriptor)
        except OSError as error:
            if error.errno != errno.EROFS:  # where nothing changes all is safe
                raise
        finally:
            os.close(descriptor)


def make_directory(directory: Path, *, levels: int = 3) -> None:
    """Make a directory and those above it that are missing; it is there for good when this returns.

    So are `levels` above it: another process may have made them that was killed before they were on the disk.

    Raises:
      OSError: it cannot be made.
    """
    made = False
    if not directory.is_dir():
        make_directory(directory.parent, levels=levels - 1)
        with suppress(FileExistsError):  # by another process in the meantime
            directory.mkdir()
            made = True
    status = directory.stat()
    known = str(directory), status.st_dev, status.st_ino
    if not made:
        if levels <= 0 or known in ON_DISK or directory.parent == directory:
            return
        make_directory(directory.parent, levels=levels - 1)
    sync_directory(directory.parent)
    if len(ON_DISK) >= MOST_KNOWN:
        ON_DISK.clear()
    ON_DISK.add(known)


def remove_temporaries(directory: Path) -> None:
    """Remove what killed processes left in a directory of the files they were writing; for whoever alone writes there."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)


def _new_beside(target: Path, mode: int) -> Path:
    """A new empty file in the directory of `target`. Its permissions are those of its creation, as a plain open() gives
    them: there are file systems on which nothing can change them."""
    name = target.name[:50]  # a character has up to four bytes, a name 255
    for _ in range(100):
        temporary = target.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode))
            return temporary
    raise FileExistsError(errno.EEXIST, "no temporary name is free")


def _new_directory_beside(target: Path) -> tuple[Path, int]:
    """A new directory beside `target`, and the descriptor that keeps it locked."""
    for _ in range(100):
        temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.tmp")
        with suppress(FileExistsError, FileNotFoundError, BlockingIOError):
            temporary.mkdir()
            lock = _locked(temporary)
            if temporary.exists():  # whoever removes what was abandoned may have been faster than the lock
                return temporary, lock
            os.close(lock)
    raise FileExistsError(errno.EEXIST, "no temporary name is free")


def _locked(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        pass  # a file system without locks: nothing is taken for abandoned there, see below
    return descriptor


def _remove_abandoned(target: Path) -> None:
    """Remove what killed processes left of directories that were to become `target`: those that nobody holds locked."""
    for path in target.parent.glob(f".{glob.escape(target.name[:50])}.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _exchange(temporary: Path, target: Path) -> None:
    earlier = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.tmp")
    os.rename(target, earlier)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(earlier, target)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for directory, _, names in os.walk(folder):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink():
                with path.open("rb") as file:
                    _sync(file.fileno())
        sync_directory(Path(directory))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _followed(path: Path) -> Path:
    """The file that is to be replaced: behind a link what it leads to, which need not be there yet."""
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return target
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISLNK(mode):
        raise StorageError(f"{path}: cannot be written: a link that leads to itself")
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        raise StorageError(f"{path}: is a {'socket' if stat.S_ISSOCK(mode) else 'disk'}; name the file to write")
    return target


@contextmanager
def _through(path: Path) -> Iterator[Path]:
    """A temporary path elsewhere, whose bytes go into the stream that `path` is, on a clean exit."""
    try:
        with tempfile.TemporaryDirectory(prefix="jinv-") as folder:
            temporary = Path(folder) / (path.name or "stream")
            temporary.touch()
            yield temporary
            with temporary.open("rb") as source, _opened(path) as stream:
                shutil.copyfileobj(source, stream)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _opened(path: Path) -> BinaryIO:
    descriptor = _descriptor(path)
    if descriptor is None:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what was said before stands before
    # Not opened anew: it would be written from its beginning, over what is there and under what follows.
    return os.fdopen(os.dup(descriptor), "wb")


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path such as /dev/stdout or /dev/fd/63 stands for, or None."""
    own = {"/dev/fd", "/proc/self/fd", f"/proc/{os.getpid()}/fd"}
    with suppress(OSError, ValueError):
        for _ in range(MAXIMUM_LINKS):
            if path.name.isascii() and path.name.isdigit() and os.path.realpath(path.parent) in own:
                return int(path.name)
            path = path.parent / os.readlink(path)
    return None
