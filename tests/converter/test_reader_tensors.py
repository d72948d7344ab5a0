"""Tensors that are not where they say (rows T of the catalogue): bounds, overflow, size, dtype, missing storages."""

import struct

import numpy as np
import pytest
import torch

from jinv.errors import ModelMismatchError
from jinv_convert.reader import Opaque, UnreadTensor
from jinv_convert.state_dict import select_state_dict
from tests.converter.reader_audit import read_watched, refused
from tests.converter.reader_files import (
    FLOATS,
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

HUGE = 0x4000000000000001


def both_containers(tmp_path, *tensor_arguments, key="module.fc.weight"):
    """The same tensor in a zip and in a legacy file."""
    yield write_zip(tmp_path / "a.pth", dictionary({"model": dictionary({key: tensor(*tensor_arguments)})}))
    body = dictionary({"model": dictionary({key: tensor(*tensor_arguments, source=storage(legacy=True))})})
    yield write_legacy(tmp_path / "a.pth", body)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "word"),
    [
        ((2, 3), (3, 1), 1, "ends at element 7"),  # T03
        ((7,), (1,), 0, "ends at element 7"),
        ((2, 3), (4, 1), 0, "ends at element 7"),
        ((2, 3), (1 << 62, 1), 0, "ends at element"),
        ((1,), (1,), 1 << 63, "ends at element"),
        ((0,), (1,), 7, "offset 7"),
        ((2, -3), (3, 1), 0, "negative"),  # T04
        ((2, 3), (-3, 1), 3, "negative"),
        ((2, 3), (3, 1), -1, "negative"),
        ((-2, -3), (3, 1), 0, "negative"),
        ((HUGE,), (1,), 0, "bytes, the limit"),  # T05
        ((HUGE, 4), (0, 0), 0, "bytes, the limit"),
        ((1 << 32, 1 << 32), (0, 0), 0, "bytes, the limit"),
        ((1 << 21, 1 << 21), (0, 0), 0, "bytes, the limit"),  # T06
        ((0, 1 << 60), (1, 1), 0, "bytes, the limit"),
        ((1,) * 64, (1,) * 64, 0, "64 dimensions"),  # T16
        ((1 << 40,), (0,), 0, "bytes, the limit"),
        ((2, 3), (3,), 0, "2 sizes and 1 strides"),
    ],
)
def test_reader_refuses_tensors_outside_their_storage(tmp_path, shape, strides, offset, word):
    """T03 to T06, T16; the message has the whole name of the tensor."""
    for path in both_containers(tmp_path, shape, strides, offset):
        refused(path, "model / module.fc.weight", word)


def test_reader_refuses_more_tensors_than_memory(tmp_path):
    """T06, T08: each of them is small enough, all together are not; aliases count once."""
    shape = (1 << 20, 6)
    many = {f"w{i}": tensor(shape, (0, 1), 0) for i in range(12)}
    assert len(read_watched(write_zip(tmp_path / "a.pth", dictionary(many))).tree) == 12
    different = {f"w{i}": tensor((1 << 20, 6 - i % 3), (0, 1), i % 3) for i in range(12)}
    different |= {f"v{i}": tensor((1 << 20, i), (0, 1), 0) for i in range(1, 6)}
    refused(write_zip(tmp_path / "a.pth", dictionary(different)), "17 tensors", "the limit")


@pytest.mark.parametrize(
    ("data", "numel"), [(FLOATS[:-1], 6), (FLOATS[:-4], 6), (b"", 6), (FLOATS + b"\0", 6), (FLOATS, 7)]
)
def test_reader_refuses_storages_of_another_size(tmp_path, data, numel):
    """T01: and longer than announced, which only a crafted file is."""
    body = dictionary({"w": tensor((1,), (1,), source=storage(numel=numel))})
    refused(write_zip(tmp_path / "a.pth", body, {"0": data}), "storage '0'", "archive/data/0")
    body = dictionary({"w": tensor((1,), (1,), source=storage(numel=numel, legacy=True))})
    refused(write_legacy(tmp_path / "a.pth", body, {"0": (6 if numel == 6 else 6, data)}))


def test_reader_warns_of_slack(tmp_path):
    """T02: a slice that was saved with all of its storage."""
    torch.save({"w": torch.arange(100.0)[3:5], "v": torch.ones(3)}, tmp_path / "a.pth")
    checkpoint = read_watched(tmp_path / "a.pth")
    assert checkpoint.tree["w"].numpy().tolist() == [3, 4]
    assert len(checkpoint.warnings) == 1 and "400 bytes, of which tensors use 8" in checkpoint.warnings[0]


def test_reader_refuses_missing_storages(tmp_path):
    """T14: never zeros."""
    refused(write_zip(tmp_path / "a.pth", dictionary({"w": tensor()}), {}), "storage '0' is missing", "archive/data/0")
    body = dictionary({"w": tensor(source=storage(legacy=True))})
    refused(write_legacy(tmp_path / "a.pth", body, {}), "storages")
    refused(write_legacy(tmp_path / "a.pth", body, {"1": (6, FLOATS)}), "storages")
    refused(write_legacy(tmp_path / "a.pth", body, {"0": (6, FLOATS), "1": (6, FLOATS)}), "storages")


@pytest.mark.parametrize("count", [-1, 5, 7, 1 << 62])
def test_reader_refuses_legacy_counts_that_disagree(tmp_path, count):
    body = dictionary({"w": tensor(source=storage(legacy=True))})
    refused(write_legacy(tmp_path / "a.pth", body, {"0": (count, FLOATS)}), "storage '0'", str(count))


def view(metadata: bytes) -> bytes:
    parts = [text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(6), metadata]
    return sequence(*parts) + b"Q"


def test_reader_reads_legacy_storage_views(tmp_path):
    """A tensor may be on a view of a storage; the view bounds it."""
    seen = sequence(text("view"), integer(2), integer(3))
    path = write_legacy(tmp_path / "a.pth", dictionary({"w": tensor((2,), (1,), 1, view(seen))}))
    assert read_watched(path).tree["w"].numpy().tolist() == [4, 5]
    path = write_legacy(tmp_path / "a.pth", dictionary({"w": tensor((3,), (1,), 1, view(seen))}))
    refused(path, "ends at element 4", "storage of 3")
    for offset, length in ((4, 3), (-1, 3), (0, -1), (1 << 62, 1 << 62), (7, 0)):
        metadata = sequence(text("view"), integer(offset), integer(length))
        refused(write_legacy(tmp_path / "a.pth", dictionary({"w": tensor(source=view(metadata))})), "storage view")
    for metadata in (sequence(text("view"), integer(2)), text("view"), sequence(text("v"), b"N", b"N"), b"]"):
        refused(write_legacy(tmp_path / "a.pth", dictionary({"w": tensor(source=view(metadata))})), "storage view")


def test_reader_refuses_one_storage_with_two_types(tmp_path):
    body = dictionary({"a": tensor(), "b": tensor((3,), (1,), source=storage(numel=3, kind="DoubleStorage"))})
    refused(write_zip(tmp_path / "a.pth", body), "storage '0' with two types")


class Subclass(torch.Tensor):
    """A tensor class of its own."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.ones(2, 2).to_sparse(),
        lambda: torch.ones(2, 2).to_sparse_csr(),
        lambda: torch.ones(2, dtype=torch.complex64),
        lambda: torch.empty(2, device="meta"),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ],
    ids=["quantised", "sparse", "csr", "complex", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore")  # torch deprecates quantisation, and calls csr and nested tensors prototypes
def test_other_kinds_of_tensors_are_inert_beside_weights_and_refused_among_them(tmp_path, make):
    """T13."""
    weights = {"conv.weight": torch.ones(2, 2), "fc.weight": torch.ones(2, 3)}
    torch.save({"state_dict": weights, "other": make()}, tmp_path / "a.pth")
    checkpoint = read_watched(tmp_path / "a.pth")
    assert isinstance(checkpoint.tree["other"], UnreadTensor) and checkpoint.tree["other"].name in checkpoint.opaque
    assert set(select_state_dict(checkpoint).tensors) == set(weights)
    torch.save({"state_dict": weights | {"fc.weight": make()}}, tmp_path / "a.pth")
    with pytest.raises(ModelMismatchError, match="'fc.weight' under 'state_dict' has a.* tensor, which is not read"):
        select_state_dict(read_watched(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    "make", [lambda: torch.ones(2, dtype=torch.complex64).conj(), lambda: torch._neg_view(torch.ones(2))]
)
def test_reader_refuses_tensors_whose_values_are_not_their_bytes(tmp_path, make):
    torch.save({"w": make()}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "data.pkl: byte", "lazy")


def test_reader_parameters_and_subclasses(tmp_path):
    """T15: torch's own are tensors, an unknown subclass is a name."""
    parameter = torch.nn.Parameter(torch.arange(3.0))
    parameter.note = "with state"
    buffer = torch.nn.Buffer(torch.arange(4.0))
    torch.save({"p": parameter, "b": buffer, "s": torch.ones(2).as_subclass(Subclass)}, tmp_path / "a.pth")
    checkpoint = read_watched(tmp_path / "a.pth")
    assert checkpoint.tree["p"].numpy().tolist() == [0, 1, 2] and checkpoint.tree["b"].numpy().tolist() == [0, 1, 2, 3]
    assert checkpoint.tree["s"] == Opaque(f"{__name__}.Subclass") and f"{__name__}.Subclass" in checkpoint.opaque


@pytest.mark.parametrize(
    "arguments",
    [
        (storage(), integer(0), sequence(integer(6))),
        (integer(1), integer(0), sequence(integer(6)), sequence(integer(1)), b"\x89", b"}"),
        (storage(), b"N", sequence(integer(6)), sequence(integer(1)), b"\x89", b"}"),
        (storage(), integer(0), integer(6), sequence(integer(1)), b"\x89", b"}"),
        (storage(), integer(0), sequence(b"\x88"), sequence(integer(1)), b"\x89", b"}"),
        (storage(), integer(0), sequence(b"G" + struct.pack(">d", 6)), sequence(integer(1)), b"\x89", b"}"),
        (storage(), integer(0), sequence(text("6")), sequence(integer(1)), b"\x89", b"}"),
        (storage(), integer(0), sequence(integer(6)), b"N", b"\x89", b"}"),
    ],
)
def test_reader_refuses_wrong_arguments(tmp_path, arguments):
    body = dictionary({"w": call(name("torch._utils", "_rebuild_tensor_v2"), *arguments)})
    refused(write_zip(tmp_path / "a.pth", body), "data.pkl: byte")


def test_a_bare_storage_is_inert(tmp_path):
    """Beside weights it does no harm; it is none, and has no shape."""
    checkpoint = read_watched(write_zip(tmp_path / "a.pth", dictionary({"w": tensor(), "s": storage()})))
    state = select_state_dict(checkpoint)
    assert set(state.tensors) == {"w"} and any("'s'" in note for note in state.notes)


def test_reader_bool_bytes_become_true(tmp_path):
    """A byte of 2 in a bool storage would be a bool that is neither True nor False in numpy."""
    body = dictionary({"w": tensor((3,), (1,), source=storage(numel=3, kind="BoolStorage"))})
    array = read_watched(write_zip(tmp_path / "a.pth", body, {"0": b"\0\1\2"})).tree["w"].numpy()
    assert array.dtype == np.bool_ and array.view(np.uint8).tolist() == [0, 1, 1]
