"""Foreign safetensors files, by a strict parser of their header: a JSON object of offsets, then the tensors.

The format has no checksum: a file with altered weights reads without complaint.
"""

from __future__ import annotations

import json
from typing import Any

from jinv.errors import ModelMismatchError
from jinv_convert.reader import limits
from jinv_convert.reader.source import Blob, Source
from jinv_convert.reader.types import DTYPES, Storage, TensorRef

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(source: Source) -> tuple[dict[str, TensorRef], dict[str, str]]:
    """Tensors by name, and `__metadata__`; raises `UnsafeInputError`, `ModelMismatchError` for an unknown dtype."""
    if source.size < 8:
        raise source.refuse("truncated: less than the 8 bytes of a safetensors header length")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > source.size - 8:
        raise source.refuse(f"a safetensors header of {length} bytes in a file of {source.size}")
    if length > limits.MAX_HEADER_BYTES:
        raise source.refuse(f"a safetensors header of {length} bytes, the limit is {limits.MAX_HEADER_BYTES}")
    header = _parse(source, source.read(8, length))
    metadata = _metadata(source, header.pop("__metadata__", {}))
    first = 8 + length
    tensors: dict[str, TensorRef] = {}
    ranges: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        begin, end, tensor = _tensor(source, name, entry, first)
        ranges.append((begin, end, name))
        tensors[name] = tensor
    position = 0
    for begin, end, name in sorted(ranges):
        if begin != position:
            what = "overlaps another one" if begin < position else "leaves a hole before it"
            raise source.refuse(f"tensor {name!r:.120}: at byte {begin} of the data it {what} (expected {position})")
        position = end
    if position != source.size - first:
        raise source.refuse(f"tensors cover {position} bytes of {source.size - first} bytes of data")
    return tensors, metadata


def _parse(source: Source, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise source.refuse("the safetensors header is not UTF-8") from None
    # Padding is spaces; JSON itself would take any white space on both sides.
    text = text.rstrip(" ")
    if not text.startswith("{") or not text.endswith("}"):
        raise source.refuse("the safetensors header does not begin with '{' and end with '}'")
    if sum(map(text.count, ",[{")) > limits.MAX_HEADER_VALUES:
        raise source.refuse(f"a safetensors header of more than {limits.MAX_HEADER_VALUES} values")
    try:
        header = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise source.refuse(f"the safetensors header is malformed: {reason:.200}") from None
    if not isinstance(header, dict):
        raise source.refuse("the safetensors header is no object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r:.120} twice")
    return result


def _no_number(text: str) -> Any:
    raise ValueError(f"{text:.40} where an integer belongs")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _metadata(source: Source, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise source.refuse("__metadata__ is not an object of strings")
    size = sum(len(key) + len(value) for key, value in metadata.items())
    if size > limits.MAX_METADATA_BYTES:
        raise source.refuse(f"__metadata__ of {size} characters, the limit is {limits.MAX_METADATA_BYTES}")
    return metadata


def _tensor(source: Source, name: str, entry: Any, first: int) -> tuple[int, int, TensorRef]:
    if (wrong := _wrong(name, entry)) is not None:
        raise source.refuse(f"tensor {name!r:.120}: {wrong}")
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise ModelMismatchError(f"{source.path}: tensor {name!r:.120}: dtype {dtype:.40} is none of {known}")
    strides, count = [], 1
    for n in reversed(shape):
        strides.append(count)
        count *= n
    size, available = count * DTYPES[_DTYPES[dtype]].itemsize, source.size - first
    if not begin <= end <= available or end - begin != size:
        what = f"shape {shape} of {dtype} needs {size} bytes, data_offsets are [{begin}, {end}] of {available}"
        raise source.refuse(f"tensor {name!r:.120}: {what}")
    storage = Storage(name, size, blob=Blob(source, first + begin, size))
    return begin, end, TensorRef(tuple(shape), _DTYPES[dtype], storage, 0, tuple(reversed(strides)), (0, size))


def _wrong(name: str, entry: Any) -> str | None:
    """What is malformed about an entry, if anything."""
    if len(name) > limits.MAX_KEY_CHARS:
        return f"a name of {len(name)} characters, the limit is {limits.MAX_KEY_CHARS}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return "its entry is not dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        return "its dtype is no string"
    if dtype.startswith("C"):
        return f"dtype {dtype:.40}: complex tensors are not read"
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        return "its shape or data_offsets are not natural numbers"
    if len(shape) > limits.MAX_RANK:
        return f"{len(shape)} dimensions, the limit is {limits.MAX_RANK}"
    return None


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
