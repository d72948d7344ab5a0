"""The units of a run: batches of images that share batch statistics, each in a folder that appears whole and is then final.

    units/000/000012/   unit.json (what it is, with the digest of every file)  images.npy  metrics.jsonl  its pictures

Pictures are moved on to images/ once the folder is there. Who made a unit, when, and beside which others is in none of its
bytes: two who make the same one in the same environment make the same, and the first is kept.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from jinv.errors import RunConflictError, StorageError, UnsafeInputError
from jinv.files import TEMPORARY, atomic_directory, make_directory, remove_temporaries, sync_directory
from jinv.record.entry import DIGEST, Entry, Whole, has_its_digest, parsed, validated, with_digest
from jinv.record.sealed import DamagedError, digest_of

UNITS = "units"
PER_FOLDER = 1000
"""Units that share a folder: file systems that many machines work on are slow where a folder has very many entries."""

RECORD, ARRAY, LINES = "unit.json", "images.npy", "metrics.jsonl"
_NUMBER = re.compile(r"\d{6,9}")
_UNIT = re.compile(r"(\d{6,9})(\..+)?")


class Environment(Entry):
    """What the bits of a unit depend on besides its run's config and weights."""

    jax: str
    jaxlib: str
    device: str
    processor: str
    flags: str = ""


class Failure(Entry):
    """Where a unit stopped being finite, and in whose words."""

    step: Whole
    why: str


class UnitRecord(Entry):
    """unit.json: a unit's images, of `first` and those that follow it, and the sha256 of its files.

    files: by name; pictures under the names that they have in the run. environments: in which it was computed, one after
    another where it went on elsewhere: bits are those of an undisturbed run where there is one. learning_rate_scale: below 1
    where the unit was made anew with a lower rate. failed: its images are the last finite ones, and no pictures of the run.
    """

    unit: Whole
    first: Whole
    labels: tuple[Whole, ...]
    environments: tuple[Environment, ...] = ()
    learning_rate_scale: float = 1.0
    failed: Failure | None = None
    files: dict[str, str] = {}

    @property
    def pictures(self) -> list[str]:
        """The names of its pictures, relative to the run."""
        return [name for name in self.files if name not in (ARRAY, LINES)]


def unit_folder(run: Path, number: int) -> Path:
    """Where a finished unit lies."""
    return run / UNITS / f"{number // PER_FOLDER:03d}" / f"{number:06d}"


def final_units(run: Path) -> Iterator[int]:
    """The numbers of the units that are there, damaged or not; a folder is listed at a time, and no file read."""
    for folder in sorted(_listed(run / UNITS)):
        yield from sorted(int(name) for name in _listed(run / UNITS / folder) if _NUMBER.fullmatch(name))


def missing_units(run: Path, wanted: Iterable[int]) -> list[int]:
    """Those of the `wanted` units that are not there; raises as `final_units`."""
    there = set(final_units(run))
    return [number for number in wanted if number not in there]


def write_unit(run: Path, record: UnitRecord, images: np.ndarray, lines: Path, pictures: Mapping[str, bytes]) -> bool:
    """Make the unit final: its folder is there, whole, when this returns. False where it was there before.

    Args:
      images: (n, height, width, 3) float32.
      lines: the file with what was logged.
      pictures: files' bytes by their names relative to the run.

    Raises:
      StorageError: it cannot be written.
    """
    folder = unit_folder(run, record.unit)
    if folder.is_dir():
        return False
    try:
        with atomic_directory(folder) as temporary:
            with (temporary / ARRAY).open("wb") as file:
                np.save(file, images)
            shutil.copyfile(lines, temporary / LINES)
            for name, data in pictures.items():
                (temporary / PurePosixPath(name).name).write_bytes(data)
            files = {name: digest_of(temporary / PurePosixPath(name).name) for name in (ARRAY, LINES, *pictures)}
            table = with_digest(record.model_copy(update={"files": files}))
            (temporary / RECORD).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    except RunConflictError:  # somebody else was faster
        return False
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return True


def unit_record(run: Path, number: int) -> UnitRecord:
    """What a unit's record says.

    Raises:
      DamagedError: it is not as it was written. FileNotFoundError: there is no such unit. StorageError: it cannot be read.
    """
    path = unit_folder(run, number) / RECORD
    try:
        data = path.read_bytes()
        table = parsed(data, path)
        if not has_its_digest(data) or DIGEST not in table:
            raise DamagedError(f"{RECORD} is not as it was written")
        record = validated(UnitRecord, table, path)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise DamagedError(f"{RECORD} is missing") from None
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{RECORD} is none") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnsafeInputError as error:
        raise DamagedError(f"{RECORD} is not as it was written") from error
    if record.unit != number:
        raise DamagedError(f"it holds unit {record.unit}")
    return record


def check_unit(run: Path, number: int) -> UnitRecord:
    """The record of a unit whose every file is as it was written.

    Raises:
      As `unit_record`. DamagedError: a file is missing or another one.
    """
    record = unit_record(run, number)
    for name, digest in record.files.items():
        _check_file(run, number, name, digest)
    return record


def _check_file(run: Path, number: int, name: str, digest: str) -> None:
    """Is a file of a unit as it was written? A picture is moved from the unit's folder to the run's, once: whoever does not
    find it in the one finds it in the other, in this order."""
    paths = [unit_folder(run, number) / PurePosixPath(name).name, *([] if name in (ARRAY, LINES) else [run / name])]
    for path in paths:
        try:
            if digest_of(path) != digest:
                raise DamagedError(f"{path.relative_to(run)}: its digest is another one than when it was written")
            return
        except FileNotFoundError:
            continue
        except (IsADirectoryError, NotADirectoryError):
            break
        except OSError as error:
            raise _unreadable(path, error) from error
    raise DamagedError(f"{path.relative_to(run)} is missing")


def _unreadable(path: Path, error: OSError) -> StorageError:
    """Nothing is thrown away that may be sound, by a process without descriptors or behind a network that is down."""
    instead = (
        f"; where the disk is damaged remove {path.parent}: the batch is made again" if error.errno == errno.EIO else ""
    )
    return StorageError(f"{path}: cannot be read: {error.strerror or error}{instead}")


def publish(run: Path, record: UnitRecord) -> None:
    """Move a unit's pictures to where the run has them; those that are there already stay.

    Raises:
      StorageError: they cannot be moved.
    """
    folder, touched = unit_folder(run, record.unit), set()
    try:
        for name in record.pictures:
            target = run / name
            make_directory(target.parent)
            with suppress(FileNotFoundError):
                os.rename(folder / target.name, target)
                touched.add(target.parent)
        for directory in sorted(touched):
            sync_directory(directory)
        if touched:
            sync_directory(folder)
    except OSError as error:
        raise StorageError(f"{run / 'images'}: cannot be written: {error.strerror or error}") from error


def unpublished_pictures(run: Path, number: int) -> dict[int, str]:
    """By an image's number the file, relative to the run, of each picture that still lies with its unit."""
    folder = unit_folder(run, number)
    names = (name for name in _listed(folder) if name not in (RECORD, ARRAY, LINES))
    return {
        int(name[:6]): (folder / name).relative_to(run).as_posix() for name in sorted(names) if name[:6].isdecimal()
    }


def unit_logs(run: Path) -> Iterator[tuple[int, list[Path]]]:
    """By number where what was logged of each unit lies, in the order in which it is looked for: with the unit, which may
    have become final since, or with whoever is at work on it."""
    for folder in sorted(_listed(run / UNITS)):
        found: dict[int, list[Path]] = {}
        for name in sorted(_listed(run / UNITS / folder)):
            if match := _UNIT.fullmatch(name):
                own = found.setdefault(int(match[1]), [run / UNITS / folder / match[1] / LINES])
                own += [run / UNITS / folder / name / LINES] if name != match[1] else []
        yield from sorted(found.items())


def unit_images(run: Path, number: int) -> np.ndarray:
    """The images of a unit that is there, (n, height, width, 3) float32, mapped into memory.

    Raises:
      StorageError: they cannot be read.
    """
    path = unit_folder(run, number) / ARRAY
    try:
        images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    return images


def discard_unit(run: Path, number: int) -> None:
    """Remove a unit, so that it is made again: from one moment to the next it is no longer there; nor is one that is not.

    Raises:
      StorageError: it cannot be removed.
    """
    folder = unit_folder(run, number)
    away = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.tmp")
    try:
        os.rename(folder, away)
        sync_directory(folder.parent)
    except FileNotFoundError:  # somebody else was faster
        return
    except OSError as error:
        raise StorageError(f"{folder}: cannot be removed: {error.strerror or error}") from error
    shutil.rmtree(away, ignore_errors=True)


def tidy_units(run: Path) -> None:
    """Remove what killed processes left of units that they were writing; for whoever works on the run alone."""
    for folder in _listed(run / UNITS):
        remove_temporaries(run / UNITS / folder)
        for name in _listed(run / UNITS / folder):
            path = run / UNITS / folder / name
            if TEMPORARY.fullmatch(name):
                shutil.rmtree(path, ignore_errors=True)
            elif not _NUMBER.fullmatch(name) and path.is_dir():
                remove_temporaries(path)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"{folder}: cannot be listed: {error.strerror or error}") from error
