"""The file as bytes: one descriptor, reads by position, nothing mapped, and a digest of the whole.

A memory map would kill the process when the file shrinks meanwhile; a positioned read only comes back short.
"""

import hashlib
import os
import stat
import weakref
import zlib
from collections.abc import Iterator

import numpy as np

from jinv.errors import StorageError, UnsafeInputError
from jinv_convert.reader.types import Readable

CHUNK = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Source:
    """An open regular file that must stay as it was; raises `StorageError` (missing, no file, unreadable, changed)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            # Looked at before it is opened: opening a FIFO would wait for its writer, a device may act.
            self._require_regular(os.stat(self.path))
            self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StorageError(f"{self.path}: cannot be read: {reason}") from None
        self._close = weakref.finalize(self, os.close, self._fd)
        self._status = os.fstat(self._fd)
        self._require_regular(self._status)
        self.size = self._status.st_size

    def _require_regular(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise StorageError(f"{self.path}: not a regular file but {kind}")

    def refuse(self, what: str) -> UnsafeInputError:
        """The error for this file, to be raised."""
        return UnsafeInputError(f"{self.path}: {what}")

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; raises `UnsafeInputError` where the file has fewer."""
        buffer = bytearray(self._checked(offset, size))
        self._fill(memoryview(buffer), offset)
        return bytes(buffer)

    def read_array(self, offset: int, size: int) -> np.ndarray:
        """The same as a fresh uint8 array, without a second copy."""
        array = np.empty(self._checked(offset, size), np.uint8)
        self._fill(memoryview(array), offset)  # type: ignore[arg-type]
        return array

    def chunks(self, offset: int, size: int) -> Iterator[memoryview]:
        """The same in pieces, each of which the next one overwrites."""
        self._checked(offset, size)
        buffer = memoryview(bytearray(min(CHUNK, size)))
        for start in range(offset, offset + size, CHUNK):
            piece = buffer[: self._checked(start, min(CHUNK, offset + size - start))]
            self._fill(piece, start)
            yield piece

    def sha256(self) -> str:
        """Hex digest of the whole file."""
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()

    def crc32(self, offset: int, size: int) -> int:
        """CRC-32 of a range."""
        crc = 0
        for chunk in self.chunks(offset, size):
            crc = zlib.crc32(chunk, crc)
        return crc

    def _checked(self, offset: int, size: int) -> int:
        # Before the allocation: a size comes from the file and may be anything.
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.refuse(f"truncated: {size} bytes at byte {offset} lie outside the file of {self.size} bytes")
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self.size, self._status.st_mtime_ns):
            raise StorageError(f"{self.path}: changed while it was read ({self.size} bytes before, {now.st_size} now)")
        return size

    def _fill(self, buffer: memoryview, offset: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise StorageError(f"{self.path}: cannot be read: {error.strerror}") from None
            if count == 0:
                raise StorageError(f"{self.path}: changed while it was read (ends at byte {offset + done} now)")
            done += count


class Blob:
    """A range of the file that holds one storage, as it is."""

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self.source, self.offset, self.size = source, offset, size

    def read(self, start: int, size: int) -> np.ndarray:
        """Fresh uint8 array of `size` bytes from byte `start` of the range."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.source.refuse(f"{size} bytes at byte {start} lie outside a storage of {self.size} bytes")
        return self.source.read_array(self.offset + start, size)


class MemoryBlob:
    """Bytes that are held in memory."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.size = data, len(data)

    def read(self, start: int, size: int) -> np.ndarray:
        """uint8 array of `size` bytes from byte `start`."""
        return self.data[start : start + size]


class Cursor:
    """Reads forward through a range by a small window, so that no operand is allocated before its length is checked."""

    WINDOW = 1 << 16

    def __init__(self, source: Source, blob: Readable, label: str) -> None:
        self._source, self._blob, self.label = source, blob, label
        self.position, self._end = 0, blob.size
        self._window, self._window_start = b"", 0
        self._frame_end: int | None = None
        self._limit = self._end  # of the frame, else of the range

    def refuse(self, what: str) -> UnsafeInputError:
        """The error at this place, to be raised."""
        return self._source.refuse(f"{self.label}: byte {self.position}: {what}")

    @property
    def remaining(self) -> int:
        """Bytes left."""
        return self._end - self.position

    def take(self, size: int) -> bytes:
        """The next `size` bytes; raises where they are not there or straddle a frame."""
        position = self.position
        end = position + size
        if end >= self._limit:
            self._reach(end, size)
        start = position - self._window_start
        if start + size > len(self._window):
            count = min(max(size, self.WINDOW), self.remaining)
            self._window = self._blob.read(position, count).tobytes()
            self._window_start, start = position, 0
        self.position = end
        return self._window[start : start + size]

    def _reach(self, end: int, size: int) -> None:
        if end > self._end:
            raise self.refuse(f"truncated: {size} bytes needed, {self.remaining} left")
        if self._frame_end is not None:
            if end > self._frame_end:
                raise self.refuse(f"an opcode straddles the end of its frame at byte {self._frame_end}")
            self._frame_end, self._limit = None, self._end

    def skip(self, size: int) -> None:
        """Passes over `size` bytes without reading them."""
        if size > self.remaining:
            raise self.refuse(f"truncated: {size} bytes needed, {self.remaining} left")
        self.position += size

    def line(self, limit: int) -> bytes:
        """The bytes up to the next newline, which is consumed; at most `limit`."""
        start = self.position - self._window_start
        newline = self._window.find(b"\n", start, start + limit + 1)
        if newline >= 0 and self._window_start + newline + 1 < self._limit:  # else byte by byte, each of them checked
            self.position = self._window_start + newline + 1
            return self._window[start:newline]
        found = bytearray()
        while (byte := self.take(1)) != b"\n":
            found += byte
            if len(found) > limit:
                raise self.refuse(f"a name of more than {limit} bytes")
        return bytes(found)

    def enter_frame(self, size: int) -> None:
        """The next `size` bytes are one frame."""
        if self._frame_end is not None:
            raise self.refuse("a frame within a frame")
        if size > self.remaining:
            raise self.refuse(f"a frame of {size} bytes where {self.remaining} are left")
        if size:
            self._frame_end = self._limit = self.position + size

    def require_no_frame(self) -> None:
        """Raises inside a frame."""
        if self._frame_end is not None:
            raise self.refuse(f"the pickle ends within its frame, which ends at byte {self._frame_end}")
