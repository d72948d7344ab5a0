"""torch's container since 1.6: a zip archive with `data.pkl` and one member per storage."""

from __future__ import annotations

import re
from typing import Any

from jinv.errors import shorten
from jinv_convert.reader import limits
from jinv_convert.reader.pickle_machine import PickleMachine
from jinv_convert.reader.rebuild import Malformed
from jinv_convert.reader.source import Cursor, MemoryBlob, Source
from jinv_convert.reader.storages import StorageTable
from jinv_convert.reader.types import Readable, Storage
from jinv_convert.reader.zip_archive import Member, check_crcs, read_members

_NOTES = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
_VERSIONS = {"1", "2", "3"}
# What macOS and Windows put into a folder that somebody unpacked, looked at and packed again.
_FILE_MANAGERS = re.compile(r"^__MACOSX/|(^|/)(\.DS_Store|Thumbs\.db|desktop\.ini)$")


def read_zip(source: Source, opaque: dict[str, None], *, check_crc: bool) -> tuple[Any, list[Storage], list[str]]:
    """Tree, storages and warnings of a zip file; raises `UnsafeInputError`."""
    members = read_members(source)
    root = _root(source, members)
    warnings = _checksums(source, members, check_crc)
    swapped = _notes(source, members, root, warnings)

    def locate(key: str, size: int) -> Storage:
        member = members.get(f"{root}/data/{key}")
        if member is None:
            raise Malformed(f"storage {key!r:.120} is missing: no member {root}/data/{key:.120}")
        if member.size != size:
            raise Malformed(f"storage {key!r:.120} needs {size} bytes, {member.name} has {member.size}")
        return Storage(key, size, swapped, member.blob(source))

    table = StorageTable(locate, views=False)
    cursor = Cursor(source, _pickle(source, members[f"{root}/data.pkl"]), "data.pkl")
    tree = PickleMachine(cursor, opaque, table).load()
    if cursor.remaining:
        raise cursor.refuse(f"{cursor.remaining} bytes of trailing data behind the pickle")
    expected = {f"{root}/data.pkl", *(f"{root}/{n}" for n in _NOTES), *(f"{root}/data/{k}" for k in table.storages)}
    for name in members:
        if _FILE_MANAGERS.search(name):
            warnings.append(f"left out {shorten(name)!r}, which a file manager put into the archive")
        elif name not in expected:
            raise source.refuse(f"unexpected member {name!r:.120}")
    return tree, list(table.storages.values()), warnings


def _root(source: Source, members: dict[str, Member]) -> str:
    """The one folder that all members lie in."""
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    code = [name for name in members if name.endswith("/constants.pkl") or "/code/" in name]
    if code:
        raise source.refuse(f"TorchScript is code ({code[0]:.120}): save the module's state_dict() and convert that")
    if any(name.endswith(".npy") for name in members):
        raise source.refuse("a .npz archive of numpy, not a PyTorch checkpoint")
    inner = [name for name in members if name.endswith((".pth", ".pt", ".ckpt", ".th", ".safetensors"))]
    if inner and not pickles:
        raise source.refuse(f"a zip archive that holds {inner[0]:.120}: extract that first")
    if len(pickles) != 1:
        raise source.refuse(f"a zip archive with {len(pickles)} data.pkl, not the one of a PyTorch checkpoint")
    return pickles[0].partition("/")[0]


def _pickle(source: Source, member: Member) -> Readable:
    if member.method == 0:
        return member.blob(source)
    if member.size > limits.MAX_INFLATED_PICKLE_BYTES:
        limit = limits.MAX_INFLATED_PICKLE_BYTES
        raise source.refuse(f"{member.name}: {member.size} bytes when inflated, the limit is {limit}")
    # Inflated once: the machine reads it in windows, each of which would inflate it from the start.
    return MemoryBlob(member.blob(source).read(0, member.size))


def _checksums(source: Source, members: dict[str, Member], check_crc: bool) -> list[str]:
    wrong = check_crcs(source, members)
    if not wrong:
        return []
    unrecorded = not any(member.crc for member in members.values())
    if not check_crc:
        what = "written without checksums" if unrecorded else "; ".join(wrong[:3])
        return [f"corruption can't be excluded: {what}"]
    if unrecorded:
        raise source.refuse("written without checksums, so that corruption can't be excluded: --no-crc reads it anyway")
    raise source.refuse(f"corrupted: {wrong[0]}" + (f" (and {len(wrong) - 1} more members)" if wrong[1:] else ""))


def _notes(source: Source, members: dict[str, Member], root: str, warnings: list[str]) -> bool:
    """Checks the small members; returns whether storages are big-endian."""
    values = {}
    for note in _NOTES:
        if (member := members.get(f"{root}/{note}")) is not None:
            if member.size > limits.MAX_SMALL_MEMBER_BYTES:
                raise source.refuse(f"{member.name}: {member.size} bytes, the limit is {limits.MAX_SMALL_MEMBER_BYTES}")
            values[note] = member.blob(source).read(0, member.size).tobytes()
    order = values.get("byteorder", b"little")
    if order not in (b"little", b"big"):
        raise source.refuse(f"{root}/byteorder is {order!r}, neither little nor big")
    version = values.get("version", b"3").strip().decode("ascii", "replace")
    if version not in _VERSIONS:
        warnings.append(f"version {version!r} of torch's container, known are {', '.join(sorted(_VERSIONS))}")
    return order == b"big"
