"""What the processes that work on a run say of themselves: workers/TOKEN.jsonl, written by its worker alone.

It goes into no image and no digest: for `jinv status`, and for the seconds that a run took.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from jinv.errors import StorageError, UnsafeInputError
from jinv.files import make_directory
from jinv.record.claims import Owner, myself
from jinv.record.entry import Entry, Whole, parsed, validated
from jinv.record.timing import OF_WORKER, StepTime, append_times

WORKERS = "workers"

Event = Literal["begin", "unit", "checkpoint", "lost", "end"]


class WorkerLine(Entry):
    """A moment of a worker. seconds: since it began. at: Unix time, of its own clock. images: in the unit that is done,
    or has failed."""

    event: Event
    at: float
    seconds: float
    unit: Whole | None = None
    images: Whole | None = None
    failed: bool | None = None
    owner: Owner | None = None
    restarts: Whole | None = None


class WorkerLog:
    """The log of this process as the worker `token`; `share`: how many runs share the time that passes.

    Raises:
      StorageError: the log cannot be written.
    """

    def __init__(self, run: Path, token: str, share: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self.path, self.clock, self.started = run / WORKERS / f"{token}.jsonl", clock, clock()
        restarts = os.environ.get("SLURM_RESTART_COUNT", "")
        self.say("begin", owner=myself(token), restarts=int(restarts) if restarts.isdecimal() else None)

    @property
    def seconds(self) -> float:
        """Since it began, this run's share of them."""
        return (self.clock() - self.started) / self.share

    def time(self, times: Iterable[StepTime]) -> None:
        """Write when steps were logged; raises as `append_times`."""
        append_times(self.path.with_suffix(OF_WORKER), times)

    def say(
        self,
        event: Event,
        unit: int | None = None,
        *,
        images: int | None = None,
        failed: bool | None = None,
        owner: Owner | None = None,
        restarts: int | None = None,
    ) -> None:
        """Write a line."""
        line = WorkerLine(
            event=event,
            at=round(time.time(), 3),
            seconds=round(self.seconds, 3),
            unit=unit,
            images=images,
            failed=failed,
            owner=owner,
            restarts=restarts,
        )
        try:
            make_directory(self.path.parent)
            with self.path.open("ab", buffering=0) as file:
                file.write((json.dumps(line.to_json()) + "\n").encode())
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror or error}") from error


def worker_lines(run: Path) -> Iterator[tuple[str, list[WorkerLine]]]:
    """(token, its lines) of every worker; a line that is not whole is passed over, and so is a log that went away: whoever
    sealed the run removed it.

    Raises:
      StorageError: a log cannot be read.
    """
    try:
        paths = []
        with suppress(FileNotFoundError):
            paths = sorted((run / WORKERS).glob("*.jsonl"))
        for path in paths:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            lines = []
            for text in data.splitlines():
                try:
                    lines.append(validated(WorkerLine, parsed(text, path), path))
                except UnsafeInputError:
                    continue
            yield path.stem, lines
    except OSError as error:
        raise StorageError(f"{run / WORKERS}: cannot be read: {error.strerror or error}") from error


def seconds_spent(run: Path) -> float:
    """The seconds of all workers so far, as far as they said them."""
    return sum(max((line.seconds for line in lines), default=0.0) for _, lines in worker_lines(run))
