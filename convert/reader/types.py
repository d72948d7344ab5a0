"""What comes out of a file: plain Python values, tensors that are still on disk, and names that stay names."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import ml_dtypes
import numpy as np

_NATIVE = (
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
)
_EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
Container = Literal["zip", "legacy", "safetensors", "numpy pickle"]
# By torch's names. float8 is read, and left to the converter to refuse or upcast.
DTYPES: dict[str, np.dtype] = {name: np.dtype(name) for name in _NATIVE}
DTYPES |= {name: np.dtype(getattr(ml_dtypes, name)) for name in _EXTENDED}

# Bytes of an element of those that are not read. Of the packed ones a storage counts bytes.
UNREAD_BYTES = {
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "quint8": 1,
    "qint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
}


class Readable(Protocol):
    """Bytes of one storage, wherever they lie."""

    size: int

    def read(self, start: int, size: int) -> np.ndarray:
        """`size` bytes from `start`, as uint8."""


@dataclass(unsafe_hash=True, slots=True, repr=False)
class Opaque:
    """An object that was not built: only the name of its class or function is kept, nothing of it is imported."""

    name: str

    def __repr__(self) -> str:
        # Messages quote keys and values as they are, and users have no class of this name.
        return f"<{self.name}>"


class UnreadTensor(Opaque):
    """A tensor of a kind that is not read (complex, quantised, sparse): inert beside the weights, refused among them.

    `name` says what it is, with its article.
    """


@dataclass(eq=False, slots=True)
class Storage:
    """One run of elements that tensors are views of; `blob` is set once the container knows where the bytes lie."""

    key: str
    size: int  # bytes
    swapped: bool = False  # big-endian
    blob: Readable | None = None


@dataclass(eq=False, slots=True)
class TensorRef:
    """A tensor on disk: shape, dtype (torch's name), and where in which storage it lies (strides in elements)."""

    shape: tuple[int, ...]
    dtype: str
    storage: Storage
    offset: int = 0
    strides: tuple[int, ...] = ()
    # The part of the storage it may lie in, in bytes (legacy files keep views of storages).
    window: tuple[int, int] = (0, 0)
    name: str = field(default="", compare=False)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return DTYPES[self.dtype].itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of `numpy()`."""
        return self.size * self.itemsize

    @property
    def last(self) -> int:
        """Index of the last element in the storage window; `offset - 1` for an empty tensor."""
        if not self.size:
            return self.offset - 1
        return self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def view(self) -> tuple[Any, ...]:
        """Equal for two tensors that are the same elements of the same storage (hashable)."""
        return (id(self.storage), self.window, self.dtype, self.shape, self.strides, self.offset)

    def numpy(self) -> np.ndarray:
        """A fresh C-contiguous array, in native byte order and the file's own dtype; reads the file."""
        dtype = DTYPES[self.dtype]
        if not self.size:
            return np.empty(self.shape, dtype)
        assert self.storage.blob is not None, "the container sets it"
        start = self.window[0] + self.offset * dtype.itemsize
        raw = self.storage.blob.read(start, (self.last - self.offset + 1) * dtype.itemsize)
        # Moved as unsigned integers, which numpy can stride and swap whatever the dtype.
        flat = raw.view(f"u{dtype.itemsize}")
        if self.storage.swapped:
            flat = flat.byteswap()
        if flat.size == self.size and self._contiguous():
            array = flat.reshape(self.shape)
        else:
            strides = [stride * dtype.itemsize for stride in self.strides]
            array = np.lib.stride_tricks.as_strided(flat, self.shape, strides).copy(order="C")
        # A byte other than 0 and 1 is no valid bool in numpy.
        return array != 0 if self.dtype == "bool" else array.view(dtype)

    def _contiguous(self) -> bool:
        expected = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def __repr__(self) -> str:
        return f"<tensor of shape {self.shape}, {self.dtype}>"


@dataclass(frozen=True)
class Checkpoint:
    """A file that was read: `tree` is dict/list/tuple/str/bytes/int/float/bool/None, `TensorRef` and `Opaque`."""

    path: str
    sha256: str  # of the whole file
    container: Container
    tree: Any
    opaque: tuple[str, ...] = ()  # names that were kept inert
    warnings: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)  # safetensors' __metadata__
