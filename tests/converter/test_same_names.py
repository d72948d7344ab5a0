"""What names and shapes do not say is said: other people's networks of the same names, outputs that are no classes."""

import pytest
import torch

from jinv.errors import ModelMismatchError
from jinv.models import origins
from jinv.models.registry import ARCHITECTURES
from jinv_convert.families.rules import detect_architecture, expected_targets, map_state_dict
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.same_names import doubts_of, notes_of
from tests.converter.checkpoint_files import random_reference, state
from tests.converter.reduced import register


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_flat", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("classes", [10, 100])
def test_networks_for_cifar_of_imagenets_names_are_doubted(name, classes):
    (doubt,) = doubts_of(ARCHITECTURES[name], classes)
    assert f"{classes} outputs: CIFAR's" in doubt
    assert doubts_of(ARCHITECTURES[name], 7) == [] == doubts_of(ARCHITECTURES["resnet50"], classes)


def test_networks_that_blur_are_mentioned():
    for name in ("resnet50", "resnet50d"):
        assert any("resnetblur" in note for note in notes_of(ARCHITECTURES[name], 1000, own_normalizer=False))
    assert notes_of(ARCHITECTURES["resnet18_fc"], 7, own_normalizer=False) == []


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_colours_of_published_weights_are_not_everybodys(name):
    assert any("0.485" in note for note in notes_of(ARCHITECTURES[name], 1000, own_normalizer=False))
    assert notes_of(ARCHITECTURES[name], 1000, own_normalizer=True) == []


def test_one_output_is_doubted(tmp_path):
    network = random_reference("resnet20", 1)
    torch.save(network.state_dict(), tmp_path / "in.pth")
    report = convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert report.num_classes == 1 and any("one output is no class" in warning for warning in report.warnings)


def test_cifars_classes_are_said_to_be_taken_for_granted(tmp_path):
    torch.save(state(), tmp_path / "in.pth")
    report = convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert any("CIFAR-10's classes in their usual order" in note for note in report.notes)


def test_a_file_that_is_not_the_published_one_has_not_its_origin(tmp_path):
    """`jinv convert resnet18 --unverified` of another file."""
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(state(), path)
    options = ConversionOptions(
        unverified=True, origin=origins.Origin("torchvision", 0.7, "BSD-3-Clause"), training="me"
    )
    report = convert_checkpoint(path, tmp_path / "out.safetensors", options)
    assert report.origin is None and report.training == "me" and "f37072fd" in report.warnings[0]


def test_a_trunk_may_keep_its_auxiliary_heads(tmp_path, monkeypatch):
    register(monkeypatch)
    trunk = {key: value for key, value in random_reference("small_googlenet").state_dict().items() if key[:3] != "fc."}
    torch.save(trunk | {"aux1.fc1.weight": torch.zeros(4, 4)}, tmp_path / "in.pth")
    report = convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.safetensors")
    assert report.num_classes == 0 and any("aux1" in note for note in report.notes)


@pytest.mark.parametrize("shape", [(1000, 512, 1, 1), (512,), (0, 512)])
def test_a_head_of_another_kind_is_a_wrong_shape_and_no_trunk(shape):
    shapes = {name: shape for name, (_, shape) in expected_targets(ARCHITECTURES["resnet18"], 1000).items()}
    with pytest.raises(ModelMismatchError, match="fc.weight' has shape") as error:
        map_state_dict("resnet18", shapes | {"fc.weight": shape}, num_classes=1000)
    assert "--num-classes 0" not in str(error.value)


def test_a_network_with_eight_hundred_convolutions_is_refused_in_a_short_line():
    shapes = {f"features.{3 + 5 * i}.weight": (8, 8, 3, 3) for i in range(800)}
    marks = ("features.0.weight", "features.1.running_mean", "classifier.0.weight", "classifier.6.weight")
    with pytest.raises(ModelMismatchError) as error:
        detect_architecture(shapes | dict.fromkeys(marks, (8, 8, 3, 3)))
    assert len(str(error.value)) < 1000
