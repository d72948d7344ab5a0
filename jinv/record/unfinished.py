"""What an unfinished run leaves for `--resume`, each file with its own digest (`jinv.record.sealed`).

    batches/NNNNNN.npy        the images of a batch that is done
    checkpoint.npz            where the batch at hand goes on
    checkpoint_before.npz     the checkpoint before that one, for where the newest is damaged

A batch or a checkpoint that is damaged costs its work, which is done again to the same bits: a warning. What was logged
of it cannot be had again without that: both hold the digest of their batch's lines in metrics.jsonl, and lines that are not
those are refused.
"""

import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinv.errors import UnsafeInputError
from jinv.files import atomic_path, sync_directory
from jinv.record.metrics import MetricsLine, lines_digest
from jinv.record.sealed import DamagedError, seal, unsealed

NEWEST, BEFORE = "checkpoint.npz", "checkpoint_before.npz"
CHECKPOINTS = (NEWEST, BEFORE)
BATCHES = "batches"
INSTEAD = "put it back as it was, or begin anew with --replace"
"""What is left to do where an unfinished run can't go on."""

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoint(NamedTuple):
    """Where a batch goes on: from `step`, with a state's leaves within `stage`, or the image that `stage` starts from.

    owners: the settings of a sweep whose states these are, side by side. lines: the digest of what was logged of the batch,
    of a sweep each setting's. seconds: what was spent on the run until then.
    """

    batch: int
    stage: int
    step: int
    leaves: Sequence[Any] | None = None
    image: Any = None
    owners: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    seconds: float = 0.0


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Keep everything that is needed to go on, and the checkpoint before it."""
    arrays = {f"leaf_{i:04d}": np.asarray(leaf) for i, leaf in enumerate(checkpoint.leaves or ())}
    if checkpoint.image is not None:
        arrays["image"] = np.asarray(checkpoint.image)
    position = np.array([checkpoint.batch, checkpoint.stage, checkpoint.step])
    words = {name: np.array(getattr(checkpoint, name), dtype=np.str_) for name in ("owners", "lines")}
    newest = directory / NEWEST
    seconds = np.array(checkpoint.seconds)
    with atomic_path(newest) as temporary:
        with temporary.open("wb") as file:
            np.savez(file, position=position, seconds=seconds, **words, **arrays)  # type: ignore[arg-type]
        seal(temporary, {})
        # Killed between the two renames a run goes on from the one before.
        with suppress(FileNotFoundError):
            os.replace(newest, directory / BEFORE)
        sync_directory(directory)


def load_checkpoint(directory: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is as it was written, or None; `say` is told of one that is not, and what is done instead."""
    for path, instead in ((directory / NEWEST, directory / BEFORE), (directory / BEFORE, None)):
        try:
            unsealed(path)
            return _checkpoint(path)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            there = instead is not None and instead.exists()
            then = f"going on from {instead.name}" if there and instead else "its batch is begun again"
            say(f"{path}: {error}; {then}")
    return None


def _checkpoint(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            batch, stage, step = (int(x) for x in file["position"])
            leaves = [file[name] for name in sorted(file.files) if name.startswith("leaf_")]
            image = file["image"] if "image" in file.files else None
            owners, lines = (tuple(file[name].tolist()) for name in ("owners", "lines"))
            return Checkpoint(batch, stage, step, leaves or None, image, owners, lines, float(file["seconds"]))
    except _UNREADABLE as error:
        raise DamagedError(f"it cannot be read: {error}") from error


def write_batch(directory: Path, number: int, images: np.ndarray, lines: str | None) -> None:
    """Keep the images of a finished batch, and the digest of its lines, until the run is."""
    path = batch_path(directory, number)
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, images)
        seal(temporary, {"batch": number, "lines": lines})


def batch_images(directory: Path, number: int) -> np.ndarray:
    """The images of a batch that is among `finished_batches`."""
    images: np.ndarray = np.load(batch_path(directory, number), allow_pickle=False)
    return images


def finished_batches(directory: Path, numbers: Iterable[int], say: Callable[[str], None]) -> dict[int, str | None]:
    """Those of `numbers` whose images are there as they were written, with the digest of their lines; `say` is told of others."""
    found = {}
    for number in numbers:
        path = batch_path(directory, number)
        try:
            about = unsealed(path)
            if about.get("batch") != number:
                raise DamagedError(f"it holds batch {about.get('batch')}")
            found[number] = about.get("lines")
        except FileNotFoundError:
            continue
        except DamagedError as error:
            say(f"{path}: {error}; the batch is made again")
    return found


def check_lines(path: Path, lines: Sequence[MetricsLine], batch: int, digest: str | None) -> None:
    """Refuse lines of a batch that are not those of which the digest was taken.

    Raises:
      UnsafeInputError: they are not.
    """
    if digest is not None and lines_digest(lines).hexdigest() != digest:
        raise UnsafeInputError(f"{path}: the lines of batch {batch} are not as they were written; {INSTEAD}")


def batch_path(directory: Path, number: int) -> Path:
    """Where the images of a batch lie; NumPy maps them into memory, their seal after them or not."""
    return directory / BATCHES / f"{number:06d}.npy"
