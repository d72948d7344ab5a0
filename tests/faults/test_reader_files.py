"""Files that are none, are something else, change meanwhile, or ask for memory (row Z15, Z16, P14 and the contract)."""

import gzip
import io
import os
import pickle
import socket
import subprocess
import sys
import tarfile

import pytest
import torch

from jinv.errors import StorageError, UnsafeInputError
from jinv_convert.reader import limits, read_checkpoint
from tests.converter.reader_audit import read_watched, refused
from tests.converter.reader_files import (
    MAGIC,
    SYSTEM,
    dictionary,
    integer,
    storage,
    tensor,
    text,
    write_legacy,
    write_zip,
)

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\x80", "truncated"),
        (b"P", "neither"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "HTML"),
        (b"\n\n  <html lang=en>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (LFS, "git-LFS"),
        (gzip.compress(b"x" * 100), "gzip"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\0", ".npy"),
        (b"Rar!\x1a", "RAR"),
        (pickle.dumps({"w": [1.0]}, 2), "torch.save"),
        (pickle.dumps({"w": [1.0]}, 4), "torch.save"),
        (pickle.dumps({"w": [1.0]}, 0), "neither"),
        (b"# just text\n", "neither"),
        (b"\0" * 1000, "neither"),
        (os.urandom(8).replace(b"\x80", b"\0").replace(b"P", b"\0") + b"\xff" * 100, "neither"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reader_says_what_a_file_is_instead(tmp_path, data, word):
    """Z15."""
    path = tmp_path / "resnet50.pth"
    path.write_bytes(data)
    refused(path, word)


@pytest.mark.parametrize("member", ["pickle", "storages", "other.txt"])
def test_reader_refuses_tar_with_a_hint(tmp_path, member):
    """P14: torch 0.1.9 and earlier, and tar files of anything else."""
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(member)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    refused(path, "tar", "re-save")


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + SYSTEM,
        MAGIC.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)) + SYSTEM,
        MAGIC + pickle.dumps({"little_endian": False}, 2) + pickle.dumps({}, 2) + pickle.dumps([], 2),
        MAGIC + pickle.dumps([], 2) + pickle.dumps({}, 2) + pickle.dumps([], 2),
        MAGIC + SYSTEM + pickle.dumps({}, 2) + pickle.dumps({}, 2),
        MAGIC + SYSTEM + pickle.dumps({}, 2) + pickle.dumps(["0"], 2),
        MAGIC + SYSTEM + pickle.dumps({}, 2) + pickle.dumps([[]], 2),
        MAGIC + SYSTEM + pickle.dumps({}, 2) + pickle.dumps([0], 2),
    ],
)
def test_reader_refuses_malformed_legacy_headers(tmp_path, data):
    """P14."""
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    refused(path)


def test_reader_refuses_what_is_no_regular_file(tmp_path):
    """Z16: no hang on a FIFO without a writer."""
    refused(tmp_path, "directory", error=StorageError)
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "FIFO", error=StorageError)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        refused(tmp_path / "socket", "socket", error=StorageError)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "symbolic links", error=StorageError)
    refused(tmp_path / "missing.pth", "No such file", error=StorageError)
    refused(tmp_path / ("x" * 300), "too long", error=StorageError)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        read_checkpoint(tmp_path / "file" / "x")
    with pytest.raises(StorageError, match="character device"):
        read_checkpoint("/dev/zero")
    with pytest.raises(StorageError, match="null"):
        read_checkpoint("a\0b")


def test_reader_refuses_unreadable_files(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StorageError, match="Permission denied"):
        read_checkpoint(path)


def test_reader_reports_a_failing_disk(tmp_path, monkeypatch):
    """Every read fails once, for each of them: an error of its own, never a traceback or zeros."""
    path = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))
    real, reads = os.preadv, 0

    def count(*arguments):
        nonlocal reads
        reads += 1
        return real(*arguments)

    monkeypatch.setattr(os, "preadv", count)
    read_checkpoint(path).tree["w"].numpy()
    total = reads
    assert total > 10
    for k in range(total):
        for outcome in (OSError(5, "Input/output error"), 0):
            calls = 0

            def fail(*arguments, k=k, outcome=outcome):
                nonlocal calls
                calls += 1
                if calls != k + 1:
                    return real(*arguments)
                if isinstance(outcome, OSError):
                    raise outcome
                return outcome

            monkeypatch.setattr(os, "preadv", fail)
            with pytest.raises(StorageError, match="Input/output error|changed while"):
                read_checkpoint(path).tree["w"].numpy()


def test_reader_survives_short_reads(tmp_path, monkeypatch):
    """The kernel may return less than asked for."""
    path = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:3]], at))
    assert read_checkpoint(path).tree["w"].numpy().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_reader_notices_a_file_that_changes_while_it_is_read(tmp_path):
    """Z16: a file that grew, shrank or was rewritten after it was checked."""
    for change in (lambda f: f.truncate(100), lambda f: f.write(b"x" * 5000), lambda f: f.write(b"\0")):
        path = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))
        os.utime(path, ns=(0, 0))
        weights = read_checkpoint(path).tree["w"]
        with open(path, "r+b") as file:
            change(file)
        with pytest.raises(StorageError, match="changed while it was read"):
            weights.numpy()


def test_reader_keeps_reading_a_file_that_is_replaced(tmp_path):
    """A rename over it leaves the open file as it was."""
    path = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))
    weights = read_checkpoint(path).tree["w"]
    write_zip(tmp_path / "b.pth", dictionary({}), {}).replace(path)
    assert weights.numpy().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_reader_leaks_no_descriptors(tmp_path):
    good = write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}))
    bad = write_zip(tmp_path / "b.pth", text("x") + b"N")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(50):
        read_checkpoint(good)
        with pytest.raises(UnsafeInputError):
            read_checkpoint(bad)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 1


# Not ru_maxrss: that one begins at the parent's.
MEASURE = """
import re, sys
from jinv_convert.reader import read_checkpoint, TensorRef
from jinv.errors import JinvError
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
base = peak()
try:
    tree = read_checkpoint(sys.argv[1]).tree
    kept = [value.numpy() for value in tree.values() if isinstance(value, TensorRef)] if isinstance(tree, dict) else []
except JinvError as error:
    pass
print(peak() - base)
"""


def peak_kib(path) -> int:
    """How much the peak memory of a process grows by reading a file and all of its tensors."""
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    return int(done.stdout)


def costly(tmp_path):
    """Small files that ask for much, and one of 100 MB that is large."""
    torch.save({f"w{i}": torch.ones(1 << 18) for i in range(100)}, tmp_path / "large.pth")
    yield tmp_path / "large.pth"
    torch.save({"w": torch.ones(4096, 3072).t()}, tmp_path / "transposed.pth", _use_new_zipfile_serialization=False)
    yield tmp_path / "transposed.pth"
    yield write_zip(tmp_path / "lists.pth", b"]" * 900_000, {})
    yield write_zip(tmp_path / "dicts.pth", b"](" + b"}" * 900_000 + b"e", {})
    yield write_zip(tmp_path / "sets.pth", b"](" + b"\x8f" * 900_000 + b"e", {})
    yield write_zip(tmp_path / "ints.pth", b"](" + b"J\xff\xff\xff\x70" * 180_000 + b"e", {})
    yield write_zip(tmp_path / "expanded.pth", dictionary({f"w{i}": tensor((1 << 20, i), (0, 1)) for i in range(1, 5)}))
    key = integer(1) + b"N"
    yield write_legacy(tmp_path / "keys.pth", b"](" + (b"}" + key + b"s") * 90_000 + b"e", {})
    header = b'{"a":[' + b"[]," * 300_000 + b"[]]}"
    (tmp_path / "header.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    yield tmp_path / "header.safetensors"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reader_memory_is_bounded(tmp_path):
    """At most twice the file and 256 MiB, tensors included."""
    peaks = {}
    for path in costly(tmp_path):
        allowed = (2 * path.stat().st_size + 256 * limits.MIB) >> 10
        peaks[path.name] = peak_kib(path)
        assert peaks[path.name] < allowed, path.name
    # The measure measures: this file really has a hundred megabytes of weights.
    assert peaks["large.pth"] > 90 << 10


def test_reader_storage_used_twice_is_stored_once(tmp_path):
    body = dictionary({"a": tensor(), "b": tensor((6,), (1,), source=storage())})
    tree = read_watched(write_zip(tmp_path / "a.pth", body)).tree
    assert tree["a"].storage is tree["b"].storage and tree["a"].view != tree["b"].view
