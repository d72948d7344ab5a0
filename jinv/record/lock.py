"""Who works on a directory: one process at a time, or several that share its units, and none once it is gone, however it ended.

The lock is the system's own (flock) on a small file in the directory, which says in words whose it is. It is removed at the
end; what a killed process leaves of it holds nobody up. A sweep's lock is also that of its settings' directories.
"""

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from jinv.errors import RunConflictError, StorageError
from jinv.files import make_directory

LOCK = ".jinv.lock"
PATIENCE_S = 0.02
ATTEMPTS = 6
"""Whoever looks whether a lock is held takes it for a moment: once is not enough to be sure that it is."""

LONGEST = 4096


@contextmanager
def held(
    directory: Path,
    say: Callable[[str], None] = lambda text: None,
    *,
    inside: Sequence[str] = (),
    shared: bool = False,
) -> Iterator[bool]:
    """Work on `directory` alone; it is made, and removed again where nothing came into it.

    Yields whether one is alone for sure: where the file system has no locks `say` is told, and one goes on.

    Args:
      inside: directories in it, as a sweep's settings, on which nobody else may work either.
      shared: beside others who share it, but nobody who wants it alone.

    Raises:
      RunConflictError: another process works on it, on the sweep that it belongs to, or on one that is `inside`.
      StorageError: it is no directory, or nothing can be made there.
    """
    made = _made(directory)
    try:
        descriptor, locked = _taken(directory, shared)
        try:
            if locked:
                for other in (Path(os.path.realpath(directory)).parent, *(directory / name for name in inside)):
                    if (whose := held_by(other)) is not None:
                        raise _refused(directory, whose, f" on {other}")
                _sign(descriptor, directory / LOCK)
            elif not shared:
                say(f"{directory}: the file system has no locks; see to it yourself that nobody else works there")
            yield locked and not shared
        finally:
            with suppress(OSError):
                if locked and shared:  # the last one puts out the light
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(directory / LOCK)
            os.close(descriptor)
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _made(directory: Path) -> list[Path]:
    """Make the directory; those that were made, the innermost first."""
    missing = []
    for path in (directory, *directory.absolute().parents):
        if os.path.lexists(path):
            break
        missing.append(path)
    try:
        make_directory(directory)
    except OSError as error:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise StorageError(f"{directory}: cannot be created: {error.strerror or error}") from error
    return missing


def _taken(directory: Path, shared: bool) -> tuple[int, bool]:
    """The descriptor of the lock's file, and whether it is locked; raises as `held`."""
    path = directory / LOCK
    for _ in range(ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its directory went away with the process that had made it
            directory.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor, True
        except BlockingIOError:
            time.sleep(PATIENCE_S)
        except OSError:
            return descriptor, False
        os.close(descriptor)
    raise _refused(directory, _words(path))


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one that lies there: who had it before may have removed it."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def held_by(directory: Path, *, shared: bool = False) -> str | None:
    """Who works on a directory alone, in words, or `shared`, beside others; None where nobody does."""
    path = directory / LOCK
    for _ in range(ATTEMPTS):
        try:
            descriptor, alone = _looked_at(path, shared)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if _is_still(path, descriptor) or not os.path.lexists(path):
                return None
        except BlockingIOError:
            time.sleep(PATIENCE_S)
        except OSError:
            return None
        finally:
            os.close(descriptor)
    return _words(path)


def _looked_at(path: Path, alone: bool) -> tuple[int, bool]:
    """A lock's file, open, and whether it can be asked for `alone`: over NFS only who may write can."""
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    if alone:
        with suppress(OSError):
            return os.open(path, os.O_RDWR | flags), True
    return os.open(path, os.O_RDONLY | flags), False


def _myself() -> bytes:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (json.dumps({"pid": os.getpid(), "host": platform.node(), "since": now}) + "\n").encode()


def _sign(descriptor: int, path: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _myself(), 0)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _words(path: Path) -> str:
    """Whose a lock is, as its file says."""
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(LONGEST))
        return f"pid {table['pid']:d} on {table['host']:.100s} since {table['since']:.40s}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


def _refused(directory: Path, whose: str, where: str = "") -> RunConflictError:
    return RunConflictError(
        f"{directory}: {whose} is at work{where}; wait for it, stop it, or choose another directory"
    )
