"""timing.jsonl: when each line of metrics.jsonl was logged, at what speed, in how much memory.

Of a training likewise, a line per epoch, which is in place at once.

Beside metrics.jsonl and not in it: a batch's bytes say nothing of who made it or when, so that whoever makes it again ends
with the same. For that reason no seal has it either. While a run goes on each worker keeps its own, workers/TOKEN.timing, and
writes there whenever what it logged is safe: at a checkpoint, and at a batch's end.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from jinv.errors import StorageError, UnsafeInputError
from jinv.files import atomic_path, make_directory
from jinv.record.entry import Entry, Whole, parsed, validated

TIMING = "timing.jsonl"
OF_WORKER = ".timing"


class StepTime(Entry):
    """Of the line of a batch and a step: at: Unix time. steps_per_second: since the line before it in the same stage, which
    every setting of a sweep's program takes; not of a stage's first, before which it was compiled. memory: resident bytes of
    the process. device_memory: bytes in use on its first device, where that has memory of its own and says so."""

    batch: Whole
    step: Whole
    at: float
    steps_per_second: float | None = None
    memory: Whole | None = None
    device_memory: Whole | None = None


class EpochTime(Entry):
    """Of the line of a training's epoch: at: Unix time. updates_per_second: since the line before it, or since the process
    had compiled. memory, device_memory: as `StepTime` has them."""

    epoch: Whole
    step: Whole
    at: float
    updates_per_second: float | None = None
    memory: Whole | None = None
    device_memory: Whole | None = None


def append_times(path: Path, times: Iterable[StepTime | EpochTime]) -> None:
    """Add lines to a worker's file, or a training's.

    Raises:
      StorageError: they cannot be written.
    """
    data = "".join(json.dumps(time.to_json()) + "\n" for time in times).encode()
    if not data:
        return
    try:
        make_directory(path.parent)
        with path.open("ab", buffering=0) as file:
            file.write(data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def join_times(run: Path, folder: Path) -> None:
    """Write timing.jsonl from what the workers' `folder` has.

    Raises:
      StorageError: it cannot be read or written.
    """
    try:
        with atomic_path(run / TIMING) as temporary, temporary.open("wb") as whole:
            for path in sorted(folder.glob(f"*{OF_WORKER}")):
                with path.open(
                    "rb"
                ) as part:  # a killed worker's lines, and those before a power loss, may not be whole
                    whole.writelines(line for line in part if line.endswith(b"\n") and _time(line, path) is not None)
    except OSError as error:
        raise StorageError(f"{run / TIMING}: cannot be written: {error.strerror or error}") from error


def iter_times(run: Path, folder: Path) -> Iterator[StepTime]:
    """What is known, also while the run goes on, each worker's in the order in which it was written: of a line twice that of
    the later `at` holds. A line that is not whole is passed over: nothing depends on it.

    Raises:
      StorageError: it cannot be read.
    """
    try:
        for text in _texts(run, folder):
            if (time := _time(text, run / TIMING)) is not None:
                yield time
    except OSError as error:
        raise StorageError(f"{error.filename or run / TIMING}: cannot be read: {error.strerror or error}") from error


def read_epoch_times(training: Path) -> dict[int, EpochTime]:
    """What is known of a training's epochs, by number: of one that was trained twice the last. As `iter_times`, which raises."""
    path, found = training / TIMING, dict[int, EpochTime]()
    try:
        texts = path.read_bytes().splitlines()
    except FileNotFoundError:
        return found
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    for text in texts:
        with suppress(UnsafeInputError):
            time = validated(EpochTime, parsed(text, path), path)
            found[time.epoch] = time
    return found


def _texts(run: Path, folder: Path) -> Iterator[bytes]:
    """The lines of timing.jsonl; where it is not there those of the workers, which are read, as bytes, before the first is given:
    where the run is sealed just then timing.jsonl has them all."""
    parts: list[bytes] = []
    for look in (1, 2):
        with suppress(FileNotFoundError):
            with (run / TIMING).open("rb") as file:
                yield from file
            return
        if look == 1:
            parts = list(_parts(folder))
    for part in parts:
        yield from part.splitlines(keepends=True)


def _parts(folder: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError):
        for path in sorted(folder.glob(f"*{OF_WORKER}")):
            with suppress(FileNotFoundError):
                yield path.read_bytes()


def _time(text: bytes, path: Path) -> StepTime | None:
    try:
        return validated(StepTime, parsed(text, path), path)
    except UnsafeInputError:
        return None
