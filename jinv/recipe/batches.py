"""Which images of a run share a batch."""

from collections.abc import Sequence
from typing import Any


class Batches(Sequence[slice]):
    """Which images each batch has: nothing is stored, so that a run of very many costs as little per batch as one of few."""

    def __init__(self, count: int, batch: int) -> None:
        self._images, self._batch = count, batch

    def __len__(self) -> int:
        return -(-self._images // self._batch)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(len(self))[number]]
        first = range(len(self))[number] * self._batch
        return slice(first, min(first + self._batch, self._images))
