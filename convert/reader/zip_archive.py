"""A zip archive read so that there is only one way to read it: every byte of the file belongs to exactly one record.

Python's and torch's zip readers each trust a part of the archive's redundancy. Here the parts must agree: local headers
with the central directory, sizes with the next header, both end records with each other.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jinv_convert.reader import limits
from jinv_convert.reader.source import CHUNK, Blob, Source
from jinv_convert.reader.types import Readable

_END, _END64, _LOCATOR = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_METHODS = {0: "stored", 8: "deflated"}
_OTHER_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 99: "AES-encrypted"}
_DESCRIPTOR, _DEFLATE_LEVEL, _UTF8 = 0x8, 0x6, 0x800
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(slots=True)
class Member:
    """One file of the archive."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int  # where its local header begins
    offset: int = 0  # where its data begin

    def blob(self, source: Source) -> Readable:
        """Its contents."""
        data = Blob(source, self.offset, self.packed)
        return data if self.method == 0 else DeflatedBlob(data, self.size, self.name)


class DeflatedBlob:
    """A deflated member, never inflated beyond its announced size.

    The first read inflates what it needs; a second one inflates all, which is kept: thousands of tensors can share a storage.
    """

    def __init__(self, packed: Blob, size: int, name: str) -> None:
        self.packed, self.size, self.name = packed, size, name
        self.was_read, self.kept = False, np.empty(0, np.uint8)

    def read(self, start: int, size: int) -> np.ndarray:
        """Fresh uint8 array of `size` bytes from byte `start`."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.packed.source.refuse(f"{self.name}: {size} bytes at byte {start} of {self.size}")
        if self.was_read and not len(self.kept):
            self.kept = self._inflated(0, self.size)
        self.was_read = True
        return self.kept[start : start + size].copy() if len(self.kept) else self._inflated(start, size)

    def _inflated(self, start: int, size: int) -> np.ndarray:
        out, position = np.empty(size, np.uint8), 0
        for piece in self.pieces():
            low, high = max(start, position), min(start + size, position + len(piece))
            if low < high:
                out[low - start : high - start] = np.frombuffer(piece, np.uint8)[low - position : high - position]
            position += len(piece)
            if position >= start + size:
                break
        return out

    def pieces(self) -> Iterator[bytes]:
        """The contents, a piece at a time; raises where they are not exactly as long as announced."""
        source, total, engine = self.packed.source, 0, zlib.decompressobj(-15)
        for packed in source.chunks(self.packed.offset, self.packed.size):
            chunk: bytes | memoryview = packed
            while chunk:
                try:
                    piece = engine.decompress(chunk, CHUNK)
                except zlib.error as error:
                    raise source.refuse(f"{self.name}: cannot be inflated: {error}") from None
                total += len(piece)
                if total > self.size:
                    raise source.refuse(f"{self.name}: inflates to more than the announced {self.size} bytes")
                yield piece
                chunk = engine.unconsumed_tail
                if engine.unused_data:
                    raise source.refuse(f"{self.name}: data behind the end of its deflate stream")
        if not engine.eof or total != self.size:
            raise source.refuse(f"{self.name}: inflates to {total} bytes instead of the announced {self.size}")


def read_members(source: Source) -> dict[str, Member]:
    """The members by name, without entries of folders; raises `UnsafeInputError`."""
    start, size, count = _end_records(source)
    if size > limits.MAX_DIRECTORY_BYTES or count > limits.MAX_MEMBERS:
        raise source.refuse(
            f"{count} zip members in a directory of {size} bytes, the limits are {limits.MAX_MEMBERS} "
            f"and {limits.MAX_DIRECTORY_BYTES}"
        )
    directory, position = source.read(start, size), 0
    members: dict[str, Member] = {}
    while position < size:
        member, position = _central(source, directory, position)
        if member.name in members:
            raise source.refuse(f"duplicate zip member {member.name!r:.120}")
        members[member.name] = member
    if len(members) != count:
        raise source.refuse(f"the zip directory announces {count} members and has {len(members)}")
    total, limit = sum(member.size for member in members.values()), limits.max_logical_bytes(source.size)
    if total > limit:
        raise source.refuse(f"{total} bytes when inflated, the limit for this file is {limit}")
    _check_locals(source, members, start)
    return {name: member for name, member in members.items() if not name.endswith("/")}


def check_crcs(source: Source, members: dict[str, Member]) -> list[str]:
    """Streams every member through CRC-32; returns one line per mismatch."""
    wrong = []
    for member in members.values():
        blob = member.blob(source)
        if isinstance(blob, DeflatedBlob):
            crc = 0
            for piece in blob.pieces():
                crc = zlib.crc32(piece, crc)
        else:
            crc = source.crc32(member.offset, member.size)
        if crc != member.crc:
            wrong.append(f"{member.name}: CRC-32 is {crc:08x}, recorded {member.crc:08x}")
    return wrong


def _end_records(source: Source) -> tuple[int, int, int]:
    """Start and size of the central directory, and the number of members."""
    at = source.size - _END.size
    if at < 0:
        raise source.refuse("truncated: too short for a zip archive")
    magic, disk, first_disk, here, count, size, start, comment = _END.unpack(source.read(at, _END.size))
    if magic != b"PK\x05\x06" or comment:
        raise source.refuse("the zip archive is truncated, or has a comment or trailing data")
    if disk or first_disk or here != count:
        raise source.refuse("a zip archive in several parts")
    end = at
    if at >= _LOCATOR.size and source.read(at - _LOCATOR.size, 4) == b"PK\x06\x07":
        small, locator = (count, size, start), at - _LOCATOR.size
        _, disk, end, disks = _LOCATOR.unpack(source.read(locator, _LOCATOR.size))
        if disk or disks != 1 or end + _END64.size != locator:
            raise source.refuse("the zip64 end record is not right before its locator")
        magic, length, _, _, disk, first_disk, here, count, size, start = _END64.unpack(source.read(end, _END64.size))
        if magic != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk or here != count:
            raise source.refuse("a malformed zip64 end record")
        for value, narrow, full in zip((count, size, start), small, (_FULL16, _FULL32, _FULL32), strict=True):
            if narrow not in (value, full):
                raise source.refuse(f"the two zip end records disagree: {narrow} and {value}")
    elif count == _FULL16 or _FULL32 in (size, start):
        raise source.refuse("a zip64 archive without its zip64 end record")
    if start + size != end:
        raise source.refuse(f"the zip directory of {size} bytes at byte {start} does not end at byte {end}")
    return start, size, count


def _central(source: Source, directory: bytes, position: int) -> tuple[Member, int]:
    if position + _CENTRAL.size > len(directory) or directory[position : position + 4] != b"PK\x01\x02":
        raise source.refuse(f"the zip directory is malformed at its byte {position}")
    fields = _CENTRAL.unpack_from(directory, position)
    flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, disk, _, attributes, header = fields[
        3:
    ]
    position += _CENTRAL.size
    end = position + name_size + extra_size + comment_size
    if end > len(directory):
        raise source.refuse("the zip directory is truncated")
    name = _name(source, directory[position : position + name_size])
    extra = directory[position + name_size : position + name_size + extra_size]
    if comment_size or disk:
        raise source.refuse(f"{name}: a zip member with a comment or in another part")
    size, packed, header = _wide(source, name, extra, [size, packed, header])
    if flags & ~(_DESCRIPTOR | _DEFLATE_LEVEL | _UTF8):
        raise source.refuse(f"{name}: zip flags 0x{flags:x} (encrypted, patched or masked) are not supported")
    if method not in _METHODS:
        raise source.refuse(f"{name}: compression method {_OTHER_METHODS.get(method, method)} is not supported")
    folder = name.endswith("/")
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise source.refuse(f"{name}: a link, directory or device in a zip archive")
    if folder and size or attributes & 0x10 and not folder:
        raise source.refuse(f"{name}: a folder with contents of its own, or a file that says it is a folder")
    if method == 0 and packed != size:
        raise source.refuse(f"{name}: stored, but {packed} bytes packed and {size} unpacked")
    if method == 8 and size > max(limits.FREE_DEFLATE_BYTES, limits.MAX_DEFLATE_RATIO * packed):
        raise source.refuse(f"{name}: deflated {size}:{packed}, the limit is {limits.MAX_DEFLATE_RATIO}:1")
    return Member(name, flags, method, crc, packed, size, header), end


def _name(source: Source, raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise source.refuse(f"zip member name {raw[:120]!r} is not UTF-8") from None
    # Nothing is ever extracted; such a name still has no business in a checkpoint.
    # One slash at the end is a folder's, as archivers other than torch write them.
    parts = {"", ".", ".."}.intersection(name.removesuffix("/").split("/"))
    if re.match(r"[A-Za-z]:", name) or "\\" in name or "\0" in name or parts:
        raise source.refuse(f"unsafe zip member name {name!r:.120}")
    return name


def _wide(source: Source, name: str, extra: bytes, values: list[int]) -> list[int]:
    """Replaces the values that are all ones by those of the zip64 extra field, in their order."""
    fields: dict[int, bytes] = {}
    while extra:
        kind, length = struct.unpack_from("<2H", extra) if len(extra) >= 4 else (0, len(extra))
        if 4 + length > len(extra) or kind in fields:
            raise source.refuse(f"{name}: malformed extra field in the zip archive")
        fields[kind], extra = extra[4 : 4 + length], extra[4 + length :]
    wide = fields.get(1, b"")
    for index, value in enumerate(values):
        if value == _FULL32:
            if len(wide) < 8:
                raise source.refuse(f"{name}: a zip64 size without its extra field")
            values[index], wide = int.from_bytes(wide[:8], "little"), wide[8:]
    return values


def _check_locals(source: Source, members: dict[str, Member], directory: int) -> None:
    """Local headers agree with the directory and follow each other in the file without hole or overlap."""
    ordered = sorted(members.values(), key=lambda member: member.header)
    position = 0
    for index, member in enumerate(ordered):
        if member.header != position:
            what = "overlaps the one before" if member.header < position else "has data in front of it"
            raise source.refuse(f"{member.name}: zip member at byte {member.header} {what}")
        following = ordered[index + 1].header if index + 1 < len(ordered) else directory
        position = _check_local(source, member, following)
    if position != directory:
        raise source.refuse(f"{directory - position} bytes in front of the zip directory belong to no member")


def _check_local(source: Source, member: Member, following: int) -> int:
    """Sets where the member's data begin; returns where it ends."""
    head = source.read(member.header, _LOCAL.size)
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(head)
    name = source.read(member.header + _LOCAL.size, name_size)
    described = bool(flags & _DESCRIPTOR)
    if size == packed == _FULL32:
        extra = source.read(member.header + _LOCAL.size + name_size, extra_size)
        size, packed = _wide(source, member.name, extra, [size, packed])
    same = (magic, flags, method, name) == (b"PK\x03\x04", member.flags, member.method, member.name.encode())
    numbers = (crc, packed, size)
    if not same or (numbers != (member.crc, member.packed, member.size) and not (described and not any(numbers))):
        raise source.refuse(f"{member.name}: local header and zip directory disagree")
    member.offset = member.header + _LOCAL.size + name_size + extra_size
    end = member.offset + member.packed
    if described:
        # Its length is not recorded anywhere; what lies between the data and the next header must be one of the four.
        length = following - end
        layouts = {12: "<3I", 16: "<4x3I", 20: "<I2Q", 24: "<4xI2Q"}
        if length not in layouts:
            raise source.refuse(f"{member.name}: {length} bytes behind its data are no data descriptor")
        raw = source.read(end, length)
        signed = length in (12, 20) or raw[:4] == b"PK\x07\x08"
        if not signed or struct.unpack(layouts[length], raw) != (member.crc, member.packed, member.size):
            raise source.refuse(f"{member.name}: data descriptor and zip directory disagree")
        end = following
    return end
