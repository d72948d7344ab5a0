"""Hostile streams of opcodes (rows P of the catalogue): refused in one line, in time, whatever they ask for."""

import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jinv.errors import ModelMismatchError, UnsafeInputError
from jinv_convert.reader import limits
from jinv_convert.reader.source import Cursor, MemoryBlob
from tests.converter.reader_audit import read_watched, refused
from tests.converter.reader_files import (
    PROTO4,
    call,
    dictionary,
    integer,
    name,
    sequence,
    storage,
    tensor,
    text,
    write_legacy,
    write_zip,
)


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        ("INST", b"(" + text("x") + b"ios\nsystem\n"),
        ("OBJ", b"(" + name("collections", "OrderedDict") + b"o"),
        ("NEWOBJ_EX", name("collections", "OrderedDict") + b")}\x92"),
        ("EXT1", b"\x82\x01"),
        ("EXT2", b"\x83\x01\x00"),
        ("EXT4", b"\x84\x01\x00\x00\x00"),
        ("PERSID", b"P0\n"),
        ("0x56", b"V1\n"),
        ("0x32", b"]2"),  # DUP
        ("0x97", b"\x97"),  # NEXT_BUFFER
        ("0xff", b"\xff"),
    ],
)
def test_reader_refuses_opcodes_that_no_checkpoint_needs(tmp_path, opcode, body):
    """P03, P04, P08."""
    refused(write_zip(tmp_path / "a.pth", body, {}), f"opcode {opcode} is not allowed")


@pytest.mark.parametrize("key", ["__class__", "__setstate__", "__dict__", "__reduce__", "__globals__"])
@pytest.mark.parametrize("target", [name("mine", "Schedule") + b")\x81", call(name("collections", "OrderedDict"))])
def test_reader_refuses_poisoning_builds(tmp_path, key, target):
    """P04."""
    state = dictionary({key: name("mine", "Evil")})
    refused(write_zip(tmp_path / "a.pth", target + state + b"b", {}), "BUILD", key)
    refused(write_zip(tmp_path / "a.pth", target + sequence(b"N", state) + b"b", {}), "BUILD")


@pytest.mark.parametrize(
    ("pid", "word"),
    [
        (text("0"), "no tuple"),
        (b")", "no tuple"),
        (sequence(text("storage"), text("0")), "2 parts"),
        (sequence(text("module"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(6)), "no storage"),
        (sequence(text("storage"), name("mine", "Storage"), text("0"), text("cpu"), integer(6)), "storage type"),
        (sequence(text("storage"), text("FloatStorage"), text("0"), text("cpu"), integer(6)), "storage type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), integer(0), text("cpu"), integer(6)), "wrong type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(-6)), "sign"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"\x88"), "wrong type"),
        (sequence(text("storage"), name("torch", "FloatStorage"), text("../0"), text("cpu"), integer(6)), "missing"),
    ],
)
def test_reader_refuses_other_persistent_ids(tmp_path, pid, word):
    """P11."""
    refused(write_zip(tmp_path / "a.pth", tensor(source=pid + b"Q")), word)


def test_reader_refuses_trailing_data(tmp_path):
    """P15."""
    refused(write_zip(tmp_path / "a.pth", b"}.}"), "trailing data")
    refused(write_zip(tmp_path / "a.pth", b"}." + call(name("os", "system"), text("touch canary"))), "trailing")
    refused(write_legacy(tmp_path / "a.pth", b"}.}", {}))


def test_reader_refuses_frames_that_do_not_fit(tmp_path):
    """P16."""

    def framed(length, rest):
        return write_zip(tmp_path / "a.pth", b"\x95" + struct.pack("<Q", length) + rest, {}, protocol=PROTO4)

    assert read_watched(framed(7, text("a"))).tree == "a"
    refused(framed(3, text("a")), "straddles")
    refused(framed(1 << 63, text("a")), "frame")
    refused(framed(40, text("a")), "frame")
    refused(framed(16, b"\x95" + struct.pack("<Q", 7) + text("a")), "frame within a frame")
    # The rest of a legacy file is there to be framed: the pickle itself must fill its frame.
    body = b"\x95" + struct.pack("<Q", 12) + text("a")
    refused(write_legacy(tmp_path / "a.pth", body, {}), "ends within its frame")


def test_reader_refuses_expansion(tmp_path):
    """P17: few bytes that would be exponentially many values, and streams of too many opcodes or memo entries."""
    laughs = b"]q\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(40)
    )
    refused(write_zip(tmp_path / "a.pth", laughs, {}), "stack")
    laughs = b"N" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    refused(write_zip(tmp_path / "a.pth", laughs, {}), str(limits.MAX_NODES))
    refused(write_zip(tmp_path / "a.pth", b"N0" * (limits.MAX_OPS // 2), {}), str(limits.MAX_OPS))
    memo = b"N" + b"\x94" * limits.MAX_OPS
    refused(write_zip(tmp_path / "a.pth", memo, {}, protocol=PROTO4), str(limits.MAX_OPS))


@pytest.mark.parametrize("body", [b")" + b"\x85" * 100_000, b"]" * 100_000 + b"a" * 99_999], ids=["tuples", "lists"])
def test_reader_refuses_deep_nesting(tmp_path, body):
    """P18."""
    refused(write_zip(tmp_path / "a.pth", body, {}), str(limits.MAX_DEPTH))
    # As a dict key, hashing it would recurse.
    refused(write_zip(tmp_path / "a.pth", b"}" + body + b"Ns", {}), "key")


@pytest.mark.parametrize(
    "body",
    [
        b"\x8d" + struct.pack("<Q", 1 << 63),
        b"\x8e" + struct.pack("<Q", (1 << 63) - 1),
        b"\x96" + struct.pack("<Q", 1 << 63),
        b"\x8b" + struct.pack("<i", (1 << 31) - 1),
        b"\x8b" + struct.pack("<i", -1),
        b"X" + struct.pack("<I", (1 << 32) - 1),
        b"B" + struct.pack("<I", 1 << 31),
        b"T" + struct.pack("<i", -5),
    ],
)
def test_reader_refuses_lengths_before_allocating(tmp_path, body):
    """P19."""
    refused(write_zip(tmp_path / "a.pth", body, {}, protocol=PROTO4), "limit")


def test_reader_bounds_all_strings_together(tmp_path, monkeypatch):
    """P19."""
    monkeypatch.setattr(limits, "MAX_TOTAL_STRING_BYTES", 100)
    strings = [text(letter * 50) for letter in "abc"]
    assert len(read_watched(write_zip(tmp_path / "a.pth", sequence(*strings[:2]), {})).tree) == 2
    refused(write_zip(tmp_path / "a.pth", sequence(*strings), {}), "more than 100 bytes of strings")


@pytest.mark.parametrize(
    "body",
    [
        b")" + text("a") + b"Ns",
        text("a") + text("b") + b"Ns",
        name("torch", "FloatStorage") + text("a") + b"Ns",
        storage() + text("a") + b"Ns",
        name("collections", "OrderedDict") + text("a") + b"Ns",
        b")Na",
        b"N(NNe",
        text("a") + b"(NNe",
        b"}Na",
        b"](NNu",
        b"](N\x90",
        b"NNb",
        b"])b",
        storage() + b"}b",
        tensor() + b"}b",
        name("torch", "FloatStorage") + b")R",
        text("os.system") + b")R",
        call(name("collections", "OrderedDict")) + b"]b",
        name("mine", "f") + b"NR",
        name("mine", "f") + b"]R",
    ],
)
def test_reader_refuses_operations_on_wrong_objects(tmp_path, body):
    """P20."""
    refused(write_zip(tmp_path / "a.pth", body), "data.pkl: byte")


@pytest.mark.parametrize("body", [b"]q\x00h\x00a", b"}q\x00" + text("a") + b"h\x00s", b"]q\x00(h\x00te"])
def test_reader_refuses_cycles(tmp_path, body):
    """P21."""
    body = body if not body.endswith(b"te") else b"]q\x00h\x00\x85a"
    refused(write_zip(tmp_path / "a.pth", body, {}), "contains itself")


@pytest.mark.parametrize(
    "body",
    [
        b"h\x07",
        b"j\x07\x00\x00\x00",
        b"0",
        b"\x85",
        b"(\x85",
        b"t",
        b"1",
        b"NN",
        b"(N",
        b"",
        b"a",
        b"s",
        b"R",
        b"b",
        b"Q",
        b"q\x00",
        b"\x93",
        b"N\x93",
        b"NN\x93",
        b"X\x02\x00\x00\x00\xff\xfe",
        b"c\xff\n\xff\n",
        b"cos",
        b"c" + b"a" * 5000,
        b"G\x00",
        b"K",
    ],
)
def test_reader_refuses_broken_streams(tmp_path, body):
    """P22."""
    refused(write_zip(tmp_path / "a.pth", body, {}), "data.pkl: byte")
    refused(write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}) + b"0" + body))


@pytest.mark.parametrize("first", [b"", b"\x80", b"\x80\x01", b"\x80\x06", b"N", b"\x80\x02\x80\x02"])
def test_reader_refuses_other_protocols(tmp_path, first):
    refused(write_zip(tmp_path / "a.pth", b"N", {}, protocol=first))


def test_reader_keys_are_plain_and_escaped(tmp_path):
    """P23."""
    for key in (
        b"]",
        b"}",
        dictionary({"a": b"N"}),
        sequence(b"]"),
        integer(1 << 64),
        sequence(*[b"N"] * 33),
    ):
        refused(write_zip(tmp_path / "a.pth", b"}" + key + b"Ns"), "key")
    refused(write_zip(tmp_path / "a.pth", dictionary({"x" * (1 << 20): b"N"})), "1048576 characters")
    refused(write_zip(tmp_path / "a.pth", dictionary({"\ud800": b"N"})), "UTF-8")
    for key in ("a\nb", "a\0b", "a\u202eb", "a\x1b[2Kb"):
        message = refused(write_zip(tmp_path / "a.pth", dictionary({key: tensor((7, 7))})), "tensor")
        assert message.isprintable() and key not in message
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", b"}(" + integer(1) + b"NC\x01aNu", {}))
    assert checkpoint.tree == {1: None, b"a": None}


def test_reader_refuses_a_weight_that_is_set_twice(tmp_path):
    """The later one would win silently; another program may take the first."""
    twice = b"}(" + (text("w") + tensor()) * 2 + b"u"
    refused(write_zip(tmp_path / "a.pth", twice), "'w' set twice")
    nested = b"}(" + (text("model") + dictionary({"w": tensor()})) * 2 + b"u"
    refused(write_zip(tmp_path / "a.pth", nested), "'model' set twice")


def test_reader_int_keys_can_not_be_made_to_collide(tmp_path):
    """Python hashes an int to its remainder modulo 2**61 - 1: a file of such keys would take hours."""
    keys = b"".join(integer(i * sys.hash_info.modulus) + b"N" for i in range(1, 50_000))
    refused(write_zip(tmp_path / "a.pth", b"}(" + keys + b"u", {}), "64-bit")


def test_reader_refuses_dtypes_without_an_array(tmp_path):
    source = storage(kind="ComplexFloatStorage")
    refused(write_zip(tmp_path / "a.pth", tensor(source=source)), "storage '0' needs 48 bytes")
    parts = [text("storage"), name("torch.storage", "UntypedStorage"), text("0"), text("cpu"), integer(24)]
    arguments = [sequence(*parts) + b"Q", integer(0), sequence(integer(6)), sequence(integer(1)), b"\x89", b"}"]
    body = call(name("torch._utils", "_rebuild_tensor_v3"), *arguments, name("torch", "float4_e2m1fn_x2"))
    refused(write_zip(tmp_path / "a.pth", body), "float4_e2m1fn_x2", error=ModelMismatchError)
    assert UnsafeInputError.exit_code == 3 and ModelMismatchError.exit_code == 4


@pytest.mark.parametrize("window", [1, 2, 3, 7, 64])
def test_a_line_is_the_same_wherever_the_window_ends(window, monkeypatch):
    monkeypatch.setattr(Cursor, "WINDOW", window)
    data = np.frombuffer(b"ab\nc\n\n" + b"x" * 9 + b"\ny\nz", np.uint8)

    def cursor():
        return Cursor(SimpleNamespace(refuse=UnsafeInputError), MemoryBlob(data), "names")

    whole = cursor()
    whole.enter_frame(17)  # up to the y: its newline is read outside, and no byte straddles the end
    assert [whole.line(9) for _ in range(5)] == [b"ab", b"c", b"", b"x" * 9, b"y"]
    whole.require_no_frame()
    with pytest.raises(UnsafeInputError, match="truncated"):
        whole.line(9)
    short = cursor()
    assert [short.line(8) for _ in range(3)] == [b"ab", b"c", b""]
    with pytest.raises(UnsafeInputError, match="a name of more than 8 bytes"):
        short.line(8)
