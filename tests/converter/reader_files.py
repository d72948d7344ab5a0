"""Makers of checkpoint files, whole and hostile, byte by byte. Payloads do no more than `touch` a canary."""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROTO2, PROTO4, STOP = b"\x80\x02", b"\x80\x04", b"."
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2)


def text(value: str) -> bytes:
    """A string."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    """An integer of any size."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    """A global of protocol 2."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """A global of protocol 4."""
    return text(module) + text(attribute) + b"\x93"


def sequence(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def call(function: bytes, *args: bytes) -> bytes:
    """function(*args)"""
    return function + sequence(*args) + b"R"


def dictionary(items: Mapping[str, bytes]) -> bytes:
    """A dict with string keys."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(key: str = "0", numel: int = 6, kind: str = "FloatStorage", *, legacy: bool = False) -> bytes:
    """A storage by its persistent id."""
    parts = [text("storage"), name("torch", kind), text(key), text("cpu"), integer(numel)]
    return sequence(*parts, *([b"N"] if legacy else [])) + b"Q"


def tensor(
    shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1), offset: int = 0, source: bytes | None = None
) -> bytes:
    """A tensor as `_rebuild_tensor_v2` has it."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage() if source is None else source,
        integer(offset),
        sequence(*map(integer, shape)),
        sequence(*map(integer, strides)),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


FLOATS = struct.pack("<6f", *range(1, 7))


def write_zip(
    path: Path,
    body: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    root: str = "archive",
    extra: Mapping[str, bytes] | None = None,
    protocol: bytes = PROTO2,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip container around the opcodes of `body`; `extra` are further members, by their full names."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", protocol + body + STOP)
        for key, data in ({"0": FLOATS} if storages is None else storages).items():
            archive.writestr(f"{root}/data/{key}", data)
        archive.writestr(f"{root}/version", b"3\n")
        for member, data in (extra or {}).items():
            archive.writestr(member, data)
    return path


def write_legacy(path: Path, body: bytes, storages: Mapping[str, tuple[int, bytes]] | None = None) -> Path:
    """A legacy container around the opcodes of `body`; storages are (element count, bytes)."""
    storages = {"0": (6, FLOATS)} if storages is None else storages
    keys = pickle.dumps(list(storages), 2)
    data = b"".join(struct.pack("<q", count) + raw for count, raw in storages.values())
    path.write_bytes(MAGIC + SYSTEM + PROTO2 + body + STOP + keys + data)
    return path


def write_safetensors(path: Path, header: Any, data: bytes = FLOATS, *, length: int | None = None) -> Path:
    """A safetensors file; `header` is an object or the bytes themselves."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(dtype: str = "F32", shape: tuple[int, ...] = (2, 3), begin: int = 0, end: int = 24) -> dict[str, Any]:
    """One tensor of a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
