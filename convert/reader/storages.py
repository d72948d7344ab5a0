"""Persistent ids: the only way from a pickle to the bytes of tensors, the same in both of torch's containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinv_convert.reader.rebuild import Malformed, StorageType, StorageView
from jinv_convert.reader.types import DTYPES, UNREAD_BYTES, Opaque, Storage


class StorageTable:
    """The storages that a pickle names; each key stands for one size and one type."""

    def __init__(self, locate: Callable[[str, int], Storage], *, views: bool) -> None:
        self.storages: dict[str, Storage] = {}
        self._locate, self._views = locate, views
        self.dtypes: dict[str, str | None] = {}

    def __call__(self, pid: Any) -> Any:
        """The storage of `("storage", type, key, location, numel[, view])`."""
        if not isinstance(pid, tuple) or not pid:
            raise Malformed("a persistent id that is no tuple")
        if self._views and pid[0] == "module" and len(pid) == 4 and isinstance(pid[1], Opaque):
            # A class with its source code, from files that hold a whole module: the class stays a name.
            return pid[1]
        if pid[0] != "storage" or len(pid) != (6 if self._views else 5):
            raise Malformed(f"a persistent id of {len(pid)} parts that is no storage")
        _, kind, key, location, numel = pid[:5]
        if not isinstance(kind, StorageType):
            raise Malformed("a persistent id without a storage type")
        if not isinstance(key, str) or not isinstance(location, str) or type(numel) is not int or numel < 0:
            raise Malformed("a persistent id whose key, location or size has a wrong type or sign")
        itemsize = 1 if kind.dtype is None else UNREAD_BYTES.get(kind.dtype) or DTYPES[kind.dtype].itemsize
        size = numel * itemsize
        if key not in self.storages:
            self.storages[key], self.dtypes[key] = self._locate(key, size), kind.dtype
        elif (self.dtypes[key], self.storages[key].size) != (kind.dtype, size):
            raise Malformed(f"storage {key!r:.80} with two types or sizes")
        return StorageView(self.storages[key], kind.dtype, self._window(pid[5:], itemsize, numel))

    def _window(self, view: tuple[Any, ...], itemsize: int, numel: int) -> tuple[int, int]:
        if not view or view[0] is None:
            return 0, numel * itemsize
        if not isinstance(view[0], tuple) or len(view[0]) != 3 or any(type(part) is not int for part in view[0][1:]):
            raise Malformed("a storage view that is not (key, offset, size)")
        _, offset, length = view[0]
        if min(offset, length) < 0 or offset + length > numel:
            raise Malformed(f"a storage view of {length} elements at {offset} of a storage of {numel}")
        return offset * itemsize, length * itemsize
