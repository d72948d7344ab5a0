"""Safetensors files whose every byte a digest covers: what converted networks and recorded statistics have in common.

The header has one canonical form (sorted JSON, contiguous tensors in name order) that a reader rebuilds and compares byte
for byte, every tensor has a digest over its name, dtype, shape and bytes, and the metadata has one over itself.
"""

import hashlib
import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError
from jinv.files import atomic_path

MAX_HEADER = 8 << 20
MAX_RANK = 8


def write_sealed(path: str | Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write float32 arrays, in order of their names, and texts, to which their digest is added; atomically.

    Raises:
      StorageError: the file cannot be written.
    """
    # Not ascontiguousarray: that turns () into (1,).
    arrays = {name: np.asarray(arrays[name], dtype="<f4", order="C") for name in sorted(arrays)}
    sealed = {**texts, "sha256_of_metadata": metadata_sha256(texts)}
    header = _header(sealed, {name: array.shape for name, array in arrays.items()})
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for array in arrays.values():
            file.write(_bytes(array))


def read_header(data: bytes, path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(where the tensors begin, what the header says of each, the texts) of a whole file's bytes.

    Raises:
      UnsafeInputError: no safetensors file, or a malformed one.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, MAX_HEADER):
        limit = f"{min(max(len(data) - 8, 0), MAX_HEADER)} are possible"
        raise UnsafeInputError(f"{path}: not a safetensors file: its header claims {size} bytes, {limit}")
    header = _load_json(data[8 : 8 + size], path)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise UnsafeInputError(f"{path}: __metadata__ is not a table of strings")
    return 8 + size, header, texts


def is_canonical(data: bytes, start: int, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bool:
    """Whether the first `start` bytes are just what these tensors and texts are written as."""
    return _header(texts, {name: array.shape for name, array in sorted(arrays.items())}) == data[:start]


def tensor_sha256(name: str, array: np.ndarray) -> str:
    """Digest of a tensor: sha256 over the JSON of [name, "F32", shape], then its little-endian bytes."""
    digest = hashlib.sha256(compact_json([name, "F32", list(array.shape)]).encode())
    digest.update(_bytes(array))
    return digest.hexdigest()


def metadata_sha256(metadata: Mapping[str, str]) -> str:
    """Digest of the metadata: sha256 over its canonical JSON without the entry that holds this digest."""
    rest = {key: value for key, value in metadata.items() if key != "sha256_of_metadata"}
    return hashlib.sha256(compact_json(rest).encode()).hexdigest()


def _header(metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, shape in shapes.items():
        stop = start + 4 * math.prod(shape)
        entries[name] = {"data_offsets": [start, stop], "dtype": "F32", "shape": list(shape)}
        start = stop
    text = compact_json(entries).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin 8-byte aligned, as safetensors' own writer does
    return len(text).to_bytes(8, "little") + text


def arrays_of(header: dict[str, Any], data: memoryview, path: str) -> dict[str, np.ndarray]:
    """The tensors, read-only views, of what the header says of each and the bytes behind it.

    Raises:
      UnsafeInputError: a malformed header, or tensors that do not fill the file. ModelMismatchError: other than float32.
    """
    spans: list[tuple[int, int, str, tuple[int, ...]]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"data_offsets", "dtype", "shape"}:
            raise UnsafeInputError(f"{path}: header entry {name!r} is not a tensor's dtype, shape and data_offsets")
        if entry["dtype"] != "F32":
            raise ModelMismatchError(f"{path}: {name} has dtype {entry['dtype']!r}; these files hold F32 alone")
        shape, offsets = entry["shape"], entry["data_offsets"]
        for field, value in (("shape", shape), ("data_offsets", offsets)):
            if not isinstance(value, list) or not all(type(v) is int and 0 <= v < 2**48 for v in value):
                raise UnsafeInputError(f"{path}: {name} has {field} {str(value)[:80]}, not a list of sizes")
        if len(shape) > MAX_RANK or len(offsets) != 2 or offsets[1] - offsets[0] != 4 * math.prod(shape):
            raise UnsafeInputError(f"{path}: {name} of shape {str(shape)[:80]} does not fill its bytes {offsets[:2]}")
        spans.append((offsets[0], offsets[1], name, tuple(shape)))
    end = 0
    for start, stop, name, _ in sorted(spans):
        if start != end:
            raise UnsafeInputError(f"{path}: {name} begins at byte {start}, but the tensor before it ends at {end}")
        end = stop
    if end != len(data):
        raise UnsafeInputError(f"{path}: the tensors cover {end} bytes, the file holds {len(data)}")
    return {
        name: np.frombuffer(data[start:stop], dtype="<f4").reshape(shape)
        for start, stop, name, shape in sorted(spans, key=lambda span: span[2])
    }


def _load_json(text: bytes, path: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("a key appears twice")
        return table

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UnsafeInputError(f"{path}: the safetensors header is not readable JSON: {str(error)[:80]}") from None
    if not isinstance(header, dict):
        raise UnsafeInputError(f"{path}: the safetensors header is not a table")
    return header


def read_file(path: Path) -> bytes:
    """All of a regular file.

    Raises:
      StorageError: missing or unreadable.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(f"{path}: not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StorageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def compact_json(value: Any) -> str:
    """JSON in its one form here: keys sorted, no spaces, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
