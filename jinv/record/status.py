"""How far a run or a sweep is, from its records alone: units by a listing of their folders, rates by the workers' logs.

No file of a final unit is read whose maker logged it, so five thousand of them cost a few directories.
"""

import os
import re
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from jinv.errors import JinvError, RunConflictError, StorageError, UnsafeInputError
from jinv.images.folder import MANIFEST
from jinv.recipe.batches import Batches
from jinv.record.claims import LEASE_S, SUFFIX, Owner, has_died, owner_of
from jinv.record.config import CONFIG, batch_of, is_batch
from jinv.record.directory import RunDirectory
from jinv.record.entry import Entry, Whole
from jinv.record.lock import held_by
from jinv.record.manifest import Manifest
from jinv.record.sealed import DamagedError
from jinv.record.units import UNITS, unit_record
from jinv.record.workers import WorkerLine, worker_lines

RECENT = 8
"""Units of a worker, the last of them, by which its rate is taken."""

_ENTRY = re.compile(rf"(\d{{6,9}})({re.escape(SUFFIX)})?")

State = Literal["not begun", "unfinished", "complete", "failed", "finished"]
"""complete: every unit is there, and what `jinv merge` does is not done yet. failed: likewise, and a unit failed."""


class Running(Entry):
    """A unit that somebody has claimed. heard: seconds since its owner last said that it lives; silent: it died, or for
    longer than a lease it has not."""

    unit: Whole
    owner: Owner | None = None
    heard: float
    silent: bool


class WorkerStatus(Entry):
    """A process that works on the run, or did. begun: Unix time. restarts: of its SLURM job. images_per_second: lately, in
    units that it finished; none before the first."""

    token: str
    host: str = ""
    pid: Whole | None = None
    begun: float | None = None
    restarts: Whole | None = None
    units: Whole = 0
    images: Whole = 0
    images_per_second: float | None = None
    at_work: bool


class RunStatus(Entry):
    """A run, at one moment. images_per_second, seconds_left: by those who are at work. seconds_spent: of all
    workers together, so that a finished run's images_per_second are one worker's.

    at_work: who does, in words, before anything is written. problem: why nothing else is known, of a setting of a sweep.
    """

    kind: Literal["run"] = "run"
    path: str
    state: State | None = None
    units: Whole = 0
    units_done: Whole = 0
    images: Whole = 0
    images_done: Whole = 0
    failed: tuple[Whole, ...] = ()
    running: tuple[Running, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()
    images_per_second: float | None = None
    seconds_left: float | None = None
    seconds_spent: float | None = None
    finished: str | None = None
    at_work: str | None = None
    problem: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for: it is finished, or can't be without somebody's doing."""
        return self.state == "finished" or (self.state == "failed" and not self.running)


class SweepStatus(Entry):
    """A sweep: its settings that have begun, as runs."""

    kind: Literal["sweep"] = "sweep"
    path: str
    settings: tuple[RunStatus, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for."""
        return all(setting.problem or setting.is_over for setting in self.settings)


class _Listing(NamedTuple):
    """What lies in units/: numbers of final units, and the claims on others."""

    final: set[int]
    claimed: dict[int, os.DirEntry[str]]


def read_status(path: Path) -> RunStatus | SweepStatus:
    """How far the run or the sweep in `path` is.

    Raises:
      StorageError: there is none. RunConflictError, UnsafeInputError: its records are another version's, or damaged.
    """
    # Asked first: the first thing that comes into a run is its manifest, and it may come at any moment.
    before = path.is_dir() and RunDirectory(path).entries()
    manifest = RunDirectory(path).manifest()
    if manifest is not None:
        return _run_status(path, manifest)
    if found := settings_in(path):
        return SweepStatus(path=str(path), settings=found)
    if not before and submitted(path).is_dir():
        return RunStatus(path=str(path), state="not begun")
    if not before and (whose := held_by(path)) is not None:
        return RunStatus(path=str(path), state="not begun", at_work=whose)
    if not before and path.is_dir():
        raise StorageError(f"{path}: is empty: no run has begun here")
    raise RunDirectory(path).no_run()


def submitted(run: Path) -> Path:
    """Where the jobs' own files of a run lie that was given to a cluster: beside it, for a run's directory holds a run alone."""
    return run.with_name(f"{run.name}.jobs")


def settings_in(path: Path) -> tuple[RunStatus, ...]:
    """The settings of a sweep, or the trials of a search, that have begun in `path`."""
    settings = sorted(setting.parent for setting in path.glob(f"*/{MANIFEST}"))
    return tuple(status for setting in settings if (status := _setting_status(setting)) is not None)


def _setting_status(path: Path) -> RunStatus | None:
    """Of a sweep's setting; None of a run that is none."""
    try:
        manifest = RunDirectory(path).manifest()
        return None if manifest is None or manifest.sweep is None else _run_status(path, manifest)
    except JinvError as error:
        return RunStatus(path=str(path), problem=str(error))


def _run_status(path: Path, manifest: Manifest) -> RunStatus:
    if manifest.finished:
        return _finished(path, manifest)
    if (path / "batches").is_dir():
        raise RunConflictError(f"{path}: an unfinished run of an earlier jinv, which did not say how far it is")
    count = len(manifest.labels)
    if not RunDirectory(path).has_begun(manifest):  # its config comes a moment later
        return RunStatus(path=str(path), state="not begun", images=count)
    sizes = {number: chosen.stop - chosen.start for number, chosen in enumerate(Batches(count, _batch(path, count)))}
    listing, logs = _listing(path, sizes), dict(worker_lines(path))
    now = RunDirectory(path).manifest()
    if now is not None and now.finished:  # sealed, and its units removed, while they were listed
        return _finished(path, now)
    alone = held_by(path) is not None
    running = tuple(_running(number, entry, alone) for number, entry in sorted(listing.claimed.items()))
    busy = {unit.owner.token for unit in running if unit.owner and not unit.silent}
    workers = tuple(_worker(token, lines, token in busy) for token, lines in logs.items())
    failed = _failed(path, logs, listing.final)
    there = sum(sizes[number] for number in listing.final)
    rates = [worker.images_per_second for worker in workers if worker.at_work and worker.images_per_second]
    rate = sum(rates) if rates else None
    whole: State = "failed" if failed else "complete"
    return RunStatus(
        path=str(path),
        state=whole if len(listing.final) == len(sizes) else "unfinished",
        units=len(sizes),
        units_done=len(listing.final) - len(failed),
        images=count,
        images_done=there - sum(sizes[number] for number in failed),
        failed=tuple(sorted(failed)),
        running=running,
        workers=workers,
        images_per_second=rate,
        seconds_left=(count - there) / rate if rate else None,
        seconds_spent=sum(max((line.seconds for line in lines), default=0.0) for lines in logs.values()),
    )


def _finished(path: Path, manifest: Manifest) -> RunStatus:
    count, spent = len(manifest.labels), manifest.wall_seconds
    units = len(Batches(count, _batch(path, count)))
    return RunStatus(
        path=str(path),
        state="finished",
        units=units,
        units_done=units,
        images=count,
        images_done=count,
        images_per_second=count / spent if spent else None,
        seconds_left=0.0,
        seconds_spent=spent,
        finished=manifest.finished,
    )


def _batch(path: Path, count: int) -> int:
    """Images per unit.

    Raises:
      StorageError, UnsafeInputError: the config does not say it.
    """
    size = batch_of(RunDirectory(path).config(), count)
    if not is_batch(size) or not count:
        raise UnsafeInputError(
            f"{path}: image.batch {size!r:.40} of {count} labels: {CONFIG} or manifest.json is damaged"
        )
    return int(size)


def _listing(run: Path, numbers: Container[int]) -> _Listing:
    final, claimed = set[int](), dict[int, os.DirEntry[str]]()
    for folder in _scanned(run / UNITS):
        for entry in _scanned(Path(folder.path)):
            match = _ENTRY.fullmatch(entry.name)
            if match is None or int(match[1]) not in numbers:
                continue
            if match[2]:
                claimed[int(match[1])] = entry
            else:
                final.add(int(match[1]))
    # A worker that is killed just after its unit became final leaves the claim.
    return _Listing(final, {number: entry for number, entry in claimed.items() if number not in final})


def _scanned(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StorageError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def _running(number: int, entry: os.DirEntry[str], alone: bool) -> Running:
    owner = owner_of(Path(entry.path))
    try:
        # By this machine's clock: where the file server's is another, so is what comes out.
        heard = max(time.time() - os.stat(entry.path).st_mtime, 0.0)
    except OSError:  # given back a moment ago
        heard = 0.0
    # Whoever works alone on a run has its lock, and does not touch claims.
    silent = (heard > LEASE_S and not alone) or (owner is not None and has_died(owner))
    return Running(unit=number, owner=owner, heard=round(heard, 1), silent=silent)


def _worker(token: str, lines: Sequence[WorkerLine], at_work: bool) -> WorkerStatus:
    begun = next((line for line in lines if line.event == "begin"), None)
    owner = begun.owner if begun else None
    done = [line for line in lines if line.event == "unit"]
    return WorkerStatus(
        token=token,
        host=owner.host if owner else "",
        pid=owner.pid if owner else None,
        begun=begun.at if begun else None,
        restarts=begun.restarts if begun else None,
        units=len(done),
        images=sum(line.images or 0 for line in done),
        images_per_second=_rate(begun, done),
        at_work=at_work,
    )


def _rate(begun: WorkerLine | None, done: Sequence[WorkerLine]) -> float | None:
    """Images per second by the last units; the first one's time, which compiled, counts only where there is no other."""
    if begun is None or not done:
        return None
    before, *counted = [begun, *done] if len(done) == 1 else done[-RECENT - 1 :]
    seconds = counted[-1].seconds - before.seconds
    return sum(line.images or 0 for line in counted) / seconds if seconds > 0 else None


def _failed(run: Path, logs: Mapping[str, Sequence[WorkerLine]], final: set[int]) -> set[int]:
    """Those of the final units that failed, as their makers said; where one was killed before it did, the unit is asked."""
    said = {line.unit: bool(line.failed) for lines in logs.values() for line in lines if line.event == "unit"}
    found = {number for number in final if said.get(number)}
    for number in final - said.keys():
        with suppress(DamagedError, FileNotFoundError):  # what is damaged is found, and made again, at the end
            if unit_record(run, number).failed:
                found.add(number)
    return found
