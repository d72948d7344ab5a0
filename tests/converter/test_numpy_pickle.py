"""Plain pickles of numpy arrays, as Keras-like packages keep weights: read without numpy's or pickle's own functions."""

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from jinv.errors import JinvError, ModelMismatchError, UnsafeInputError
from jinv_convert.reader import Opaque, read_checkpoint
from jinv_convert.state_dict import select_state_dict

ARRAYS = {
    "f4": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "f8": np.linspace(0, 1, 5),
    "big": np.arange(6, dtype=">f4").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(24, dtype="<f4").reshape(4, 3, 2)),
    "i8": np.array([-(2**40), 3], "<i8"),
    "bool": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
}


def write(path: Path, tree, protocol=4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def refusal(path):
    with pytest.raises(UnsafeInputError) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, protocol):
    checkpoint = read_checkpoint(write(tmp_path / "a.pkl", {**ARRAYS, "list": [ARRAYS["f4"], 3]}, protocol))
    assert checkpoint.container == "numpy pickle" and checkpoint.opaque == ()
    for name, array in ARRAYS.items():
        found = checkpoint.tree[name].numpy()
        np.testing.assert_array_equal(found, array)
        assert (found.shape, found.dtype) == (array.shape, array.dtype.newbyteorder("="))
    assert checkpoint.tree["list"][1] == 3


def test_nothing_of_numpy_or_pickle_is_called(tmp_path, monkeypatch):
    path = write(tmp_path / "a.pkl", ARRAYS)
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    assert len(read_checkpoint(path).tree) == len(ARRAYS)


def test_pairs_of_a_layer_get_torchs_names_and_layout(tmp_path):
    random = np.random.default_rng(0)
    kernel, bias, dense = random.normal(size=(3, 2, 4, 5)), random.normal(size=5), random.normal(size=(7, 6))
    tree = {"conv": [kernel, bias], "fire2/squeeze": (kernel,), "fc": [dense, bias], "bn.weight": bias}
    tensors = select_state_dict(read_checkpoint(write(tmp_path / "a.pkl", tree))).tensors
    assert list(tensors) == ["conv.weight", "conv.bias", "fire2/squeeze.weight", "fc.weight", "fc.bias", "bn.weight"]
    np.testing.assert_array_equal(tensors["conv.weight"].numpy(), kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(tensors["fc.weight"].numpy(), dense.T)
    np.testing.assert_array_equal(tensors["bn.weight"].numpy(), bias)
    with pytest.raises(ModelMismatchError, match=r"'conv.bias' comes up twice"):
        select_state_dict(read_checkpoint(write(tmp_path / "b.pkl", tree | {"conv.bias": bias})))


@pytest.mark.parametrize(
    "tree",
    [
        {"a": np.array([{"x": 1}], object), "b": np.zeros(2)},
        {"a": np.array(["text"]), "b": np.zeros(2)},
        {"a": np.zeros(2, [("x", "f4")]), "b": np.zeros(2)},
        {"a": np.zeros(2, "c16")},
        {"a": 1},
        [np.zeros(3)],
    ],
)
def test_what_is_no_weights_is_refused(tmp_path, tree):
    refusal(write(tmp_path / "a.pkl", tree))


class Evil:
    def __reduce__(self):
        return (__import__("os").system, ("touch /tmp/jinv-was-run",))


def test_names_that_run_code_are_refused(tmp_path):
    said = refusal(write(tmp_path / "a.pkl", {"a": np.zeros(2), "b": Evil()}))
    assert "can run code" in said
    assert not Path("/tmp/jinv-was-run").exists()


def test_an_unknown_name_stays_a_name(tmp_path):
    path = write(tmp_path / "a.pkl", {"a": np.zeros(2), "when": __import__("datetime").date(2020, 1, 1)})
    checkpoint = read_checkpoint(path)
    assert isinstance(checkpoint.tree["when"], Opaque) and checkpoint.opaque == ("datetime.date",)


def test_data_behind_the_pickle_is_refused(tmp_path):
    path = write(tmp_path / "a.pkl", ARRAYS)
    path.write_bytes(path.read_bytes() + b"more")
    assert "4 bytes of trailing data" in refusal(path)


def test_a_shape_that_its_bytes_do_not_fill_is_refused(tmp_path):
    data = pickle.dumps({"a": np.arange(4, dtype="<f4")}, 2)
    (place,) = [at for op, arg, at in pickletools.genops(data) if op.name == "BININT1" and arg == 4]
    spoilt = tmp_path / "a.pkl"
    spoilt.write_bytes(data[: place + 1] + b"\x05" + data[place + 2 :])
    assert "does not fill" in refusal(spoilt)


def test_no_flipped_byte_makes_it_fail_otherwise(tmp_path):
    """Whatever a damaged file is, it is read or refused: no other error comes out."""
    data = pickle.dumps({"a": [np.arange(6, dtype="<f4").reshape(2, 3), np.zeros(2)]}, 3)
    path = tmp_path / "a.pkl"
    for place in range(len(data)):
        for bit in (0, 3, 6):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            try:
                for value in read_checkpoint(path).tree.values():
                    for part in value if isinstance(value, list) else ():
                        part.numpy()
            except JinvError:
                pass
            except AttributeError as error:  # a list may hold something else than arrays by then
                assert "numpy" in str(error)
