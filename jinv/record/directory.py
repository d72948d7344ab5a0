"""A run's directory: which files it has, and how each is written and read.

    config.toml (resolved)  manifest.json  metrics.jsonl  images/  images.npy  grid.png  evaluation.json  report.html

`manifest.json` exists from the start and says `"finished": null` until everything else is in place. While a run goes on,
`checkpoint.npz`, the one before it and `batches/` hold what `--resume` needs; keys derive from seed, image and step, so a
resumed run ends with the same bits as an uninterrupted one.
"""

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from jinv.errors import RunConflictError, StorageError, legible
from jinv.files import atomic_path, write_bytes, write_text
from jinv.record.evaluation import Evaluation, read_evaluation
from jinv.record.manifest import Manifest, read_manifest
from jinv.record.metrics import MetricsLine, lines_text, read_metrics

CHECKPOINT, CHECKPOINT_BEFORE = "checkpoint.npz", "checkpoint_before.npz"
UNSEALED = ("manifest.json", CHECKPOINT, CHECKPOINT_BEFORE)


class Checkpoint(NamedTuple):
    """Where a batch goes on: from `step`, with a state's leaves within `stage`, or the image that `stage` starts from.

    owners: the settings of a sweep whose states these are, side by side. seconds: what was spent on the run until then.
    """

    batch: int
    stage: int
    step: int
    leaves: Sequence[Any] | None = None
    image: Any = None
    owners: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class RunDirectory:
    """Paths and records of one run."""

    path: Path

    def check(self, *, resume: bool) -> bool:
        """Can a run begin, or go on, here? True where one is there to be resumed.

        Raises:
          RunConflictError: it exists and `resume` is false, or holds something else.
          StorageError: it is a file, or lies where nothing can be made.
        """
        exists = self.path.exists()
        if exists and not self.path.is_dir():
            kind = "a file" if self.path.is_file() else "a device, a pipe or a socket"
            raise StorageError(f"{self.path}: the run directory is {kind}")
        if not exists and self.path.is_symlink():
            raise StorageError(f"{self.path}: the run directory is a link to nothing, {os.readlink(self.path)}")
        above = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise StorageError(f"{self.path}: cannot be written: {above} is no directory that can be")
        # A run that was killed before its first file leaves temporary names alone.
        occupied = exists and not all(_is_temporary(entry) for entry in self.path.iterdir())
        if occupied and not resume:
            raise RunConflictError(
                f"{self.path}: run directory already exists; choose another --out, or continue it with --resume"
            )
        if occupied and self.manifest() is None:
            raise RunConflictError(f"{self.path}: not a run directory (no manifest.json); choose another --out")
        return occupied

    def prepare(self, *, resume: bool) -> bool:
        """Make the directory and prove that it can be written; True where an unfinished run is there to be resumed.

        Raises:
          As `check`. StorageError: it cannot be made or written.
        """
        exists, occupied = self.path.exists(), self.check(resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be created: {error.strerror}") from error
        try:
            with atomic_path(self.path / ".writable.tmp"):
                pass
            (self.path / ".writable.tmp").unlink()
        except StorageError:
            if not exists:
                self.discard()
            raise
        return occupied

    def has_begun(self, manifest: Manifest) -> bool:
        """Whether anything can have been computed here: not where a run was killed before its second file, the config."""
        return manifest.finished is not None or (self.path / "config.toml").exists()

    def remove(self) -> None:
        """Remove an earlier run; anything that is not a run directory is left alone.

        Raises:
          RunConflictError: the directory holds something else.
        """
        if self.path.is_dir() and any(self.path.iterdir()):
            if not (self.path / "manifest.json").is_file():
                raise RunConflictError(f"{self.path}: not a run directory (no manifest.json); it is not replaced")
            # It stays and is emptied, for it may be a link or a mount; last goes what says that it is a run's.
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == "manifest.json"):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

    def discard(self) -> None:
        """Remove the directory if nothing is in it yet."""
        with suppress(OSError):
            self.path.rmdir()

    def manifest(self) -> Manifest | None:
        """The manifest, or None where there is none.

        Raises:
          RunConflictError: it is not readable as a manifest of this version.
        """
        return read_manifest(self.path / "manifest.json")

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `manifest.json`."""
        self.write_json("manifest.json", manifest.to_json())

    def evaluation(self) -> Evaluation | None:
        """What networks said of the images, or None where none was asked.

        Raises:
          StorageError: evaluation.json is damaged.
        """
        return read_evaluation(self.path / "evaluation.json")

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Write `evaluation.json`."""
        self.write_json("evaluation.json", evaluation.to_json())

    def metrics(self) -> list[MetricsLine]:
        """What was logged, also while the run goes on: a last line that is not whole yet is left out.

        Raises:
          StorageError: another line is damaged.
        """
        return read_metrics(self.path / "metrics.jsonl")

    def append_metrics(self, lines: Sequence[MetricsLine]) -> None:
        """Add lines to metrics.jsonl; they are on the disk when this returns. A resume begins with `rewrite_metrics`.

        Raises:
          StorageError: the disk is full or not writable.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return self.rewrite_metrics(lines)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(lines_text(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def rewrite_metrics(self, lines: Sequence[MetricsLine]) -> None:
        """Make these all the lines of metrics.jsonl: what came after a checkpoint, or was torn by a crash, is dropped."""
        write_text(self.path / "metrics.jsonl", lines_text(lines))

    def config(self) -> dict[str, Any]:
        """The config as it was carried out.

        Raises:
          StorageError: it is not there or damaged.
        """
        path = self.path / "config.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: cannot be read: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as a JSON file of that name."""
        write_text(self.path / name, json.dumps(legible(value), indent=1) + "\n")

    def write_config(self, table: dict[str, Any]) -> None:
        """Write `config.toml`."""
        write_text(self.path / "config.toml", tomli_w.dumps(table))

    def write_array(self, name: str, array: np.ndarray) -> None:
        """Write an array as a `.npy` file of that name, in a folder that is made where it is missing."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)

    def write_image(self, name: str, data: bytes) -> None:
        """Write a picture's file of that name, in a folder that is made where it is missing."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path / name, data)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep everything that is needed to go on, and the checkpoint before it, should this one be damaged later."""
        arrays = {f"leaf_{i:04d}": np.asarray(leaf) for i, leaf in enumerate(checkpoint.leaves or ())}
        if checkpoint.image is not None:
            arrays["image"] = np.asarray(checkpoint.image)
        position = np.array([checkpoint.batch, checkpoint.stage, checkpoint.step])
        owners = np.array(checkpoint.owners, dtype=np.str_)
        seconds, newest = np.array(checkpoint.seconds), self.path / CHECKPOINT
        with atomic_path(newest) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, position=position, owners=owners, seconds=seconds, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            if newest.exists():  # killed after this, the one before is the newest
                os.replace(newest, self.path / CHECKPOINT_BEFORE)

    def load_checkpoint(self, warn: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
        """What was kept last, or before that where the last is damaged, of which `warn` is told; None where nothing is."""
        newest, before = self.path / CHECKPOINT, self.path / CHECKPOINT_BEFORE
        if not newest.exists():
            newest, before = before, newest
        try:
            return _read_checkpoint(newest) if newest.exists() else None
        except Exception as error:  # whatever a damaged file makes its readers stumble over
            why = f"{newest}: cannot be read ({type(error).__name__})"
        try:
            found = _read_checkpoint(before)
        except Exception:
            other = f"nor can {before}" if before.exists() else f"and there is no {before.name}"
            warn(f"warning: {why}, {other}: the batch that was not finished begins again")
            return None
        warn(f"warning: {why}; going on from the one before it, {before}")
        os.replace(before, newest)  # so that the next one saved does not take the damaged one for the one before
        return found

    def has_batch(self, number: int) -> bool:
        """Whether an interrupted run had finished that batch; its images are not read for it."""
        return self.batch_path(number).exists()

    def batch(self, number: int) -> np.ndarray:
        """The images of a batch that is finished."""
        array: np.ndarray = np.load(self.batch_path(number), allow_pickle=False)
        return array

    def write_batch(self, number: int, images: np.ndarray) -> None:
        """Keep the images of a finished batch until the run is."""
        self.write_array(str(self.batch_path(number).relative_to(self.path)), images)

    def batch_path(self, number: int) -> Path:
        """Where the images of a finished batch lie until the run is."""
        return self.path / "batches" / f"{number:06d}.npy"

    def is_finished(self) -> bool:
        """Whether a finished run is there."""
        manifest = self.manifest()
        return manifest is not None and manifest.finished is not None

    def clean(self) -> None:
        """Remove what only an unfinished run needs."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        (self.path / CHECKPOINT_BEFORE).unlink(missing_ok=True)
        shutil.rmtree(self.path / "batches", ignore_errors=True)

    def digests(self) -> dict[str, str]:
        """sha256 of every output file; `clean` removes the rest."""
        found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file() and not p.name.startswith("."))
        names = sorted(str(p) for p in found if p.name not in UNSEALED and p.parts[0] != "batches")
        return {name: hashlib.sha256((self.path / name).read_bytes()).hexdigest() for name in names}


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _read_checkpoint(path: Path) -> Checkpoint:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        batch, stage, step = (int(x) for x in file["position"])
        leaves = [file[name] for name in sorted(file.files) if name.startswith("leaf_")]
        image = file["image"] if "image" in file.files else None
        owners = tuple(file["owners"].tolist()) if "owners" in file.files else ()
        seconds = float(file["seconds"]) if "seconds" in file.files else 0.0
        return Checkpoint(batch, stage, step, leaves or None, image, owners, seconds)
