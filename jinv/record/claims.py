"""Who makes which unit, where many processes and machines share a run: a file beside the unit, and a folder for its work.

    units/000/000012.claim      whose it is; touched while its owner lives (a lease)
    units/000/000012.TOKEN/     the owner's lines and checkpoints

A claim saves work, it guards nothing: a unit becomes final by one rename that replaces nothing (`jinv.record.units`).
What is another's folder is taken over by renaming it, so that an owner who was only slow finds it gone, and stops.
Nothing depends on clocks that agree: a claim is abandoned that nobody touched while one looked on for a whole lease.
"""

import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jinv.errors import StorageError, UnsafeInputError
from jinv.files import make_directory
from jinv.record.entry import Entry, parsed, validated
from jinv.record.units import unit_folder

LEASE_S = 180.0
"""Longer than shared file systems take to tell the others of a touched file; a touch comes six times as often."""

SUFFIX = ".claim"
LONGEST = 4096


class Owner(Entry):
    """Who has a unit; `machine` is the same for processes that can see each other's ids."""

    token: str
    host: str
    pid: int
    machine: str = ""
    since: str = ""


class Claims:
    """The units that one process has claimed in a run.

    Args:
      alone: nobody else works on the run (`jinv.record.lock`): whatever claims there are, are left over.
      lease: seconds after which a claim that is not touched is taken over.
    """

    def __init__(
        self,
        run: Path,
        token: str,
        *,
        alone: bool,
        lease: float = LEASE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.token, self.alone, self.lease, self.clock = run, token, alone, lease, clock
        self.mine: set[int] = set()
        self.lost: set[int] = set()
        self._seen: dict[int, tuple[int, float]] = {}
        self._guard = threading.Lock()

    def take(self, number: int) -> bool:
        """Claim a unit; False where a living other has it.

        Raises:
          StorageError: nothing can be written there.
        """
        path = claim_path(self.run, number)
        try:
            make_directory(path.parent)
            for _ in range(2):
                try:
                    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
                except FileExistsError:
                    if not self._is_abandoned(number, path) or not _put_away(path):
                        return False
                    continue
                try:
                    os.write(descriptor, (json.dumps(myself(self.token).to_json()) + "\n").encode())
                finally:
                    os.close(descriptor)
                with self._guard:
                    self.mine.add(number)
                    self.lost.discard(number)
                return True
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        return False

    def work_folder(self, number: int) -> Path:
        """The folder for a claimed unit's work, with what was left there by whoever had it before.

        Raises:
          StorageError: it cannot be made.
        """
        final = unit_folder(self.run, number)
        mine = final.with_name(f"{final.name}.{self.token}")
        try:
            others = sorted(path for path in final.parent.glob(f"{final.name}.*") if path.is_dir() and path != mine)
            for other in others:
                with suppress(OSError):
                    if not mine.exists():
                        os.rename(other, mine)
                        continue
                shutil.rmtree(other, ignore_errors=True)
            make_directory(mine)
        except OSError as error:
            raise StorageError(f"{mine}: cannot be created: {error.strerror or error}") from error
        return mine

    def has(self, number: int) -> bool:
        """Whether a unit that was claimed is still one's own."""
        return number in self.mine and number not in self.lost and self._is_mine(number)

    def touch(self) -> None:
        """Say of every claim that its owner lives; notes those that were taken over."""
        with self._guard:
            mine = list(self.mine - self.lost)
        for number in mine:
            try:
                if not self._is_mine(number):
                    self.lost.add(number)
                else:
                    os.utime(claim_path(self.run, number))
            except FileNotFoundError:
                self.lost.add(number)
            except OSError:  # a file system that is away for a while; the lease says for how long that may be
                continue

    def release(self, number: int, *, done: bool) -> None:
        """Give a unit back; where it is `done` with what lies in its work folder."""
        with self._guard:
            self.mine.discard(number)
        if done:
            final = unit_folder(self.run, number)
            shutil.rmtree(final.with_name(f"{final.name}.{self.token}"), ignore_errors=True)
        if number not in self.lost and self._is_mine(number):
            with suppress(OSError):
                claim_path(self.run, number).unlink()

    def _is_mine(self, number: int) -> bool:
        owner = owner_of(claim_path(self.run, number))
        return owner is not None and owner.token == self.token

    def _is_abandoned(self, number: int, path: Path) -> bool:
        if self.alone:
            return True
        owner = owner_of(path)
        if owner is not None and has_died(owner):
            return True
        try:
            touched = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        now = self.clock()
        last, since = self._seen.get(number, (None, now))
        if last != touched:
            self._seen[number] = touched, now
            return False
        return now - since >= self.lease


def claim_path(run: Path, number: int) -> Path:
    """Where it lies whose a unit is."""
    final = unit_folder(run, number)
    return final.with_name(final.name + SUFFIX)


def owner_of(path: Path) -> Owner | None:
    """Whose a claim is; None where there is none, or where it does not say so (yet)."""
    try:
        with path.open("rb") as file:
            return validated(Owner, parsed(file.read(LONGEST), path), path)
    except (OSError, UnsafeInputError):
        return None


def has_died(owner: Owner) -> bool:
    """Whether an owner is gone for sure: it was a process of this machine, and is none any more."""
    return owner.machine == MACHINE and not _lives(owner.pid)


def new_token() -> str:
    """A name that no other process has, in which one can recognise whose it is."""
    host = "".join(c if c.isascii() and c.isalnum() else "-" for c in platform.node())[:40]
    return f"{host or 'host'}-{os.getpid()}-{secrets.token_hex(4)}"


def myself(token: str) -> Owner:
    """This process."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Owner(token=token, host=platform.node(), pid=os.getpid(), machine=MACHINE, since=now)


def _machine() -> str:
    """The same for processes that see each other's ids: the machine since it was started, and the namespace of its ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


MACHINE = _machine()


def _lives(pid: int) -> bool:
    if not MACHINE:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _put_away(path: Path) -> bool:
    """Remove a claim that was abandoned; False where somebody else does so at the same moment."""
    away = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.rename(path, away)
        away.unlink()
    except FileNotFoundError:
        return False
    return True
