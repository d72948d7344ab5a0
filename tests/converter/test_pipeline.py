"""Checkpoints as training scripts write them, converted exactly or refused with one line and no file."""

import os

import pytest
import safetensors.torch
import torch

import jinv
from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError
from jinv.models import origins
from jinv.weights.file import read_converted
from jinv_convert.pipeline import convert_checkpoint
from tests.converter.checkpoint_files import assert_is_network, prefixed, save, state, without


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


def test_a_stated_training_is_recorded_and_without_one_it_is_unknown(convert, out):
    assert convert(state(), training="by us").training == "by us"
    network = jinv.load(out)
    assert (network.training, network.family, network.accuracy) == ("by us", type(network.module).__name__, None)
    stated = out.read_bytes()
    assert convert(state()).training is None
    assert jinv.load(out).training is None and b'"training"' in stated and b'"training"' not in out.read_bytes()


def test_the_training_of_a_known_checkpoint_is_known_by_its_digest(convert, out, monkeypatch):
    convert(state())
    digest = jinv.load(out).source["source"]["sha256"]
    monkeypatch.setitem(origins.ORIGINS, digest[: origins.DIGITS], origins.Origin("known", 0.5))
    network = jinv.load(out)  # a file from before there was such an entry
    assert (network.training, network.accuracy) == ("known", 0.5)
    assert convert(state(), training="known").training == convert(state()).training == "known"
    with pytest.raises(UsageError, match="--training by us: .* is of known; leave it out"):
        convert(state(), training="by us")


def test_what_is_known_of_a_publication_is_in_the_converted_file(convert, out):
    """By the file's digest, or by the name that it was fetched under."""
    convert(state())
    source = jinv.load(out).source["source"]
    assert source["paper"] == "arXiv:1512.03385" and not {"license", "accuracy", "crop"} & source.keys()
    known = origins.Origin("a lab", 0.5, "MIT", origins.Preparation(256, 224, "bicubic"))
    assert convert(state(), origin=known).training == "a lab"
    network = jinv.load(out)
    assert network.training == "a lab" and network.accuracy == 0.5
    expected = {"license": "MIT", "accuracy": 0.5, "resize": 256, "crop": 224, "interpolation": "bicubic"}
    assert {key: network.source["source"].get(key) for key in expected} == expected


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
        {"training": " "},
        {"training": "two\nlines"},
        {"architecture": "resnet2O"},
    ],
)
def test_contradictory_arguments_are_usage_errors(convert, out, options):
    with pytest.raises(UsageError):
        convert(state(), **options)
    assert not out.exists()


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
