"""A disk that fails where it is told to, below the code: file operations under one folder are counted, and one goes wrong.

Python's own file objects write in C, where nobody can step in between, so under the folder those of `_pyio` take their
place: every byte then goes through `os.write`. What is done elsewhere, and what only looks, is left alone.
"""

import _pyio
import builtins
import errno
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from jinv.files import ON_DISK
from tests.faults.journal import Journal

WRITES = frozenset({"write", "truncate"})
MAKES = frozenset({"create", "mkdir", "link", "symlink", "rename"})
CHANGES = WRITES | MAKES | {"sync", "unlink", "rmdir", "attributes"}
OPENS = frozenset({"create", "open"})
FULL = WRITES | MAKES | {"sync"}


class Killed(BaseException):
    """The process is no more: from here on no file operation happens, in no `finally` either."""


class Kind(NamedTuple):
    """How an operation goes wrong, and at which that can be: with an error, or else the process is killed before it.

    later: the operations that go wrong from then on. half: the first half of the bytes is written. power: what was not
    synced is lost.
    """

    at: frozenset[str]
    error: int | None = None
    later: frozenset[str] = frozenset()
    half: bool = False
    power: bool = False


WRITE = frozenset({"write"})
KINDS = {
    "killed": Kind(CHANGES),
    "killed in a write": Kind(WRITE, half=True),
    "power loss": Kind(CHANGES, power=True),
    "power loss in a write": Kind(WRITE, half=True, power=True),
    "disk full once": Kind(FULL, errno.ENOSPC),
    "disk full": Kind(FULL, errno.ENOSPC, later=FULL),
    "short write": Kind(WRITE, errno.ENOSPC, later=FULL, half=True),
    "input/output error once": Kind(CHANGES | OPENS, errno.EIO),
    "input/output error": Kind(CHANGES | OPENS, errno.EIO, later=CHANGES | OPENS),
    "no descriptor once": Kind(OPENS, errno.EMFILE),
    "no descriptor": Kind(OPENS, errno.EMFILE, later=OPENS),
}


class Fault(NamedTuple):
    """Of this kind, at the operation of that number, from 1; `seed` decides what a power loss takes."""

    kind: Kind
    at: int
    seed: int = 0


class Disk:
    """While it is entered, what happens under `root` is listed in `operations`, and `fault` happens in it.

    Nothing is really synced. `before` is called with each operation's number before it happens, and may do what another
    process does meanwhile: that is not counted. Afterwards `open` has the descriptors that nobody closed; a killed
    process's are closed, and so its locks are free. `journal` knows what earlier processes left that is not synced.
    """

    def __init__(
        self,
        root: Path,
        fault: Fault | None = None,
        before: Callable[[int], None] = lambda number: None,
        journal: Journal | None = None,
    ) -> None:
        self.root, self.fault, self.before = str(root), fault, before
        assert os.path.realpath(root) == self.root
        self.operations: list[tuple[str, str]] = []
        self.open: dict[int, str] = {}
        self.dead = self.aside = False
        self.journal = journal or (Journal(self.root) if fault and fault.kind.power else None)
        self.turn = threading.RLock()

    def __enter__(self) -> "Disk":
        ON_DISK.clear()  # of another process
        instead = {name: getattr(self, f"_{name}") for name in ("open", "close", "fsync", "write", "pwrite", "utime")}
        instead |= {"fdatasync": self._fsync, "ftruncate": self._ftruncate}
        instead |= {name: self._two(name, kind) for name, kind in TWO.items()}
        instead |= {name: self._one(name, kind) for name, kind in ONE.items()}
        self.real = {name: getattr(os, name) for name in instead}
        self.opened = builtins.open
        self.patches = [mock.patch.object(os, name, function) for name, function in instead.items()]
        self.patches += [mock.patch.object(os, name, _unknown) for name in ("writev", "sendfile", "copy_file_range")]
        self.patches += [mock.patch.object(module, "open", self._file) for module in (io, builtins)]
        for patch in self.patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()
        if self.dead:
            for descriptor in self.open:
                os.close(descriptor)
            self.open.clear()
            if self.fault is not None and self.fault.kind.power:
                self.lose()

    def lose(self) -> None:
        """The power goes now, after the end of all that was done."""
        assert self.journal is not None and self.fault is not None
        self.journal.lose(self.fault.seed)

    def _at(self, name: str, path: str) -> bool:
        """An operation is about to happen: whether only half of it does.

        Raises:
          Killed, OSError: it does not happen.
        """
        if self.dead:
            raise Killed
        if self.aside:
            return False
        self.operations.append((name, path[len(self.root) + 1 :] or "."))
        number, fault = len(self.operations), self.fault
        self.aside = True
        try:
            self.before(number)
        finally:
            self.aside = False
        if fault is None:
            return False
        here, later = number == fault.at and name in fault.kind.at, number > fault.at and name in fault.kind.later
        if here and fault.kind.half:
            return True
        if here and fault.kind.error is None:
            self.dead = True
            raise Killed
        if here or later:
            assert fault.kind.error is not None
            raise OSError(fault.kind.error, os.strerror(fault.kind.error), path)
        return False

    def _path(self, path: Any, folder: int | None = None) -> str | None:
        """Where that is, by its name or its descriptor, if it is under the root."""
        if isinstance(path, int):
            return self.open.get(path)
        name = os.fsdecode(path)
        if folder is not None:
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        name = os.path.abspath(name)
        return name if name == self.root or name.startswith(self.root + os.sep) else None

    def _file(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        ours = not (isinstance(file, int) and file not in self.open) and self._path(file) is not None
        return (_pyio.open if ours else self.opened)(file, mode, *arguments, **options)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._path(path, dir_fd)
        if where is None:
            return self.real["open"](path, flags, mode, dir_fd=dir_fd)  # type: ignore[no-any-return]
        with self.turn:
            there, cut = os.path.lexists(where), flags & os.O_TRUNC
            self._at("truncate" if there and cut else "create" if flags & os.O_CREAT and not there else "open", where)
            descriptor: int = self.real["open"](path, flags, mode, dir_fd=dir_fd)
            self.open[descriptor] = where
            if self.journal is not None:
                self.journal.opened(descriptor, where)
                if there and cut:
                    self.journal.written(descriptor)
            return descriptor

    def _close(self, descriptor: int) -> None:
        with self.turn:  # another thread may be given its number as soon as it is closed
            self.open.pop(descriptor, None)
            self.real["close"](descriptor)

    def _fsync(self, descriptor: int) -> None:
        if (path := self.open.get(descriptor)) is None:
            return self.real["fsync"](descriptor)  # type: ignore[no-any-return]
        with self.turn:
            self._at("sync", path)
            if self.journal is not None:
                self.journal.synced(descriptor)

    def _write(self, descriptor: int, data: Any) -> int:
        return self._bytes("write", descriptor, data)

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        return self._bytes("pwrite", descriptor, data, offset)

    def _bytes(self, name: str, descriptor: int, data: Any, *where: int) -> int:
        if (path := self.open.get(descriptor)) is None:
            return self.real[name](descriptor, data, *where)  # type: ignore[no-any-return]
        with self.turn:
            half = self._at("write", path)
            written: int = self.real[name](descriptor, bytes(data)[: len(data) // 2] if half else data, *where)
            if self.journal is not None:
                self.journal.written(descriptor)
            if half and self.fault is not None and self.fault.kind.error is None:
                self.dead = True
                raise Killed
            return written

    def _ftruncate(self, descriptor: int, length: int) -> None:
        with self.turn:
            if (path := self.open.get(descriptor)) is not None:
                self._at("truncate", path)
            self.real["ftruncate"](descriptor, length)
            if path is not None and self.journal is not None:
                self.journal.written(descriptor)

    def _utime(self, path: Any, *arguments: Any, **options: Any) -> None:
        with self.turn:
            if (where := self._path(path, options.get("dir_fd"))) is not None:
                self._at("attributes", where)
            self.real["utime"](path, *arguments, **options)

    def _one(self, name: str, kind: str) -> Callable[..., None]:
        """In place of an operation on one name."""

        def instead(path: Any, *arguments: Any, dir_fd: int | None = None) -> None:
            with self.turn:
                if (where := self._path(path, dir_fd)) is not None:
                    self._at(kind, where)
                self.real[name](path, *arguments, dir_fd=dir_fd)
                if where is not None and self.journal is not None:
                    (self.journal.made if kind == "mkdir" else self.journal.removed)(where)

        return instead

    def _two(self, name: str, kind: str) -> Callable[..., None]:
        """In place of an operation on two names."""

        def instead(path: Any, other: Any, *arguments: Any, **options: Any) -> None:
            with self.turn:
                if (where := self._path(other)) is not None:
                    self._at(kind, where)
                self.real[name](path, other, *arguments, **options)
                if where is not None and self.journal is not None:
                    if kind == "symlink":
                        self.journal.made(where, os.fspath(path))
                    else:
                        before = self._path(path)
                        assert before is not None
                        (self.journal.linked if kind == "link" else self.journal.renamed)(before, where)

        return instead


ONE = {"mkdir": "mkdir", "rmdir": "rmdir", "unlink": "unlink", "remove": "unlink"}
TWO = {"rename": "rename", "replace": "rename", "link": "link", "symlink": "symlink"}


def _unknown(*_: Any) -> Any:
    """Ways to write that the disk does not follow; whoever has another takes it."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
