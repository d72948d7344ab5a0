"""A run's directory: which files it has, and how each is written and read.

    config.toml (resolved)  manifest.json  metrics.jsonl  units.jsonl  images/  images.npy  grid.png  evaluation.json  report.html
    frames.webp where it was asked for; timing.jsonl and logs/, of no seal

`manifest.json` exists from the start and says `"finished": null` until everything else is in place. While a run goes on,
`units/` holds what is final and what is under way (`jinv.record.units`, `claims`, `unfinished`), `workers/` who is at work;
keys derive from seed, image and step, so a resumed run ends with the same bits as an uninterrupted one.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinv.errors import RunConflictError, StorageError, UnsafeInputError, legible
from jinv.files import (
    TEMPORARY,
    atomic_path,
    make_directory,
    remove_temporaries,
    write_bytes,
    write_text,
)
from jinv.images.folder import MANIFEST
from jinv.record.config import CONFIG, is_whole, read_table, signed_text
from jinv.record.durable import sync_folders
from jinv.record.entry import DIGEST, has_its_digest, with_digest
from jinv.record.evaluation import Evaluation, read_evaluation, write_evaluation
from jinv.record.kinds import not_a
from jinv.record.lock import LOCK
from jinv.record.manifest import Manifest, read_manifest
from jinv.record.metrics import MetricsLine, first_metrics, iter_metrics
from jinv.record.sealed import digest_of
from jinv.record.timing import TIMING
from jinv.record.unfinished import INSTEAD
from jinv.record.units import ARRAY, UNITS, tidy_units, unit_logs
from jinv.record.workers import WORKERS

REWRITTEN = ("evaluation.json", "report.html")
"""What is made again from the rest at any time, and sealed anew then; so is the folder nearest/."""


def is_rewritten(name: str) -> bool:
    """Whether a file of a run is such a one."""
    return name in REWRITTEN or name.startswith("nearest/")


SINKS = "logs"
"""Where `--log` has its files."""

ASIDE = (TIMING,)
"""Of no seal, for it depends on clocks; so are the folders of workers and of sinks."""

FOLDERS = ("images", "nearest", WORKERS)

PROBE = ".writable.00000000.tmp"
"""Written and removed to see whether anything can be; left by a process that was killed it goes as any temporary file does."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths and records of one run."""

    path: Path

    def entries(self) -> list[Path]:
        """What lies there, but for the lock and what a killed process left of files it was writing."""
        names: list[str] = []
        with suppress(FileNotFoundError):  # who had made it for nothing takes it away again
            names = os.listdir(self.path)
        return [self.path / name for name in names if name != LOCK and not TEMPORARY.fullmatch(name)]

    def check_place(self) -> None:
        """Could a directory be here, in which can be written?

        Raises:
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

    def check(self, *, resume: bool) -> bool:
        """Can a run begin, or go on, here? True where one is there to be resumed.

        Raises:
          RunConflictError: it exists and `resume` is false, or holds something else. StorageError: as `check_place`.
        """
        self.check_place()
        occupied = self.path.exists() and any(self.entries())
        if occupied and not resume:
            raise RunConflictError(
                f"{self.path}: run directory already exists; choose another --out, or continue it with --resume"
            )
        if occupied and self.manifest() is None:
            raise RunConflictError(f"{not_a('run', self.path)}; choose another --out")
        return occupied

    def prepare(self, *, resume: bool) -> bool:
        """Make the directory and prove that it can be written; True where an unfinished run is there to be resumed.

        Raises:
          As `check`. StorageError: it cannot be made or written.
        """
        exists, occupied = self.path.exists(), self.check(resume=resume)
        try:
            make_directory(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be created: {error.strerror or error}") from error
        try:
            with atomic_path(self.path / PROBE):
                pass
            (self.path / PROBE).unlink(missing_ok=True)
        except (OSError, StorageError) as error:
            if not exists:
                self.discard()
            raise StorageError(str(error)) from error
        return occupied

    def has_begun(self, manifest: Manifest) -> bool:
        """Whether anything can have been computed here: not where a run was killed before its second file, the config."""
        return manifest.finished is not None or any(path.name != MANIFEST for path in self.entries())

    def remove(self) -> None:
        """Remove an earlier run; anything that is not a run directory is left alone.

        Raises:
          RunConflictError: the directory holds something else.
        """
        if self.path.is_dir() and any(self.entries()):
            if not (self.path / MANIFEST).is_file():
                raise RunConflictError(f"{not_a('run', self.path)}; it is not replaced")
            self.write_unfinished(Manifest())  # what is left of it, should this be cut short, is no finished run
            # It stays and is emptied, for it may be a link or a mount; last goes what says that it is a run's.
            try:
                for entry in sorted(self.entries(), key=lambda entry: entry.name == MANIFEST):
                    if entry.is_dir() and not entry.is_symlink():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()
            except OSError as error:
                raise StorageError(f"{self.path}: cannot be removed: {error.strerror or error}") from error

    def discard(self) -> None:
        """Remove the directory if nothing is in it yet."""
        with suppress(OSError):
            self.path.rmdir()

    def manifest(self) -> Manifest | None:
        """The manifest, or None where there is none.

        Raises:
          RunConflictError: it is not readable as a manifest of this version.
        """
        return read_manifest(self.path / MANIFEST)

    def known_manifest(self) -> Manifest:
        """The manifest of a run that is there; raises as `manifest`.

        Raises:
          StorageError: there is none.
        """
        manifest = self.manifest()
        if manifest is None:
            raise self.no_run()
        return manifest

    def no_run(self) -> StorageError:
        """What is there instead of a run."""
        if self.path.is_dir():
            return StorageError(not_a("run", self.path))
        return StorageError(f"{self.path}: {'not a directory' if self.path.exists() else 'no such directory'}")

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `manifest.json`."""
        self.write_json(MANIFEST, manifest.to_json())

    def write_unfinished(self, manifest: Manifest) -> None:
        """Write the `manifest.json` of a run that goes on, with its own digest."""
        self.write_json(MANIFEST, with_digest(manifest))

    def check_unfinished(self) -> None:
        """Are manifest.json and config.toml of a run that is to go on as they were written? Those of earlier versions can't say.

        Raises:
          UnsafeInputError: they are not. StorageError: one is missing. RunConflictError: an earlier version left it.
        """
        if (self.path / "batches").is_dir():
            raise RunConflictError(f"{self.path}: an unfinished run of an earlier jinv; begin it anew with --replace")
        found = {}
        for name in (MANIFEST, CONFIG):
            try:
                found[name] = (self.path / name).read_bytes()
            except OSError as error:
                raise StorageError(f"{self.path / name}: cannot be read: {error.strerror}; {INSTEAD}") from error
        # The version that first wrote a digest into the one signed the other.
        signed = DIGEST.encode() in found[MANIFEST]
        whole = {MANIFEST: has_its_digest(found[MANIFEST]), CONFIG: is_whole(found[CONFIG], signed=signed)}
        for name in (name for name in whole if not whole[name]):
            raise UnsafeInputError(f"{self.path / name}: is not as it was written; {INSTEAD}")

    def evaluation(self) -> Evaluation | None:
        """What networks said of the images, or None where none was asked.

        Raises:
          StorageError: evaluation.json is damaged.
        """
        return read_evaluation(self.path / "evaluation.json")

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Write `evaluation.json`; raises as `record.evaluation.write_evaluation`."""
        write_evaluation(self.path / "evaluation.json", evaluation)

    def metrics(self) -> list[MetricsLine]:
        """What was logged, also while the run goes on: a last line that is not whole yet is left out.

        Raises:
          StorageError, UnsafeInputError: it cannot be read, or a line is damaged.
        """
        return list(self.iter_metrics())

    def iter_metrics(self) -> Iterator[MetricsLine]:
        """As `metrics`, a line at a time, none kept. Units that somebody moves or joins meanwhile are read where they went."""
        path, read = self.path / "metrics.jsonl", set[int]()
        for number, logs in unit_logs(self.path) if not path.exists() else ():
            if (yield from first_metrics(logs)):
                read.add(number)
        # Of a run that goes on there is none; where it was sealed meanwhile it has the units that were gone.
        yield from (line for line in iter_metrics(path) if line.batch not in read)

    def config(self) -> dict[str, Any]:
        """The config as it was carried out.

        Raises:
          StorageError: it is not there or cannot be read. UnsafeInputError: it is damaged.
        """
        return read_table(self.path / CONFIG)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as a JSON file of that name."""
        write_text(self.path / name, json.dumps(legible(value), indent=1) + "\n")

    def write_config(self, table: dict[str, Any]) -> None:
        """Write `config.toml`, whose last line is a comment with the digest of the others."""
        write_text(self.path / CONFIG, signed_text(table))

    def write_image(self, name: str, data: bytes) -> None:
        """Write a picture's file of that name, in a folder that is made where it is missing."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path / name, data)

    def is_finished(self) -> bool:
        """Whether a finished run is there."""
        return (manifest := self.manifest()) is not None and manifest.finished is not None

    def clean(self) -> None:
        """Remove what only an unfinished run needs, of a run whose images lie in shards all but these; raises as `sync_folders`."""
        sync_folders(self.path)  # who sealed it may have been killed just then
        shutil.rmtree(self.path / WORKERS, ignore_errors=True)
        if (self.path / "images.npy").exists():
            return shutil.rmtree(self.path / UNITS, ignore_errors=True)
        for folder in (path for path in (self.path / UNITS).glob("*/*") if path.is_dir()):
            with suppress(OSError):
                for path in folder.iterdir():
                    if path.name != ARRAY:
                        path.unlink(missing_ok=True)
                folder.rmdir()  # one without a shard
        for path in (self.path / UNITS).glob("*/*.claim"):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed processes left of files they were writing; for whoever holds the directory's lock."""
        classes = (path for path in self.path.glob("images/*") if path.is_dir() and not path.is_symlink())
        for folder in (*(self.path / name for name in ("", *FOLDERS)), *classes):
            remove_temporaries(folder)
        tidy_units(self.path)

    def digests(self) -> dict[str, str]:
        """sha256 of every output file; `clean` removes the rest.

        Raises:
          StorageError: one cannot be read.
        """
        try:
            found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
            names = sorted(str(p) for p in found if self._is_output(p))
            return {name: digest_of(self.path / name) for name in names}
        except OSError as error:
            raise StorageError(f"{error.filename or self.path}: cannot be read: {error.strerror or error}") from error

    def _is_output(self, path: Path) -> bool:
        if any(part.startswith(".") for part in path.parts):
            return False
        if path.parts[0] == UNITS:
            return path.name == ARRAY and path.parent.name.isdecimal() and not (self.path / "images.npy").exists()
        return path.parts[0] not in (WORKERS, SINKS) and path.as_posix() not in (MANIFEST, *ASIDE)

    def check_sealed(self, manifest: Manifest, found: Mapping[str, str] | None = None) -> None:
        """Is what was sealed still as it was? `found`: `digests()`, where they are known. What is written anew is not asked.

        Raises:
          UnsafeInputError: a file is not. StorageError: one is missing.
        """
        if manifest.outputs is None:
            return
        found = self.digests() if found is None else found
        for name, digest in manifest.outputs.items():
            if is_rewritten(name):
                continue
            path = self.path / name
            if name not in found:
                raise StorageError(f"{path}: is missing from the finished run; put it back, or make the run anew")
            if found[name] != digest:
                raise UnsafeInputError(
                    f"{path}: is not as it was when the run was finished (sha256 {found[name][:12]}..., sealed "
                    f"{digest[:12]}...); put it back, or make the run anew"
                )
