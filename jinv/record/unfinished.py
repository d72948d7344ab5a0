"""Where a unit goes on that was interrupted: in its work folder, each file with its own digest (`jinv.record.sealed`).

    metrics.jsonl             what was logged of it, as it comes
    checkpoint.npz            where it goes on
    checkpoint_before.npz     the checkpoint before that one, for where the newest is damaged

What is damaged costs work, which is done again to the same bits: a warning. A checkpoint holds the digest of the lines up to
it; where they are not those, it is none.
"""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jinv.errors import StorageError, UnsafeInputError
from jinv.files import atomic_path, sync_directory, write_bytes
from jinv.record.entry import validated
from jinv.record.metrics import MetricsLine, lines_digest, lines_text, read_metrics
from jinv.record.sealed import DamagedError, seal, unsealed
from jinv.record.units import LINES, Environment

NEWEST, BEFORE = "checkpoint.npz", "checkpoint_before.npz"
INSTEAD = "put it back as it was, or begin anew with --replace"
"""What is left to do where an unfinished run can't go on."""

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoint(NamedTuple):
    """Where a unit goes on: from `step`, with a state's leaves within `stage`, or the image that `stage` starts from.

    owners: the settings of a sweep whose states these are, side by side. lines: the digest of what was logged of the unit,
    of a sweep each setting's. rate_scale: what the learning rates were multiplied by. environments: where it was computed.
    frames: uint8 (n, height, width, 3), those of the animation so far.
    """

    batch: int
    stage: int
    step: int
    leaves: Sequence[Any] | None = None
    image: Any = None
    owners: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    rate_scale: float = 1.0
    environments: tuple[Environment, ...] = ()
    frames: Any = None


def environments_of(checkpoint: Checkpoint | None, here: Environment) -> tuple[Environment, ...]:
    """Where a unit is computed that goes on `here`, from a checkpoint or from its start."""
    before = checkpoint.environments if checkpoint else ()
    return before if before[-1:] == (here,) else (*before, here)


class Work:
    """A unit under way: what is logged of it, and its checkpoints, in the folder of its owner.

    Raises of every writing: StorageError, also where the folder is somebody else's by now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digest = lines_digest([])
        self._file: BinaryIO | None = None

    @property
    def lines(self) -> Path:
        """The file with what was logged."""
        return self.folder / LINES

    def checkpoint(self, batch: int, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint of the unit that is as it was written, and whose lines are; None without one.

        `say` is told of what is damaged, and what is done instead.
        """
        found = load_checkpoint(self.folder, say)
        if found is None or found.batch != batch:
            return None
        return found if self.has_lines_of(found, say) else None

    def has_lines_of(self, checkpoint: Checkpoint, say: Callable[[str], None], place: int = 0) -> bool:
        """Are the lines up to a checkpoint as they were written? `say` is told where they are not.

        `place`: which setting of a sweep's these lines are.
        """
        kept = self._kept(checkpoint.step)
        if kept is not None and lines_digest(kept).hexdigest() == checkpoint.lines[place]:
            return True
        say(f"{self.lines}: its lines are not as they were written; the batch is begun again")
        return False

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Begin the unit, or go on at a checkpoint: what was logged after it is dropped, for it comes again."""
        kept = (self._kept(checkpoint.step) if checkpoint else None) or []
        self.close()
        self.digest = lines_digest(kept)
        try:
            if checkpoint is None:
                for name in (NEWEST, BEFORE):
                    (self.folder / name).unlink(missing_ok=True)
            # A file of its own: who had the folder before may still write into the one that was there.
            write_bytes(self.lines, lines_text(kept).encode())
            self._file = self.lines.open("ab", buffering=0)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, line: MetricsLine) -> None:
        """Log a line; whoever looks sees it at once, and it outlives a crash of the machine from the next checkpoint on."""
        assert self._file is not None
        data = lines_text([line]).encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError("the disk is full")
        except OSError as error:
            raise self._failed(error) from error
        self.digest.update(data)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep everything that is needed to go on, and the checkpoint before it."""
        self.sync()
        save_checkpoint(self.folder, checkpoint)

    def sync(self) -> None:
        """Put what was logged on the disk."""
        try:
            if self._file is not None:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Log no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def logged(self) -> list[MetricsLine]:
        """What was logged."""
        return read_metrics(self.lines)

    def _kept(self, step: int) -> list[MetricsLine] | None:
        try:
            return [line for line in self.logged() if line.step <= step]
        except (UnsafeInputError, StorageError):
            return None

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"{self.lines}: cannot be written: {error.strerror or error}")


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Keep everything that is needed to go on, and the checkpoint before it."""
    arrays = {f"leaf_{i:04d}": np.asarray(leaf) for i, leaf in enumerate(checkpoint.leaves or ())}
    if checkpoint.image is not None:
        arrays["image"] = np.asarray(checkpoint.image)
    if checkpoint.frames is not None:
        arrays["frames"] = checkpoint.frames
    position = np.array([checkpoint.batch, checkpoint.stage, checkpoint.step])
    words = {name: np.array(getattr(checkpoint, name), dtype=np.str_) for name in ("owners", "lines")}
    words["environments"] = np.array([json.dumps(e.to_json()) for e in checkpoint.environments], dtype=np.str_)
    words["rate_scale"] = np.array(checkpoint.rate_scale)
    newest = directory / NEWEST
    with atomic_path(newest) as temporary:
        with temporary.open("wb") as file:
            np.savez(file, position=position, **words, **arrays)  # type: ignore[arg-type]
        seal(temporary, {})
        # Killed between the two renames a run goes on from the one before.
        with suppress(FileNotFoundError):
            os.replace(newest, directory / BEFORE)
        sync_directory(directory)


def load_checkpoint(directory: Path, say: Callable[[str], None], whose: str = "its batch") -> Checkpoint | None:
    """The newest checkpoint that is as it was written, or None; `say` is told of one that is not, and what is done instead.

    `whose`: what begins again without one.
    """
    for path, instead in ((directory / NEWEST, directory / BEFORE), (directory / BEFORE, None)):
        try:
            unsealed(path)
            return _checkpoint(path)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            there = instead is not None and instead.exists()
            then = f"going on from {instead.name}" if there and instead else f"{whose} is begun again"
            say(f"{path}: {error}; {then}")
    return None


def _checkpoint(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            batch, stage, step = (int(x) for x in file["position"])
            leaves = [file[name] for name in sorted(file.files) if name.startswith("leaf_")]
            image = file["image"] if "image" in file.files else None
            owners, lines = (tuple(file[name].tolist()) for name in ("owners", "lines"))
            where = tuple(validated(Environment, json.loads(text), path) for text in file["environments"].tolist())
            scale = float(file["rate_scale"])
            frames = file["frames"] if "frames" in file.files else None
            return Checkpoint(batch, stage, step, leaves or None, image, owners, lines, scale, where, frames)
    except (*_UNREADABLE, UnsafeInputError) as error:
        raise DamagedError(f"it cannot be read: {error}") from error
