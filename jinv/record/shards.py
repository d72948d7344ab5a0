"""The images of a finished run that lie in a file per batch, as one array that is read where it is asked for.

units.jsonl     a line per batch: its record, and under "array" where its images lie, of a run in shards
"""

import tokenize
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jinv.errors import StorageError, UnsafeInputError
from jinv.record.entry import parsed, validated
from jinv.record.units import UnitRecord

INDEX = "units.jsonl"


class IndexLine(UnitRecord):
    """A batch of a finished run. array: the file of its images, relative to the run; None where images.npy has all."""

    array: str | None = None


class Shards(Sequence[np.ndarray]):
    """float32 (n, height, width, 3) like an array: `[5]`, `[2:9]`, `[[1, 7]]`, `len`, iteration; one shard is open at a time.

    Raises:
      StorageError: a shard that is read is not what the index says.
    """

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(self, run: Path, lines: Sequence[IndexLine]) -> None:
        self._run, self._lines = run, lines
        self._firsts = [line.first for line in lines]
        self._image = self._shard(0).shape[1:] if lines else (0, 0, 3)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, 3)."""
        return (len(self), *self._image)

    def __len__(self) -> int:
        return sum(len(line.labels) for line in self._lines)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self._several(range(len(self))[place])
        if isinstance(place, int | np.integer):
            return np.array(self._one(range(len(self))[int(place)]))
        chosen = np.asarray(place)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
            raise IndexError(f"{place!r:.60}: images are chosen by a number, a slice, or a list of numbers")
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return self._several([range(len(self))[int(i)] for i in numbers])

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(len(self._lines)):
            yield from (np.array(image) for image in self._shard(number))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("images in shards become one array by a copy alone")
        return self._several(range(len(self))).astype(dtype or np.float32, copy=False)

    def _several(self, numbers: Sequence[int]) -> np.ndarray:
        result = np.empty((len(numbers), *self._image), np.float32)
        for place, number in enumerate(numbers):
            result[place] = self._one(number)
        return result

    def _one(self, number: int) -> np.ndarray:
        line = bisect_right(self._firsts, number) - 1
        one: np.ndarray = self._shard(line)[number - self._firsts[line]]
        return one

    def _shard(self, place: int) -> np.ndarray:
        line = self._lines[place]
        path = self._run / (line.array or "")
        images = mapped(path)
        if images.dtype != np.float32 or images.ndim != 4 or len(images) != len(line.labels):
            raise StorageError(
                f"{path}: {images.dtype} of shape {images.shape} is no shard of {len(line.labels)} images"
            )
        return images


def read_index(run: Path) -> Iterator[IndexLine]:
    """The batches of a finished run, in order.

    Raises:
      StorageError: units.jsonl is missing or cannot be read. UnsafeInputError: it is damaged.
    """
    path = run / INDEX
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                where = f"{path}, line {number}"
                yield validated(IndexLine, parsed(text, where), where)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_shards(run: Path, count: int) -> Shards:
    """The images of a run in shards; raises as `read_index`.

    Raises:
      UnsafeInputError: they are not those of `count` images, or lie elsewhere.
    """
    lines, first = list(read_index(run)), 0
    for line in lines:
        inside = line.array is not None and ".." not in Path(line.array).parts and not Path(line.array).is_absolute()
        if line.first != first or not inside:
            raise UnsafeInputError(
                f"{run / INDEX}: unit {line.unit}: no shard of this run that follows the one before it"
            )
        first += len(line.labels)
    if first != count:
        raise UnsafeInputError(f"{run / INDEX}: {first} images, the manifest has {count} labels")
    return Shards(run, lines)


def mapped(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped into memory, read-only.

    Raises:
      StorageError: it cannot be read.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
