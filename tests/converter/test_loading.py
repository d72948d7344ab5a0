"""Loading by name and by path, the cache, and `jinv convert` from the outside."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import jinv
from jinv.cli import main
from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError
from jinv.weights.file import NetworkMetadata, read_converted, save_converted
from jinv_convert.commands import add_convert_arguments, run_convert
from tests.converter.checkpoint_files import NETWORK, assert_is_network, save, state, without


def test_a_converted_file_loads_as_a_classifier(convert, out):
    convert(state())
    classifier = jinv.load(out)
    assert classifier.architecture == "resnet20" and classifier.class_names[3] == "cat"
    image = np.random.default_rng(0).normal(size=(2, 17, 20, 3)).astype(np.float32)
    with torch.no_grad():
        expected = NETWORK(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(classifier.forward(classifier.variables, image).logits, expected, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("convert in.pth", 2, "required: OUT.safetensors"),
        ("convert in.pth o.safetensors --architcture resnet20", 2, "did you mean '--architecture'?) (see jinv convert"),
        ("convert in.pth other.pth", 2, "named like a checkpoint, which it would replace"),
        ("convert in.pth none/o.safetensors", 5, "the directory none does not exist"),
        ("convert resnet50 none/o.safetensors", 5, "the directory none does not exist"),  # before any download
        ("convert in.pth .", 5, "is a directory"),
        ("convert . o.safetensors", 5, "not a regular file but a directory"),
        ("convert resnet32 o.safetensors", 2, "no file of this network is published"),
        ("convert out.safetensors o.safetensors", 2, "already converted by jinv"),
        ("convert in.pth o.safetensors --labels none.txt", 5, "none.txt: cannot be read"),
        ("validate out.safetensors", 2, "required: CHECKPOINT"),
        ("validate in.pth out.safetensors", 2, "the converted file comes first, then its checkpoint"),
        ("validate out.safetensors out.safetensors", 2, "already converted by jinv"),
        ("validate out.safetensors none.pth", 5, "none.pth: no such file"),
        ("validate out.safetensors efficientnet_lite0", 4, "efficientnet-lite0-57934424.pth: not a resnet20"),
        ("validate out.safetensors in.pth --images empty", 2, "empty: no images in it"),
        ("validate out.safetensors in.pth --images in.pth", 2, "in.pth: no images in it"),
        ("validate out.safetensors in.pth --json none/x.json", 5, "the directory none does not exist"),
        ("validate out.safetensors in.pth --html empty", 5, "empty: is a directory"),
    ],
)
def test_a_newcomers_mistakes_get_one_line_and_write_nothing(
    convert, tmp_path, monkeypatch, capsys, arguments, code, words
):
    convert(state())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == code
    error = capsys.readouterr().err
    assert words in error and error.startswith("jinv: error: ") and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in.pth", "out.safetensors"]


def test_a_damaged_converted_file_is_not_loaded(convert, out):
    convert(state())
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    with pytest.raises(UnsafeInputError, match="sha256"):
        jinv.load(out)


def test_the_argument_parser_imports_neither_jax_nor_torch():
    code = (
        "import argparse, sys; from jinv_convert.commands import add_convert_arguments as c, add_validate_arguments as v;"
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
    import importlib.util

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "jinv\[embedded\]"'):
        jinv.load("efficientnet_lite1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
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
    for architecture, dropped in (("resnet18", ""), ("resnet20", "params/linear/bias"), ("resnet19", "")):
        keep = {key: metadata[key] for key in ("mean", "std", "input_size", "class_names", "num_classes", "source")}
        rest = {name: array for name, array in arrays.items() if name != dropped}
        save_converted(out, rest, NetworkMetadata(architecture=architecture, **keep))
        with pytest.raises(ModelMismatchError):
            jinv.load(out)


def test_a_published_name_is_fetched_from_the_mirror_and_converted(cache, tmp_path, monkeypatch, out, capsys):
    import argparse
    import functools
    import hashlib
    import http.server
    import threading

    from jinv_convert import published

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
