"""The converted file: a plain safetensors file whose header, metadata and tensors are all covered by sha256 digests.

Safetensors itself has no checksum, so a flipped bit is a silently wrong weight. Here the header has one canonical form
(sorted JSON, contiguous tensors in name order) that a reader rebuilds and compares byte for byte, every tensor has a
digest over its name, dtype, shape and bytes, and the metadata has one over itself, those digests included.
"""

import hashlib
import json
import math
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError
from jinv.files import atomic_path

FORMAT = "1"
MAX_HEADER = 8 << 20
MAX_RANK = 8
NAME = re.compile(r"params(/\w+)+/(kernel|bias|scale)|batch_stats(/\w+)+/(mean|var)", re.ASCII)
JSON_KEYS = ("mean", "std", "input_size", "class_names", "num_classes", "clamp", "source", "notes", "sha256_of_tensors")
_HOW_TO = "run `jinv convert {} OUT.safetensors`"
TEXT_KEYS = ("jinv_format", "architecture", "sha256_of_metadata")
OPTIONAL_KEY = "training"
"""A text that older files do not have."""


class ConvertedFile(NamedTuple):
    """What lies on disk: `arrays` {"params/...": float32}, decoded `metadata`, `problems` (none in a sound file)."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class NetworkMetadata:
    """What a converted file says of its network, besides its tensors.

    `mean` and `std` are in units where white is 1; `source` holds at least the checkpoint's `file` and `sha256`; what is known of
    its publication as `license`, `paper`, `accuracy`, `resize`, `crop` (pixels) and `interpolation`. Of a network without
    a head `num_classes` is 0. `training` names the pipeline that the network came out of, None where nobody said.
    """

    architecture: str
    mean: Sequence[float]
    std: Sequence[float]
    input_size: int
    num_classes: int
    source: Mapping[str, Any]
    class_names: Sequence[str] | None = None
    clamp: bool | str = False
    notes: Sequence[str] = ()
    training: str | None = None


def save_converted(path: str | Path, variables: Mapping[str, np.ndarray], metadata: NetworkMetadata) -> None:
    """Write a converted file atomically; the same arguments give the same bytes.

    `variables` is flat, {"params/conv1/kernel": float32 HWIO, "batch_stats/bn1/mean": ...}.

    Raises:
      ValueError: a name outside the format or an array that is not float32.
      StorageError: the file cannot be written.
    """
    for name, array in variables.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a converted tensor")
        if array.dtype != np.float32:
            raise ValueError(f"{name} is {array.dtype}, not float32")
    # Not ascontiguousarray: that turns () into (1,).
    arrays = {name: np.asarray(variables[name], dtype="<f4", order="C") for name in sorted(variables)}
    values = {
        "mean": [float(value) for value in metadata.mean],
        "std": [float(value) for value in metadata.std],
        "input_size": metadata.input_size,
        "class_names": None if metadata.class_names is None else list(metadata.class_names),
        "num_classes": metadata.num_classes,
        "clamp": metadata.clamp,
        "source": dict(metadata.source),
        "notes": list(metadata.notes),
        "sha256_of_tensors": {name: tensor_sha256(name, array) for name, array in arrays.items()},
    }
    texts = {"jinv_format": FORMAT, "architecture": metadata.architecture} | {k: _json(v) for k, v in values.items()}
    texts |= {OPTIONAL_KEY: metadata.training} if metadata.training else {}
    texts["sha256_of_metadata"] = metadata_sha256(texts)
    header = _header(texts, {name: array.shape for name, array in arrays.items()})
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for array in arrays.values():
            file.write(_bytes(array))


def read_converted(path: str | Path, *, verify: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a converted file: flat arrays (read-only views of one buffer) and its decoded metadata.

    Raises:
      UnsafeInputError: malformed, or with `verify`, any digest or byte of the header is not what it must be.
      UsageError: not a converted file at all (a checkpoint, or somebody else's safetensors).
      StorageError: missing or unreadable.
    """
    arrays, metadata, problems = open_converted(path)
    if verify and problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UnsafeInputError(f"{path}: {problems[0]}{more}; the file is damaged, convert it again")
    return arrays, metadata


def open_converted(path: str | Path) -> ConvertedFile:
    """Read a converted file as it lies on disk, listing what is wrong with it instead of refusing it.

    Raises:
      UnsafeInputError: so malformed that tensors cannot be located.
    """
    data = _read_file(Path(path))
    return parse_converted(data, str(path))


def parse_converted(data: bytes, path: str = "converted file") -> ConvertedFile:
    """`open_converted` on bytes in memory."""
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER and (data[:2] == b"PK" or data[:1] == b"\x80"):  # a zip archive or a pickle
        raise UsageError(f"{path}: a PyTorch checkpoint, not a converted file; first {_HOW_TO.format(path)}")
    if len(data) < 8 or size > min(len(data) - 8, MAX_HEADER):
        limit = f"{min(max(len(data) - 8, 0), MAX_HEADER)} are possible"
        raise UnsafeInputError(f"{path}: not a safetensors file: its header claims {size} bytes, {limit}")
    header = _load_json(data[8 : 8 + size], path)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise UnsafeInputError(f"{path}: __metadata__ is not a table of strings")
    arrays = _arrays(header, memoryview(data)[8 + size :], path)
    if not any(key in texts for key in ("jinv_format", "sha256_of_tensors", "sha256_of_metadata")):
        raise UsageError(f"{path}: safetensors, but not converted by jinv; first {_HOW_TO.format(path)}")
    metadata, problems = _decode(texts)
    if metadata_sha256(texts) != texts.get("sha256_of_metadata"):
        problems.append("the metadata's sha256 differs from the recorded one")
    recorded = metadata.get("sha256_of_tensors") or {}
    for name in sorted(arrays.keys() | recorded.keys()):
        if name not in arrays:
            problems.append(f"tensor {name} is recorded but missing")
        elif tensor_sha256(name, arrays[name]) != recorded.get(name):
            problems.append(f"the sha256 of tensor {name} differs from the recorded one")
    # Last, because a damaged tensor says more than a header that merely is not ours byte for byte.
    if _header(texts, {name: array.shape for name, array in sorted(arrays.items())}) != data[: 8 + size]:
        problems.append("the header is not in canonical form")
    return ConvertedFile(arrays, metadata, tuple(problems))


def tensor_sha256(name: str, array: np.ndarray) -> str:
    """Digest of a tensor: sha256 over the JSON of [name, "F32", shape], then its little-endian bytes."""
    digest = hashlib.sha256(_json([name, "F32", list(array.shape)]).encode())
    digest.update(_bytes(array))
    return digest.hexdigest()


def metadata_sha256(metadata: Mapping[str, str]) -> str:
    """Digest of the metadata: sha256 over its canonical JSON without the entry that holds this digest."""
    rest = {key: value for key, value in metadata.items() if key != "sha256_of_metadata"}
    return hashlib.sha256(_json(rest).encode()).hexdigest()


def _header(metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, shape in shapes.items():
        stop = start + 4 * math.prod(shape)
        entries[name] = {"data_offsets": [start, stop], "dtype": "F32", "shape": list(shape)}
        start = stop
    text = _json(entries).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin 8-byte aligned, as safetensors' own writer does
    return len(text).to_bytes(8, "little") + text


def _arrays(header: dict[str, Any], data: memoryview, path: str) -> dict[str, np.ndarray]:
    spans: list[tuple[int, int, str, tuple[int, ...]]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"data_offsets", "dtype", "shape"}:
            raise UnsafeInputError(f"{path}: header entry {name!r} is not a tensor's dtype, shape and data_offsets")
        if entry["dtype"] != "F32":
            raise ModelMismatchError(f"{path}: {name} has dtype {entry['dtype']!r}; converted files hold F32 alone")
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


def _decode(texts: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    metadata: dict[str, Any] = {key: texts.get(key) for key in (*TEXT_KEYS, OPTIONAL_KEY)}
    problems = [f"metadata entry {key} is missing" for key in TEXT_KEYS + JSON_KEYS if key not in texts]
    if metadata["jinv_format"] not in (None, FORMAT):
        problems.append(f"format {metadata['jinv_format']!r} is not {FORMAT!r}, the one that this version reads")
    for key in JSON_KEYS:
        try:
            value = json.loads(texts.get(key, "null"))
        except (ValueError, RecursionError):
            value = None
        expected = _EXPECTED[key]
        if not expected(value):
            if key in texts:
                problems.append(f"metadata entry {key} is {texts[key][:60]!r}, which is not a {key}")
            value = None
        metadata[key] = value
    return metadata, problems


def _is_rgb(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is float and math.isfinite(v) for v in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


_EXPECTED: dict[str, Callable[[Any], bool]] = {
    "mean": _is_rgb,
    "std": lambda value: _is_rgb(value) and min(value) > 0,
    "input_size": lambda value: type(value) is int and value > 0,
    "class_names": lambda value: value is None or _is_texts(value),
    "num_classes": lambda value: type(value) is int and value >= 0,
    "clamp": lambda value: type(value) is bool or value == "straight-through",
    "source": lambda value: isinstance(value, dict),
    "notes": _is_texts,
    "sha256_of_tensors": lambda value: isinstance(value, dict) and _is_texts(list(value.values())),
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


def _read_file(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(f"{path}: not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StorageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
