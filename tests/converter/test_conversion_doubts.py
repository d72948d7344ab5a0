"""Checkpoints of which something is odd: refused with what is wrong, or converted with what is doubtful (rows M and T)."""

import os

import ml_dtypes
import numpy as np
import pytest
import torch

import jinv
from jinv.errors import ModelMismatchError, UnsafeInputError, UsageError
from jinv.weights.file import read_converted
from jinv.weights.labels import class_names
from jinv_convert.families.rules import map_state_dict
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.published import promised_sha256
from tests.converter.checkpoint_files import assert_is_network, prefixed, random_reference, save, state, without


def changed(name, change):
    tree = state()
    tree[name] = change(tree[name])
    return tree


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


def test_m03_the_number_of_classes_is_that_of_the_files_last_layer(refused, convert, out):
    network = random_reference("resnet20", 7)
    report = convert(network.state_dict())
    assert report.num_classes == 7 and not report.warnings
    assert any("7 outputs, which are numbered: --labels" in note for note in report.notes)
    assert_is_network(out, network)
    assert convert(network.state_dict(), num_classes=7).num_classes == 7
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


def test_m15_a_file_that_is_not_the_published_one_of_its_name_needs_a_flag(tmp_path, out):
    path = save(state(), tmp_path / "resnet50-0676ba61.pth")
    with pytest.raises(UnsafeInputError, match="does not begin with 0676ba61.*--unverified") as caught:
        convert_checkpoint(path, out)
    assert caught.value.exit_code == 3 and os.listdir(tmp_path) == [path.name]
    report = convert_checkpoint(path, out, ConversionOptions(unverified=True))
    assert "0676ba61" in report.warnings[0] and report.source_sha256 in report.warnings[0]
    assert any("0676ba61" in note for note in read_converted(out)[1]["notes"])
    assert_is_network(out)
    assert any("not the published resnet50-0676ba61.pth" in note for note in validate_notes(out, path))


def test_m15_promised_digests_are_those_of_published_and_embedded_files(shared_data):
    assert promised_sha256("resnet50-0676ba61.pth") == "0676ba61"
    assert len(promised_sha256("efficientnet-lite0-57934424.pth")) == 64
    assert len(promised_sha256("resnet50_linf_eps4.0.ckpt")) == 64
    assert promised_sha256("resnet50_l2_eps3.ckpt") == promised_sha256("model-20240115.pth") == ""


def validate_notes(out, path):
    from jinv.weights.file import open_converted
    from jinv_convert.reader import read_checkpoint
    from jinv_convert.validate import _notes

    return _notes(open_converted(out), read_checkpoint(path))


CIFAR = class_names("cifar10")


def label_file(tmp_path, names):
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def test_m17_the_usual_order_is_taken_by_any_synonym(convert, out, tmp_path):
    names = ["plane", "car", *CIFAR[2:]]
    assert convert(state(), labels=label_file(tmp_path, names)).warnings == ()
    assert jinv.load(out).class_names == CIFAR


def test_m17_another_order_is_kept_and_warned_about(convert, out, tmp_path):
    names = [*CIFAR[1:], CIFAR[0]]
    (warning,) = convert(state(), labels=label_file(tmp_path, names)).warnings
    assert "10 classes are not in cifar10's usual order" in warning and "output 0 is 'automobile'" in warning
    assert jinv.load(out).class_names == tuple(names)


def test_m17_names_of_other_classes_are_kept_and_warned_about(convert, out, tmp_path):
    (warning,) = convert(state(), labels=label_file(tmp_path, [*CIFAR[:9], "lorry with trailer"])).warnings
    assert "1 of 10 names" in warning and "lorry with trailer" in warning
    assert jinv.load(out).class_names[9] == "lorry with trailer"


def test_m17_another_number_of_labels_is_refused(convert, tmp_path, out):
    with pytest.raises(UsageError, match="9 names, but the network has 10 outputs"):
        convert(state(), labels=label_file(tmp_path, CIFAR[:9]))
    assert not out.exists()


def test_m17_labels_name_another_last_layer(convert, out, tmp_path):
    network = random_reference("resnet20", 3)
    convert(network.state_dict(), num_classes=3, labels=label_file(tmp_path, "abc"))
    assert jinv.load(out).class_names == ("a", "b", "c")


@pytest.mark.parametrize(("number", "known"), [(21841, "ImageNet-22k"), (1001, "TensorFlow"), (11821, "ImageNet-12k")])
def test_m17_heads_of_other_imagenets_are_named(number, known):
    shapes = {name: tuple(tensor.shape) for name, tensor in state().items()}
    shapes |= {"linear.weight": (number, 64), "linear.bias": (number,)}
    with pytest.raises(ModelMismatchError, match=f"{known}.*--num-classes {number}.*--labels"):
        map_state_dict("resnet20", shapes)


def test_m17_a_head_of_another_imagenet_is_said(convert):
    report = convert(state() | {"linear.weight": torch.randn(1001, 64), "linear.bias": torch.randn(1001)})
    assert report.num_classes == 1001 and any("TensorFlow numbers it" in note for note in report.notes)


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
