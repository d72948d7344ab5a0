"""This process as one that works on a run: its name, its log, what it claimed, and that it lives."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jinv.errors import StorageError
from jinv.record.claims import LEASE_S, Claims, new_token
from jinv.record.unfinished import Work
from jinv.record.workers import WorkerLog

Result = TypeVar("Result")

BEATS = 6
"""Touches of a claim per lease."""


class TakenOverError(Exception):
    """A unit is somebody else's by now: what was done of it here is of no use."""


class Worker:
    """A context: claims live while it is open; what is not done is given back at its end.

    Args:
      alone: nobody else works on the run.
      lease: as `Claims` has it.
      share: how many runs share the time that passes here, as settings of a sweep in one program.

    Raises:
      StorageError: nothing can be written in the run's directory.
    """

    def __init__(self, run: Path, *, alone: bool, lease: float = LEASE_S, share: int = 1) -> None:
        self.run, self.token = run, new_token()
        self.claims = Claims(run, self.token, alone=alone, lease=lease)
        self.log = WorkerLog(run, self.token, share)
        self._over = threading.Event()
        self._beating: threading.Thread | None = None
        self._every = lease / BEATS
        self._alone = alone

    def __enter__(self) -> "Worker":
        if not self._alone:  # nobody else looks
            self._beating = threading.Thread(target=self._beat, name="jinv-lease", daemon=True)
            self._beating.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._over.set()
        for number in list(self.claims.mine):
            self.claims.release(number, done=False)
        try:
            self.log.say("end")
        except StorageError:
            if kind is None:  # what ended it says more than that its time is lost
                raise

    def take(self, number: int) -> Work | None:
        """Claim a unit, with what was done of it before; None where a living other has it."""
        if not self.claims.take(number):
            return None
        try:
            return self.guarded(number, lambda: Work(self.claims.work_folder(number)))
        except TakenOverError:
            # Before there was a folder, which went with it: one may stand still for longer than a lease.
            self.leave(number)
            return None

    def leave(self, number: int) -> None:
        """Leave a unit to who took it over."""
        self.log.say("lost", number)
        self.claims.release(number, done=False)

    def check(self, number: int) -> None:
        """Is a unit still one's own?

        Raises:
          TakenOverError: it is not.
        """
        if not self._alone and not self.claims.has(number):
            raise TakenOverError

    def guarded(self, number: int, write: Callable[[], Result]) -> Result:
        """Write something of a unit, and return what that returns; what cannot be written because the unit is somebody else's is no mistake of a disk's.

        Raises:
          TakenOverError: the unit is somebody else's. StorageError: it cannot be written.
        """
        try:
            return write()
        except StorageError:
            self.check(number)
            raise

    def _beat(self) -> None:
        while not self._over.wait(self._every):
            self.claims.touch()
