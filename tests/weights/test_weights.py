"""The converted file: readable by safetensors, refused whole when a single bit of it is wrong; and loading by name."""

import contextlib
import hashlib
import json
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from jinv.errors import JinvError, ModelMismatchError, StorageError, UnsafeInputError, UsageError
from jinv.weights import file
from jinv.weights.file import NetworkMetadata, open_converted, parse_converted, read_converted, save_converted

RNG = np.random.default_rng(0)
VARIABLES = {
    "params/conv1/kernel": RNG.normal(size=(1, 1, 3, 2)).astype(np.float32),
    "params/bn1/scale": RNG.normal(size=2).astype(np.float32),
    "batch_stats/bn1/mean": RNG.normal(size=2).astype(np.float32),
    "batch_stats/bn1/var": RNG.uniform(1, 2, size=2).astype(np.float32),
}
METADATA = NetworkMetadata(
    architecture="resnet20_cifar",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    input_size=32,
    class_names=("cat", "dög"),
    num_classes=2,
    source={"file": "tiny.pth", "sha256": "00" * 32},
)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_converted(path, VARIABLES, METADATA)
    return path


def rewritten(path, change):
    """The file with `change` applied to its parsed header, canonically written again, digests left as they were."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def test_converted_file_round_trip_keeps_arrays_and_metadata(tiny):
    arrays, metadata = read_converted(tiny)
    assert arrays.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert metadata["architecture"] == "resnet20_cifar"
    assert metadata["mean"] == list(METADATA.mean) and metadata["std"] == list(METADATA.std)
    assert metadata["class_names"] == ["cat", "dög"] and metadata["num_classes"] == 2 and metadata["clamp"] is False
    assert metadata["source"] == METADATA.source and metadata["input_size"] == 32


def test_converted_file_is_plain_safetensors(tiny):
    arrays = safetensors.numpy.load_file(tiny)
    assert arrays.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(arrays[name], array)
    with safetensors.safe_open(tiny, "numpy") as file:
        assert file.metadata()["architecture"] == "resnet20_cifar"


def test_converted_file_is_the_same_whatever_the_order_of_its_tensors(tiny, tmp_path):
    save_converted(tmp_path / "again", dict(reversed(VARIABLES.items())), METADATA)
    assert (tmp_path / "again").read_bytes() == tiny.read_bytes()


def test_tensor_digest_covers_name_shape_and_bytes(tiny):
    _, metadata = read_converted(tiny)
    name = "params/bn1/scale"
    expected = hashlib.sha256(b'["params/bn1/scale","F32",[2]]' + VARIABLES[name].tobytes()).hexdigest()
    assert metadata["sha256_of_tensors"][name] == expected


def test_every_single_bit_flip_is_refused(tiny, capsys):
    data = bytearray(tiny.read_bytes())
    header_end = 8 + int.from_bytes(data[:8], "little")
    original = safetensors.numpy.load(bytes(data))
    part = {"header length": (0, 8), "header": (8, header_end), "tensors": (header_end, len(data))}
    flips, silent, silent_here = (dict.fromkeys(part, 0) for _ in range(3))
    for name, (start, stop) in part.items():
        for bit in range(8 * start, 8 * stop):
            data[bit // 8] ^= 1 << bit % 8
            flips[name] += 1
            with contextlib.suppress(JinvError):
                silent_here[name] += not parse_converted(bytes(data)).problems
            try:
                theirs = safetensors.numpy.load(bytes(data))
                same = theirs.keys() == original.keys() and all(
                    theirs[k].shape == v.shape and theirs[k].tobytes() == v.tobytes() for k, v in original.items()
                )
                silent[name] += not same
            except safetensors.SafetensorError:
                pass
            except (ValueError, KeyError, OverflowError, MemoryError):
                pass
            data[bit // 8] ^= 1 << bit % 8
    with capsys.disabled():
        print(f"\n{'single-bit flips of':22}{'flips':>8}{'silently wrong: jinv':>22}{'safetensors':>13}")
        for name in part:
            print(f"{name:22}{flips[name]:8}{silent_here[name]:22}{silent[name]:13}")
    assert sum(silent_here.values()) == 0
    # Every flipped weight is a silently wrong weight to a format without checksums: what the digests are for.
    assert silent["tensors"] == flips["tensors"] == 8 * 4 * 12


@pytest.mark.parametrize("offset", [3, 9, 100, -1])
def test_read_converted_refuses_a_flipped_file_on_disk(tiny, offset):
    data = bytearray(tiny.read_bytes())
    data[offset] ^= 1
    tiny.write_bytes(data)
    with pytest.raises(UnsafeInputError):
        read_converted(tiny)


def test_every_prefix_is_refused(tiny):
    data = tiny.read_bytes()
    for length in range(len(data)):
        with pytest.raises(UnsafeInputError):
            parse_converted(data[:length])


def test_damage_is_listed_and_the_values_still_read_without_verification(tiny):
    data = bytearray(tiny.read_bytes())
    data[-1] ^= 0x80  # the sign of the last value in name order: params/conv1/kernel's
    tiny.write_bytes(data)
    found = open_converted(tiny)
    assert found.problems == ("the sha256 of tensor params/conv1/kernel differs from the recorded one",)
    arrays, _ = read_converted(tiny, verify=False)
    assert arrays["params/conv1/kernel"].flat[-1] == -VARIABLES["params/conv1/kernel"].flat[-1]


def test_a_changed_mean_is_refused(tiny):
    changed = rewritten(tiny, lambda header: header["__metadata__"].update(mean="[0.5,0.5,0.5]"))
    assert parse_converted(changed).problems == ("the metadata's sha256 differs from the recorded one",)


def test_a_file_rewritten_by_safetensors_is_not_canonical(tiny):
    with safetensors.safe_open(tiny, "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(VARIABLES, tiny, dict(reversed(metadata.items())) | {"note": "mine"})
    with pytest.raises(UnsafeInputError, match="damaged"):
        read_converted(tiny)


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", UnsafeInputError, id="S01 empty"),
        pytest.param(struct.pack("<Q", 2**64 - 1) + b"{}", UnsafeInputError, id="S01 length 2^64-1"),
        pytest.param(struct.pack("<Q", 100) + b"{}", UnsafeInputError, id="S01 header past the end"),
        pytest.param(raw(b" " * (file.MAX_HEADER + 1)), UnsafeInputError, id="S02 long header"),
        pytest.param(raw(b'{"\xff":1}'), UnsafeInputError, id="S03 not UTF-8"),
        pytest.param(raw(b"{} x"), UnsafeInputError, id="S03 trailing garbage"),
        pytest.param(raw(b'{"a":{"dtype":"F32"},"a":{"dtype":"F32"}}'), UnsafeInputError, id="S03 key twice"),
        pytest.param(raw(b'{"a":' + b"[" * 10_000), UnsafeInputError, id="S03 deep nesting"),
        pytest.param(raw(b"[" * 100_000 + b"]" * 100_000), UnsafeInputError, id="S03 deeper nesting"),
        pytest.param(raw(b'{"a":NaN}'), UnsafeInputError, id="S03 NaN"),
        pytest.param(raw(b"[]"), UnsafeInputError, id="S03 not a table"),
        pytest.param(
            raw({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), UnsafeInputError, id="S04 overlap"
        ),
        pytest.param(raw({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), UnsafeInputError, id="S04 hole"),
        pytest.param(raw({"a": entry([1], 8, 4)}, bytes(8)), UnsafeInputError, id="S04 reversed"),
        pytest.param(raw({"a": entry([3], 0, 12)}, bytes(8)), UnsafeInputError, id="S04 past the end"),
        pytest.param(raw({"a": entry([1], 0, 4)}, bytes(8)), UnsafeInputError, id="S04 not covering"),
        pytest.param(raw({"a": entry([-1], 0, 4)}, bytes(4)), UnsafeInputError, id="S04 negative"),
        pytest.param(
            raw({"a": entry([4194305, 4194305, 211106198978564], 0, 4)}, bytes(4)), UnsafeInputError, id="S05"
        ),
        pytest.param(raw({"a": entry([1], 0, 1, "F8_E8M0")}, bytes(1)), ModelMismatchError, id="S06"),
        pytest.param(raw({"__metadata__": {"a": 1}}), UnsafeInputError, id="S07 not a string"),
        pytest.param(raw({"__metadata__": {"a": "x" * 10_000_000}}), UnsafeInputError, id="S07 long string"),
        pytest.param(raw({"a": entry([1], 0, 4)}, bytes(4)), UsageError, id="foreign safetensors"),
        pytest.param(b"PK\x03\x04" + bytes(100), UsageError, id="zip checkpoint"),
        pytest.param(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100), UsageError, id="legacy checkpoint"),
    ],
)
def test_malformed_files_are_refused_with_one_line(tmp_path, data, error):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        read_converted(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_missing_file_a_directory_and_a_device_are_storage_errors(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path, "/dev/zero", "a\0b"):
        with pytest.raises(StorageError):
            read_converted(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("params/conv1/weight", np.zeros(1, np.float32)),
        ("../x/kernel", np.zeros(1, np.float32)),
        ("params/a/kernel", np.zeros(1)),
    ],
)
def test_save_refuses_foreign_names_and_dtypes_and_leaves_no_file(tmp_path, name, array):
    with pytest.raises(ValueError):
        save_converted(tmp_path / "out", {name: array}, METADATA)
    assert list(tmp_path.iterdir()) == []
