"""Every prefix and single-bit flip of a small file: nothing cut is read, nothing flipped is read as other values."""

import collections
import io
import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch

from jinv.errors import JinvError, UnsafeInputError
from jinv_convert.reader import read_checkpoint
from tests.converter.reader_files import FLOATS, entry, write_safetensors
from tests.converter.reader_trees import contents, torch_contents


def small_tree() -> dict[str, torch.Tensor]:
    return {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0], [4.0]])}


def small_file(path: Path, container: str) -> Path:
    if container == "safetensors":
        return write_safetensors(path, {"w": entry(), "__metadata__": {"format": "pt"}}, FLOATS)
    torch.save(small_tree(), path, _use_new_zipfile_serialization=container == "zip")
    return path


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_reader_refuses_every_prefix(tmp_path, container):
    path = small_file(tmp_path / "a.pth", container)
    size = path.stat().st_size
    read_checkpoint(path)
    for length in reversed(range(size)):
        os.truncate(path, length)
        with pytest.raises(UnsafeInputError):
            read_checkpoint(path)


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_reader_refuses_data_before_and_behind(tmp_path, container):
    path = small_file(tmp_path / "a.pth", container)
    whole = path.read_bytes()
    for changed in (b"\0" + whole, whole + b"\0", b"#!/bin/sh\n" + whole, whole + whole, whole + pickle.dumps(1)):
        path.write_bytes(changed)
        with pytest.raises(UnsafeInputError):
            read_checkpoint(path)


def outcome(read, expected) -> str:
    """`refused`, `same` or `WRONG`: read without complaint, but with other names or values."""
    try:
        found = read()
    except JinvError:
        return "refused"
    return "same" if found == expected else "WRONG"


def torch_outcome(data: bytes, expected) -> str:
    try:
        found = torch_contents(torch.load(io.BytesIO(data), weights_only=True))
    except Exception:  # whatever torch raises is a refusal
        return "refused"
    return "same" if found == expected else "WRONG"


def test_reader_never_reads_a_flipped_bit_of_a_zip_file_as_other_values(tmp_path, capsys):
    path = small_file(tmp_path / "a.pth", "zip")
    data = bytearray(path.read_bytes())
    expected = torch_contents(small_tree())
    assert contents(read_checkpoint(path)) == expected
    table: collections.Counter[tuple[str, str]] = collections.Counter()
    with warnings.catch_warnings(), open(path, "r+b", buffering=0) as file:
        warnings.simplefilter("ignore")
        for bit in range(8 * len(data)):
            data[bit // 8] ^= 1 << bit % 8
            os.pwrite(file.fileno(), data[bit // 8 : bit // 8 + 1], bit // 8)
            table["jinv", outcome(lambda: contents(read_checkpoint(path)), expected)] += 1
            table["torch.load", torch_outcome(bytes(data), expected)] += 1
            data[bit // 8] ^= 1 << bit % 8
            os.pwrite(file.fileno(), data[bit // 8 : bit // 8 + 1], bit // 8)
    with capsys.disabled():
        print(f"\nsingle-bit flips of a zip .pth of {len(data)} bytes ({8 * len(data)} flips)")
        print(f"{'':12}{'refused':>10}{'same':>10}{'WRONG':>10}")
        for reader in ("jinv", "torch.load"):
            print(f"{reader:12}" + "".join(f"{table[reader, kind]:>10}" for kind in ("refused", "same", "WRONG")))
    assert table["jinv", "WRONG"] == 0
    assert table["jinv", "refused"] > 0 and table["jinv", "same"] > 0
    # The comparison is one: torch checks no CRC, and reads flipped weights.
    assert table["torch.load", "WRONG"] >= 8 * 16
