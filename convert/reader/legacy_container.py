"""torch's container up to 1.5: five pickles in a row, then every storage as an element count and raw bytes.

It carries no checksum: a file with altered weights reads without complaint. Only its length is fully determined.
"""

from __future__ import annotations

from typing import Any, Literal

from jinv_convert.reader import numpy_pickle
from jinv_convert.reader.pickle_machine import PickleMachine
from jinv_convert.reader.source import Blob, Cursor, Source
from jinv_convert.reader.storages import StorageTable
from jinv_convert.reader.types import DTYPES, Storage

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def read_legacy(
    source: Source, opaque: dict[str, None]
) -> tuple[Any, list[Storage], Literal["legacy", "numpy pickle"]]:
    """The tree of a legacy file, its storages, and whether it is a plain pickle of numpy arrays instead.

    Raises:
      UnsafeInputError: neither.
    """
    cursor = Cursor(source, Blob(source, 0, source.size), "header")
    first = PickleMachine(cursor, opaque, names=numpy_pickle.NAMES).load()
    if numpy_pickle.holds_arrays(first):
        if cursor.remaining:
            raise source.refuse(f"{cursor.remaining} bytes of trailing data behind a pickle of numpy arrays")
        return first, [], "numpy pickle"
    if first != MAGIC:
        raise source.refuse(
            "a pickle, but neither one of torch.save nor a dict of numpy arrays: re-save it with torch.save"
        )
    if PickleMachine(cursor, opaque).load() != PROTOCOL:
        raise source.refuse(f"not the protocol {PROTOCOL} of torch's legacy container")
    system = PickleMachine(cursor, opaque).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise source.refuse("written on a big-endian machine: re-save it with a current torch")

    cursor.label = "object"
    table = StorageTable(lambda key, size: Storage(key, size), views=True)
    tree = PickleMachine(cursor, opaque, table).load()

    cursor.label = "storage keys"
    keys = PickleMachine(cursor, opaque).load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise source.refuse("the list of storages is no list of strings")
    if sorted(keys) != sorted(table.storages):
        raise source.refuse("the list of storages is not that of the storages in use")
    cursor.label = "storages"
    for key in keys:
        storage, dtype = table.storages[key], table.dtypes[key]
        itemsize = DTYPES[dtype].itemsize if dtype else 1
        count = int.from_bytes(cursor.take(8), "little", signed=True)
        if count * itemsize != storage.size:
            raise source.refuse(f"storage {key!r:.80}: {count} elements where {storage.size // itemsize} are announced")
        storage.blob = Blob(source, cursor.position, storage.size)
        cursor.skip(storage.size)
    if cursor.remaining:
        raise source.refuse(f"{cursor.remaining} bytes of trailing data behind the last storage")
    return tree, list(table.storages.values()), "legacy"
