"""An audit hook that sees whatever a file makes the process do, and the assertions that a file is refused, and soon."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jinv.errors import JinvError, ModelMismatchError, StorageError, UnsafeInputError
from jinv_convert.reader import Checkpoint, read_checkpoint
from tests.converter.reader_trees import contents

# Everything below these; `open` is judged by its mode.
_FORBIDDEN = (
    *("import", "exec", "compile", "code.", "function.", "marshal.", "pickle.", "ctypes.", "socket.", "subprocess."),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "os.putenv", "pty."),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime"),
    *("shutil.", "tempfile.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "mmap.", "sqlite3."),
)
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000  # WRONLY, RDWR, CREAT, TRUNC, APPEND
_EXIT_CODES = {UnsafeInputError: 3, ModelMismatchError: 4, StorageError: 5}


class _Watch:
    """Whether the hook records, and what it recorded. A hook can't be removed: one, switched."""

    installed = False
    active = False
    seen: list[str] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _Watch.active:
        return
    if event == "open":
        _, mode, flags = args
        writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else flags & _WRITING
        if writing:
            _Watch.seen.append(f"open for writing: {args}")
    elif event.startswith(_FORBIDDEN):
        _Watch.seen.append(f"{event}: {args}"[:200])


@contextmanager
def watched() -> Iterator[None]:
    """Asserts that nothing inside runs code, imports, connects, or changes a file."""
    if not _Watch.installed:
        sys.addaudithook(_hook)
        _Watch.installed = True
    _Watch.seen.clear()
    _Watch.active = True
    try:
        yield
    finally:
        _Watch.active = False
        # Here, since most of what is watched ends in an error.
        assert not _Watch.seen, _Watch.seen[:5]


@contextmanager
def cpu_seconds_below(limit: float) -> Iterator[None]:
    """Asserts that what is inside computes for less than `limit` seconds, however busy the machine is.

    Of what is a hundred times slower than it should be, a hang or a square where a line was meant; not a measurement.
    """
    start = time.process_time()
    yield
    seconds = time.process_time() - start
    assert seconds < limit, f"{seconds:.1f} s of CPU, {limit} allowed"


def read_watched(path: Path, **options: Any) -> Checkpoint:
    """Reads a file and all of its tensors under the audit hook."""
    with watched():
        checkpoint = read_checkpoint(path, **options)
        contents(checkpoint)
    return checkpoint


def refused(
    path: Path, *words: str, error: type[JinvError] = UnsafeInputError, seconds: float = 5.0, **options: Any
) -> str:
    """Asserts that a file is refused in one line that names it and `words`, in time and without effects."""
    before = sorted(path.parent.iterdir())
    with cpu_seconds_below(seconds), pytest.raises(JinvError) as caught:
        read_watched(path, **options)
    message = str(caught.value)
    assert type(caught.value) is error and caught.value.exit_code == _EXIT_CODES[error], message
    assert str(path) in message and "\n" not in message and len(message) < 1000 + len(str(path)), message
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    # No canary, no extracted member, no temporary file.
    assert sorted(path.parent.iterdir()) == before
    return message
