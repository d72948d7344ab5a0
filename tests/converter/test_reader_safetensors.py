"""Foreign safetensors files (rows S of the catalogue), by a parser of our own."""

import json
import struct
import time

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from jinv.errors import ModelMismatchError
from jinv_convert.reader import limits, read_checkpoint
from tests.converter.reader_audit import cpu_seconds_below, read_watched, refused
from tests.converter.reader_files import FLOATS, entry, write_safetensors
from tests.converter.reader_trees import contents, torch_contents

FLOAT_TYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
OTHER_TYPES = ["int64", "int32", "int16", "int8", "uint8", "bool", "uint16", "uint32", "uint64"]


def test_reader_safetensors_equal_the_library(tmp_path):
    path = tmp_path / "a.safetensors"
    tree = {name: torch.arange(12).reshape(3, 4).to(getattr(torch, name)) for name in FLOAT_TYPES + OTHER_TYPES}
    tree |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}
    safetensors.torch.save_file(tree, path, metadata={"format": "pt"})
    checkpoint = read_watched(path)
    assert contents(checkpoint) == torch_contents(tree)
    assert checkpoint.container == "safetensors" and checkpoint.metadata == {"format": "pt"}
    assert checkpoint.tree["bfloat16"].numpy().dtype == ml_dtypes.bfloat16
    safetensors.numpy.save_file({}, path)
    assert read_watched(path).tree == {}


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1000, 0, 1])
def test_reader_refuses_header_lengths(tmp_path, length):
    """S01."""
    refused(write_safetensors(tmp_path / "a.safetensors", {"w": entry()}, length=length))


def test_reader_refuses_short_files(tmp_path):
    """S01."""
    path = tmp_path / "a.safetensors"
    for data in (b"{", struct.pack("<Q", 2), struct.pack("<Q", 2) + b"{", struct.pack("<Q", 3) + b"{}"):
        path.write_bytes(data)
        refused(path)


def test_reader_refuses_wide_headers(tmp_path):
    """S02: more than the limit; of few bytes a value; and 100,000 tiny tensors in bounded time."""
    path = tmp_path / "a.safetensors"
    refused(write_safetensors(path, b"{}" + b" " * limits.MAX_HEADER_BYTES, b""), str(limits.MAX_HEADER_BYTES))
    refused(write_safetensors(path, b'{"a":[' + b"[]," * 1_000_000 + b"[]]}", b""), str(limits.MAX_HEADER_VALUES))
    header = {f"t{i}": entry("U8", (1,), i, i + 1) for i in range(100_000)}
    write_safetensors(path, header, bytes(100_000))
    with cpu_seconds_below(20):  # takes about two
        assert len(read_checkpoint(path).tree) == 100_000


def test_the_bound_counts_what_is_computed_and_not_what_is_waited_for():
    with cpu_seconds_below(0.2):
        time.sleep(0.25)
    with pytest.raises(AssertionError, match="s of CPU"), cpu_seconds_below(0.02):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass


GOOD = json.dumps({"w": entry()})


@pytest.mark.parametrize(
    "header",
    [
        GOOD.encode().replace(b'"w"', b'"\xff"'),
        b" " + GOOD.encode(),
        b"\n" + GOOD.encode(),
        GOOD.encode() + b"x",
        GOOD.encode() + b"{}",
        GOOD.encode() + b"\n",
        GOOD.encode() + b"\0",
        GOOD.encode()[:-1],
        GOOD.encode()[:-1] + b", " + GOOD.encode()[1:],  # duplicate key
        GOOD.replace('"dtype"', '"shape": [6], "dtype"').encode(),  # duplicate key within
        GOOD.replace("24", "NaN").encode(),
        GOOD.replace("24", "Infinity").encode(),
        GOOD.replace("24", "24.0").encode(),
        GOOD.replace("24", "2.4e1").encode(),
        GOOD.replace("24", "-24").encode(),
        GOOD.replace("24", "true").encode(),
        GOOD.replace("24", '"24"').encode(),
        GOOD.replace("24", "1" + "0" * 5000).encode(),
        GOOD.replace("[2, 3]", "[" * 10_000 + "]" * 10_000).encode(),
        GOOD.replace("[2, 3]", "6").encode(),
        GOOD.replace("[2, 3]", "[2, [3]]").encode(),
        GOOD.replace("[2, 3]", "[2, null]").encode(),
        GOOD.replace("[0, 24]", "[0, 24, 24]").encode(),
        GOOD.replace("[0, 24]", "[24]").encode(),
        GOOD.replace('"F32"', "1").encode(),
        GOOD.replace('"F32"', "[]").encode(),
        GOOD.replace('"dtype"', '"kind"').encode(),
        GOOD.replace('"dtype"', '"strides": [], "dtype"').encode(),
        b'{"w": []}',
        b'{"w": 1}',
        b"{",
        b"[]",
        b'"w"',
    ],
)
def test_reader_refuses_malformed_headers(tmp_path, header):
    """S03."""
    refused(write_safetensors(tmp_path / "a.safetensors", header))


def test_reader_accepts_padding_behind_the_header(tmp_path):
    assert (
        contents(read_watched(write_safetensors(tmp_path / "a.safetensors", GOOD.encode() + b"   ")))["w"][2] == FLOATS
    )


@pytest.mark.parametrize(
    ("entries", "size", "word"),
    [
        ({"a": entry(), "b": entry()}, 24, "overlaps"),
        ({"a": entry(), "b": entry(begin=20, end=44)}, 44, "overlaps"),
        ({"a": entry(), "b": entry(begin=28, end=52)}, 52, "hole"),
        ({"a": entry(begin=4, end=28)}, 28, "hole"),
        ({"a": entry(begin=24, end=0)}, 24, "data_offsets"),
        ({"a": entry(begin=0, end=24)}, 23, "data_offsets"),
        ({"a": entry(begin=0, end=1 << 63)}, 24, "data_offsets"),
        ({"a": entry(begin=0, end=20)}, 24, "data_offsets"),
        ({"a": entry(begin=0, end=24)}, 25, "cover 24 bytes of 25"),
        ({}, 24, "cover 0 bytes of 24"),
        (
            {"a": entry(shape=(4194305, 4194305, 211106198978564))},
            24,
            "data_offsets",
        ),  # S05: overflows to 24 in 64 bits
        ({"a": entry(shape=(1 << 62, 4))}, 24, "data_offsets"),
        ({"a": entry(shape=(0, 1 << 60), end=0)}, 0, "limit"),
        ({"a": entry(shape=(1,) * 60, end=4)}, 4, "60 dimensions"),
    ],
)
def test_reader_refuses_offsets(tmp_path, entries, size, word):
    """S04, S05."""
    refused(write_safetensors(tmp_path / "a.safetensors", entries, bytes(size)), word)


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F4", "F6_E2M3", "I4", "float32", "", "X" * 10_000])
def test_reader_refuses_unknown_dtypes(tmp_path, dtype):
    """S06."""
    path = write_safetensors(tmp_path / "a.safetensors", {"layer1.weight": entry(dtype)})
    refused(path, "layer1.weight", dtype[:20], error=ModelMismatchError)


def test_reader_refuses_complex(tmp_path):
    refused(write_safetensors(tmp_path / "a.safetensors", {"w": entry("C64", (3,))}), "complex")


@pytest.mark.parametrize("metadata", [{"a": 1}, {"a": None}, {"a": {}}, [], "x", None, {"a": "x" * (10 << 20)}])
def test_reader_refuses_metadata(tmp_path, metadata):
    """S07."""
    path = write_safetensors(tmp_path / "a.safetensors", {"__metadata__": metadata, "w": entry()})
    refused(path, "__metadata__")


def test_reader_refuses_long_names(tmp_path):
    refused(write_safetensors(tmp_path / "a.safetensors", {"w" * 5000: entry()}), "5000 characters")
    assert np.frombuffer(FLOATS, "<f4")[0] == 1
