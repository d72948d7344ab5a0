"""Hostile zip archives (rows Z of the catalogue): there is one way to read an archive, or it is refused."""

import io
import stat
import struct
import warnings
import zipfile

import pytest
import torch

from jinv_convert.reader import limits
from tests.converter.reader_audit import read_watched, refused
from tests.converter.reader_files import FLOATS, PROTO2, STOP, dictionary, storage, tensor, write_zip
from tests.converter.reader_trees import contents

BODY = dictionary({"w": tensor()})


@pytest.fixture
def good(tmp_path):
    return write_zip(tmp_path / "a.pth", BODY)


def edit(path, change):
    """Rewrites a file by `change(bytearray)`."""
    data = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(data) or data))
    return path


def central(data: bytes, name: str) -> int:
    """Where a member's entry in the central directory begins."""
    return data.rindex(name.encode(), 0, data.rindex(b"PK\x05\x06")) - 46


def patch(path, name, at, layout, value, *, both=False, local_at=None):
    """Sets a field of a member's directory entry, and with `both` the same field of its local header."""

    def change(data):
        start = central(data, name)
        header = struct.unpack_from("<I", data, start + 42)[0]
        struct.pack_into(layout, data, start + at, value)
        if both:
            struct.pack_into(layout, data, header + (at - 2 if local_at is None else local_at), value)

    return edit(path, change)


def test_reader_reads_archives_of_other_zip_writers(tmp_path):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "a.pth", BODY, compression=compression)
        assert contents(read_watched(path))["w"][2] == FLOATS


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reader_reads_archives_that_were_unpacked_and_packed_again(tmp_path, compression):
    """With an entry for every folder, and what file managers leave in them."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.mkdir("archive")
        archive.mkdir("archive/data")
        for member, data in (("data.pkl", PROTO2 + BODY + STOP), ("data/0", FLOATS), (".DS_Store", b"x")):
            archive.writestr(f"archive/{member}", data)
        archive.writestr("__MACOSX/._archive", b"x")
    checkpoint = read_watched(path)
    assert contents(checkpoint)["w"][2] == FLOATS
    assert [warning.split("'")[1] for warning in checkpoint.warnings] == ["archive/.DS_Store", "__MACOSX/._archive"]


@pytest.mark.parametrize(
    ("entry", "data", "mode", "said"),
    [
        ("archive/evil/", b"contents", 0o40755, "a folder with contents"),
        ("archive/../up/", b"", 0o40755, "unsafe zip member name"),
        ("archive//", b"", 0o40755, "unsafe zip member name"),
        ("archive/data/", b"", 0o120777, "a link"),
        ("archive/file", b"", 0o40755, "a link, directory or device"),
    ],
)
def test_reader_refuses_folders_that_are_none(tmp_path, entry, data, mode, said):
    path = write_zip(tmp_path / "a.pth", BODY)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(entry)
        info.external_attr = mode << 16
        archive.writestr(info, data)
    refused(path, said)


def test_reader_reads_archives_with_data_descriptors_and_zip64(tmp_path):
    class Pipe(io.RawIOBase):
        """Not seekable: zipfile then writes data descriptors."""

        def __init__(self, file):
            self.file = file

        def writable(self):
            return True

        def write(self, data):
            return self.file.write(data)

    for wide in (False, True):
        with open(tmp_path / "a.pth", "wb") as file, zipfile.ZipFile(Pipe(file), "w") as archive:
            for name, data in (("data.pkl", PROTO2 + BODY + STOP), ("data/0", FLOATS), ("version", b"3\n")):
                with archive.open(f"archive/{name}", "w", force_zip64=wide) as member:
                    member.write(data)
        assert contents(read_watched(tmp_path / "a.pth"))["w"][2] == FLOATS


@pytest.mark.parametrize("first", [True, False])
def test_reader_refuses_duplicate_members(tmp_path, first):
    """Z02."""
    path = tmp_path / "a.pth"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        bodies = [BODY, b"cos\nsystem\n"]
        for body in bodies if first else reversed(bodies):
            archive.writestr("archive/data.pkl", PROTO2 + body + STOP)
        archive.writestr("archive/data/0", FLOATS)
    refused(path, "duplicate", "archive/data.pkl")


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/etc/x",
        "C:\\x",
        "a\\..\\b",
        "subdir/../../x",
        "archive/../x",
        "archive//x",
        "archive/./x",
        "archive/d//",
    ],
)
def test_reader_refuses_unsafe_names(tmp_path, name):
    """Z03."""
    refused(write_zip(tmp_path / "a.pth", BODY, extra={name: b"x"}), "zip member name")


def test_reader_refuses_names_with_nul_or_bad_encoding(tmp_path):
    for raw in (b"archive/data/\0", b"archive/data/\xff"):
        path = write_zip(tmp_path / "a.pth", BODY, extra={"archive/data/x": b""})
        edit(path, lambda data, raw=raw: data.replace(b"archive/data/x", raw))
        refused(path, "name")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFDIR])
def test_reader_refuses_links_and_devices(good, mode):
    """Z04."""
    refused(patch(good, "archive/data/0", 38, "<I", (mode | 0o777) << 16), "archive/data/0", "link")


def test_reader_refuses_deflate_bombs(tmp_path):
    """Z05: by ratio, by total, and by what really comes out."""
    zeros = bytes(64 * limits.MIB)
    body = dictionary({"w": tensor((len(zeros) // 4,), (1,), source=storage(numel=len(zeros) // 4))})
    path = write_zip(tmp_path / "a.pth", body, {"0": zeros}, compression=zipfile.ZIP_DEFLATED)
    refused(path, "archive/data/0", f"{limits.MAX_DEFLATE_RATIO}:1")
    many = {str(i): bytes(limits.FREE_DEFLATE_BYTES) for i in range(80)}
    refused(write_zip(tmp_path / "a.pth", b"}", many, compression=zipfile.ZIP_DEFLATED), "when inflated")
    # Headers that lie about the size.
    path = write_zip(tmp_path / "a.pth", BODY, {"0": bytes(100_000)}, compression=zipfile.ZIP_DEFLATED)
    patch(path, "archive/data/0", 24, "<I", 24, both=True)
    refused(path, "archive/data/0", "more than the announced 24")
    path = write_zip(tmp_path / "a.pth", BODY, compression=zipfile.ZIP_DEFLATED)
    patch(path, "archive/data/0", 24, "<I", 30, both=True)
    refused(path, "archive/data/0", "instead of the announced 30")


def test_reader_refuses_broken_deflate_streams(tmp_path):
    path = write_zip(tmp_path / "a.pth", BODY, {"0": bytes(2000)}, compression=zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    start = whole.index(b"archive/data/0") + len(b"archive/data/0")
    for at in range(start, whole.index(b"PK\x03\x04", start)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        refused(path, "archive/data/0")


def test_reader_refuses_overlapping_members_and_holes(tmp_path):
    """Z06: two entries of one range, an entry inside another one's data, and bytes that belong to none."""
    path = write_zip(tmp_path / "a.pth", BODY, {"0": FLOATS, "1": FLOATS})
    whole = path.read_bytes()
    first = struct.unpack_from("<I", whole, central(whole, "archive/data/0") + 42)[0]
    refused(patch(path, "archive/data/1", 42, "<I", first), "archive/data/")
    path.write_bytes(whole)
    refused(patch(path, "archive/data/1", 42, "<I", first + 5), "archive/data/")

    def insert(data):
        start = struct.unpack_from("<I", data, len(data) - 6)[0]
        struct.pack_into("<I", data, len(data) - 6, start + 4)
        return data[:start] + b"hole" + data[start:]

    path.write_bytes(whole)
    refused(edit(path, insert), "4 bytes", "belong to no member")


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [(8, "<H", 0x800), (10, "<H", 8), (16, "<I", 7), (20, "<I", 23), (24, "<I", 23), (24, "<I", 25), (42, "<I", 1)],
    ids=["flags", "method", "crc", "packed", "size", "size+1", "offset"],
)
def test_reader_refuses_headers_that_disagree(good, at, layout, value):
    """Z07, in the directory; the name in the local header."""
    refused(patch(good, "archive/data/0", at, layout, value), "archive/data")


def test_reader_refuses_names_that_disagree(good):
    """Z07."""

    def rename(data):
        start = data.index(b"archive/data/0")
        data[start : start + 14] = b"archive/data/1"

    refused(edit(good, rename), "archive/data/0", "disagree")


@pytest.mark.parametrize("flag", [0x1, 0x20, 0x40, 0x2000])
def test_reader_refuses_flags(good, flag):
    """Z08, Z13."""
    refused(patch(good, "archive/data/0", 8, "<H", flag, both=True), "archive/data/0", f"0x{flag:x}")


@pytest.mark.parametrize(
    ("method", "word"), [(12, "bzip2"), (14, "lzma"), (93, "zstd"), (99, "AES"), (1, "1"), (9, "deflate64")]
)
def test_reader_refuses_other_compression(good, method, word):
    """Z13."""
    refused(patch(good, "archive/data/0", 10, "<H", method, both=True), "compression", word)


def test_reader_refuses_lies_about_counts_and_sizes(good):
    """Z11."""
    whole = good.read_bytes()
    end = len(whole) - 22
    for at, layout, value in ((8, "<2H", (65535, 65535)), (8, "<2H", (4, 4)), (8, "<2H", (1, 3)), (4, "<2H", (1, 1))):
        good.write_bytes(whole)
        refused(
            edit(good, lambda data, at=at, layout=layout, value=value: struct.pack_into(layout, data, end + at, *value))
        )
    for at, value in ((12, 1), (12, 0xFFFFFFFF), (16, 0xFFFFFFFF), (16, 1), (12, 0), (20, 1)):
        good.write_bytes(whole)
        refused(edit(good, lambda data, at=at, value=value: struct.pack_into("<H", data, end + at, value & 0xFFFF)))


def zip64_end(count, size, start):
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    return record + struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1)


@pytest.mark.parametrize("lie", [None, "count", "size", "start", "huge", "million"])
def test_reader_refuses_lies_in_zip64_records(good, lie):
    """Z11: 2**63, 10**6 entries, and a zip64 record that contradicts the old one."""
    whole = good.read_bytes()
    count, size, start = struct.unpack_from("<H2I", whole, len(whole) - 12)
    true = {"count": count, "size": size, "start": start}
    wide = dict(true)
    if lie in true:
        wide[lie] += 1
    if lie == "huge":
        wide["size"] = 1 << 63
    if lie == "million":
        wide["count"] = 10**6
    record = zip64_end(**wide)
    good.write_bytes(whole[:-22] + record + whole[-22:])
    if lie is None:
        assert contents(read_watched(good))["w"][2] == FLOATS
    else:
        refused(good)
    # The same with an old record that says "see zip64".
    full = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    good.write_bytes(whole[:-22] + record + full)
    if lie is None:
        assert contents(read_watched(good))["w"][2] == FLOATS
    else:
        refused(good)


@pytest.mark.parametrize(("field", "value"), [(24, 1 << 63), (24, 2), (42, 1 << 63), (42, None), (24, None)])
def test_reader_zip64_sizes_and_offsets(good, field, value):
    """Z11: a member of 2**63 bytes, or there; the true numbers in the wide field are read."""

    def widen(data):
        start = central(data, "archive/version")
        true = struct.unpack_from("<I", data, start + field)[0]
        assert true != value or field == 24
        extra = struct.pack("<2HQ", 1, 8, true if value is None else value)
        struct.pack_into("<I", data, start + field, 0xFFFFFFFF)
        struct.pack_into("<H", data, start + 30, len(extra))
        name_end = start + 46 + len("archive/version")
        data[name_end:name_end] = extra
        size = struct.unpack_from("<I", data, len(data) - 10)[0]
        struct.pack_into("<I", data, len(data) - 10, size + len(extra))

    edit(good, widen)
    if value in (2, None):
        assert contents(read_watched(good))["w"][2] == FLOATS
    else:
        refused(good, "archive/version")


def test_reader_refuses_polyglots(good):
    """Z12: bytes in front, behind, or in the archive's comment."""
    whole = good.read_bytes()
    for changed in (b"#!/bin/sh\ntouch canary\n" + whole, b"\x7fELF" + whole):
        good.write_bytes(changed)
        refused(good, "zip archive with data in front")
    for changed in (
        b"GIF89a" + whole + b"x",
        whole + b"\n",
        whole[:-2] + struct.pack("<H", 4) + b"rm *",
        whole + whole,
    ):
        good.write_bytes(changed)
        refused(good)


def test_reader_refuses_a_data_descriptor_that_disagrees(tmp_path):
    """Z07, in what torch writes: the numbers behind a member's data."""
    torch.save({"w": torch.ones(6)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    assert contents(read_watched(tmp_path / "a.pth"))["w"][0] == (6,)
    start = whole.index(b"PK\x07\x08")
    for at in (start, start + 4, start + 8, start + 12):
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "a.pth").write_bytes(changed)
        refused(tmp_path / "a.pth", "a/data.pkl", "data descriptor")


def test_reader_refuses_end_records_that_disagree(tmp_path):
    """Z11, in what torch writes: the old end record beside the zip64 one, which alone is needed."""
    torch.save({"w": torch.ones(6)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    for at in (-14, -12, -10, -6):
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "a.pth").write_bytes(changed)
        refused(tmp_path / "a.pth", "several parts" if at == -14 else "end record" if at != -12 else "parts")
