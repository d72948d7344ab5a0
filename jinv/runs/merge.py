"""Puts a run together whose units are all there: one metrics.jsonl, one images.npy or an index of shards, the grid."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from jinv.core.choices import Arrays
from jinv.core.pixels import to_uint8
from jinv.errors import NumericalError, StorageError
from jinv.files import atomic_path
from jinv.images.folder import Watch
from jinv.images.sample import sample_grid_png
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest
from jinv.record.sealed import DamagedError
from jinv.record.shards import INDEX, mapped, read_shards
from jinv.record.units import (
    ARRAY,
    LINES,
    UnitRecord,
    check_unit,
    discard_unit,
    final_units,
    publish,
    unit_folder,
    unit_images,
    unit_record,
)

LARGEST_FILE = 2 << 30
"""Bytes of images.npy, beyond which images stay in a file per unit where `output.arrays` is "auto"."""


def drop_damaged(directory: RunDirectory, count: int, say: Callable[[str], None], watch: Watch) -> list[int]:
    """Look through the units that are there, move their pictures to where they belong, and remove what is damaged.

    Returns what was removed, to be made again; `say` is told of each.

    Raises:
      StorageError: something cannot be read or removed.
    """
    removed = []
    numbers = [number for number in final_units(directory.path) if number < count]
    for number in watch(numbers, "looking through the batches", len(numbers)):
        try:
            publish(directory.path, check_unit(directory.path, number))
        except FileNotFoundError:  # somebody else was faster, on a file system without locks
            removed.append(number)
        except DamagedError as error:
            say(f"{unit_folder(directory.path, number)}: {error}; the batch is made again")
            discard_unit(directory.path, number)
            removed.append(number)
    return removed


def join_lines(directory: RunDirectory, count: int) -> None:
    """Write metrics.jsonl from the units' lines.

    Raises:
      StorageError: a file cannot be read or written.
    """
    folders = (unit_folder(directory.path, number) for number in range(count))
    write_lines(directory.path, ((folder / LINES).read_bytes() for folder in folders))


def check_failed(directory: RunDirectory, count: int) -> None:
    """Refuse to put a run together whose units are not all finite.

    Raises:
      NumericalError: names those, and what was the matter with the first.
    """
    failed = [record for record in _records(directory, count) if record.failed]
    if not failed:
        return
    first = failed[0]
    assert first.failed is not None
    numbers = ", ".join(str(record.unit) for record in failed[:8]) + (", ..." if len(failed) > 8 else "")
    which = f"batch {numbers}" if len(failed) == 1 else f"{len(failed)} of {count} batches ({numbers})"
    others = "" if len(failed) == count else f"; the images of the others are in {directory.path}"
    raise NumericalError(
        f"{directory.path}: {which} failed, also with {first.learning_rate_scale:g} times the learning rate: "
        f"{first.failed.why}{others}"
    )


def assemble(directory: RunDirectory, manifest: Manifest, count: int, arrays: Arrays, watch: Watch) -> None:
    """Write units.jsonl, images.npy (not of a run in shards) and grid.png from the units, one after another.

    Nothing larger than a unit is held in memory.

    Raises:
      StorageError: a file cannot be read or written.
    """
    run = directory.path
    shape, number = unit_images(run, 0).shape[1:], len(manifest.labels)
    one_file = arrays == "one_file" or (arrays == "auto" and number * math.prod(shape) * 4 <= LARGEST_FILE)
    if one_file:
        units = watch(range(count), "recording the images", count)
        write_images(run, (number, *shape), (unit_images(run, unit) for unit in units))
    write_index(run, _records(directory, count), sharded=not one_file)
    write_grid(directory, manifest)


def write_lines(run: Path, parts: Iterable[bytes]) -> None:
    """Write metrics.jsonl, `parts` being the units' lines in order."""
    with atomic_path(run / "metrics.jsonl") as temporary, temporary.open("wb") as file:
        file.writelines(parts)


def write_images(run: Path, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Write images.npy of `shape`, in the bytes of `np.save`, `parts` being the units' images in order."""
    with atomic_path(run / "images.npy") as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def write_index(run: Path, records: Iterable[UnitRecord], *, sharded: bool) -> None:
    """Write units.jsonl, of a run in shards with where they lie."""
    with atomic_path(run / INDEX) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            shard = unit_folder(run, record.unit) / ARRAY
            where = {"array": shard.relative_to(run).as_posix()} if sharded else {}
            file.write(json.dumps(record.to_json() | where) + "\n")


def write_grid(directory: RunDirectory, manifest: Manifest) -> None:
    """Write grid.png, of a large run a sample by class."""
    path = directory.path / "images.npy"
    images = mapped(path) if path.exists() else read_shards(directory.path, len(manifest.labels))
    mean, std = manifest.model.mean, manifest.model.std
    directory.write_image("grid.png", sample_grid_png(manifest.labels, lambda i: to_uint8(images[i], mean, std)))


def _records(directory: RunDirectory, count: int) -> Iterator[UnitRecord]:
    try:
        for number in range(count):
            yield unit_record(directory.path, number)
    except (DamagedError, FileNotFoundError) as error:
        raise StorageError(f"{directory.path}: a batch went away while it was put together: {error}") from error
