"""What lies in a zip archive (rows Z and P of the catalogue): checksums, unexpected members, other kinds of archive."""

import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from tests.converter.reader_audit import read_watched, refused
from tests.converter.reader_files import FLOATS, PROTO2, STOP, dictionary, tensor, write_zip
from tests.converter.reader_trees import contents

BODY = dictionary({"w": tensor()})


def test_reader_refuses_a_flipped_bit_in_a_weight(tmp_path):
    """Z09: torch loads it."""
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(1000)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 1) * 1000) + 7] ^= 1
    path.write_bytes(data)
    assert torch.load(path)["w"][1] == 0.25
    refused(path, "a/data/0", "CRC-32")
    checkpoint = read_watched(path, check_crc=False)
    assert "CRC-32" in checkpoint.warnings[0] and checkpoint.tree["w"].numpy()[1] == 0.25


def test_reader_reads_files_without_checksums_only_when_told(tmp_path):
    """Z10."""
    path = tmp_path / "a.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(10)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    refused(path, "--no-crc")
    checkpoint = read_watched(path, check_crc=False)
    assert "without checksums" in checkpoint.warnings[0] and checkpoint.tree["w"].numpy().sum() == 10


@pytest.mark.parametrize(("member", "what"), [("constants.pkl", "TorchScript"), ("code/__torch__.py", "TorchScript")])
def test_reader_refuses_torchscript(tmp_path, member, what):
    """P13."""
    refused(write_zip(tmp_path / "a.pth", BODY, extra={f"archive/{member}": b"x"}), what, "state_dict")


def test_reader_refuses_a_real_torchscript_archive(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "TorchScript is code")


@pytest.mark.parametrize("member", ["archive/data/7", "archive/extra/x", "archive/evil.pkl", "other/data/0", "x"])
def test_reader_refuses_unexpected_members(tmp_path, member):
    """P12."""
    pickled = PROTO2 + b"cos\nsystem\n" + STOP
    refused(write_zip(tmp_path / "a.pth", BODY, extra={member: pickled}), "unexpected member", member)


def test_reader_takes_a_pickle_in_a_storage_for_the_bytes_it_is(tmp_path):
    """P12: what lies in `data/0` is never unpickled."""
    pickled = (PROTO2 + b"cos\nsystem\n" + STOP).ljust(24, b"\0")
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", BODY, {"0": pickled}))
    assert contents(checkpoint)["w"][2] == pickled


def test_reader_byteorder(tmp_path):
    """Z14."""
    swapped = np.frombuffer(FLOATS, "<f4").astype(">f4").tobytes()
    for order, data in ((b"big", swapped), (b"little", FLOATS)):
        path = write_zip(tmp_path / "a.pth", BODY, {"0": data}, extra={"archive/byteorder": order})
        assert contents(read_watched(path))["w"][2] == FLOATS
    for order in (b"middle", b"", b"little\n", b"big" * 100):
        refused(write_zip(tmp_path / "a.pth", BODY, extra={"archive/byteorder": order}), "archive/byteorder")


def test_reader_warns_of_an_odd_version(tmp_path):
    """Z14."""
    path = write_zip(tmp_path / "a.pth", BODY)
    path.write_bytes(path.read_bytes())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PROTO2 + BODY + STOP)
        archive.writestr("archive/data/0", FLOATS)
        archive.writestr("archive/version", b"99\n")
    assert "'99'" in read_watched(path).warnings[0]


def test_reader_refuses_other_zip_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, w=np.ones(3))
    refused(path, "numpy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pth", b"x")
    refused(path, "model.pth", "extract")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"x")
    refused(path, "data.pkl")
    with zipfile.ZipFile(path, "w"):
        pass
    refused(path, "empty zip archive")
