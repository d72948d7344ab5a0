"""The converted file: a plain safetensors file whose header, metadata and tensors are all covered by sha256 digests.

Safetensors itself has no checksum, so a flipped bit is a silently wrong weight. Here the header has one canonical form
(sorted JSON, contiguous tensors in name order) that a reader rebuilds and compares byte for byte, every tensor has a
digest over its name, dtype, shape and bytes, and the metadata has one over itself, those digests included.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jinv.errors import UnsafeInputError, UsageError
from jinv.weights.sealed import (
    MAX_HEADER,
    arrays_of,
    compact_json,
    is_canonical,
    metadata_sha256,
    read_file,
    read_header,
    tensor_sha256,
    write_sealed,
)

FORMAT = "1"
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
    values = {
        "mean": [float(value) for value in metadata.mean],
        "std": [float(value) for value in metadata.std],
        "input_size": metadata.input_size,
        "class_names": None if metadata.class_names is None else list(metadata.class_names),
        "num_classes": metadata.num_classes,
        "clamp": metadata.clamp,
        "source": dict(metadata.source),
        "notes": list(metadata.notes),
        "sha256_of_tensors": {name: tensor_sha256(name, array) for name, array in sorted(variables.items())},
    }
    texts = {"jinv_format": FORMAT, "architecture": metadata.architecture} | {
        k: compact_json(v) for k, v in values.items()
    }
    texts |= {OPTIONAL_KEY: metadata.training} if metadata.training else {}
    write_sealed(path, variables, texts)


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
    data = read_file(Path(path))
    return parse_converted(data, str(path))


def parse_converted(data: bytes, path: str = "converted file") -> ConvertedFile:
    """`open_converted` on bytes in memory."""
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER and (data[:2] == b"PK" or data[:1] == b"\x80"):  # a zip archive or a pickle
        raise UsageError(f"{path}: a PyTorch checkpoint, not a converted file; first {_HOW_TO.format(path)}")
    start, header, texts = read_header(data, path)
    arrays = arrays_of(header, memoryview(data)[start:], path)
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
    if not is_canonical(data, start, arrays, texts):
        problems.append("the header is not in canonical form")
    return ConvertedFile(arrays, metadata, tuple(problems))


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
