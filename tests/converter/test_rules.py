"""Every tensor of a file has one place, every place one tensor, and everything that is wrong is said at once."""

import re
from functools import cache

import pytest

from jinv.errors import ModelMismatchError, UsageError
from jinv.models.architecture import Architecture
from jinv.models.registry import ARCHITECTURES
from jinv_convert.families.rules import (
    TRANSPOSES,
    Target,
    detect_architecture,
    expected_targets,
    family_of,
    map_state_dict,
)
from jinv_convert.families.table import FAMILIES
from tests.converter.reduced import REDUCED, register

QUICK = ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg16_bn", "resnet20", "mobilenet_v2"]
QUICK += ["resnet18_cifar", "resnet50_fc", "resnet20_fc", "resnet8x4", "preactresnet18_bn", "wrn_16_1", "vgg16_bn_512"]


@pytest.fixture(autouse=True)
def _reduced_architectures(monkeypatch):
    register(monkeypatch)


@cache
def published(name: str, num_classes: int | None) -> dict[str, tuple[int, ...]]:
    architecture = ARCHITECTURES[name]
    expected = expected_targets(architecture, num_classes or architecture.num_classes)
    return {torch_name: shape for torch_name, (_, shape) in expected.items()}


def shapes_of(name: str, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    return dict(published(name, num_classes))


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(ModelMismatchError) as error:
        function(*args, **kwargs)
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", REDUCED)
def test_every_tensor_has_one_place_and_every_place_one_tensor(name):
    shapes = shapes_of(name)
    targets = map_state_dict(name, shapes)
    assert targets.keys() == shapes.keys()
    assert len({target.path for target in targets.values()}) == len(targets)
    for torch_name, target in targets.items():
        assert target.transpose == TRANSPOSES[len(shapes[torch_name])]
        assert target.path.startswith("batch_stats/" if ".running_" in torch_name else "params/")


@pytest.mark.parametrize(
    ("name", "torch_name", "shape", "path"),
    [
        ("resnet18", "layer2.0.downsample.1.running_var", (128,), "batch_stats/layer2_0/downsample_1/var"),
        ("resnet50", "layer1.0.conv3.weight", (256, 64, 1, 1), "params/layer1_0/conv3/kernel"),
        ("resnext50_32x4d", "layer4.2.conv2.weight", (1024, 32, 3, 3), "params/layer4_2/conv2/kernel"),
        ("wide_resnet50_2", "layer1.0.conv2.weight", (128, 128, 3, 3), "params/layer1_0/conv2/kernel"),
        ("resnet50d", "conv1.3.weight", (32, 32, 3, 3), "params/conv1_3/kernel"),
        ("resnet50d", "conv1.4.running_var", (32,), "batch_stats/conv1_4/var"),
        ("resnet50d", "layer1.0.downsample.1.weight", (256, 64, 1, 1), "params/layer1_0/downsample_1/kernel"),
        ("resnet34d", "layer2.0.downsample.2.bias", (128,), "params/layer2_0/downsample_2/bias"),
        ("vgg16_bn", "features.40.bias", (512,), "params/features_40/bias"),
        ("vgg16_bn", "classifier.0.weight", (4096, 25088), "params/classifier_0/kernel"),
        ("mobilenet_v1", "model.0.1.bias", (32,), "params/bn1/bias"),
        ("mobilenet_v1", "model.13.0.weight", (1024, 1, 3, 3), "params/model_13/conv_dw/kernel"),
        ("mobilenet_v1", "model.12.4.running_var", (1024,), "batch_stats/model_12/bn2/var"),
        ("mobilenetv1_100", "blocks.3.5.conv_pw.weight", (512, 512, 1, 1), "params/blocks_3_5/conv_pw/kernel"),
        ("mobilenetv1_125", "classifier.weight", (1000, 1280), "params/classifier/kernel"),
        ("mobilenet_v2", "features.2.conv.1.0.weight", (96, 1, 3, 3), "params/features_2/conv_1_0/kernel"),
        (
            "densenet121",
            "features.denseblock4.denselayer16.norm2.running_mean",
            (128,),
            "batch_stats/features/denseblock4/denselayer16/norm2/mean",
        ),
        ("googlenet", "conv1.bn.weight", (64,), "params/conv1/bn/scale"),
        (
            "googlenet",
            "inception4e.branch3.1.conv.weight",
            (128, 32, 3, 3),
            "params/inception4e/branch3_1/conv/kernel",
        ),
        ("googlenet", "inception5b.branch4.1.bn.bias", (128,), "params/inception5b/branch4_1/bn/bias"),
        ("inception_v3", "Conv2d_3b_1x1.conv.weight", (80, 64, 1, 1), "params/Conv2d_3b_1x1/conv/kernel"),
        (
            "inception_v3",
            "Mixed_6c.branch7x7dbl_3.conv.weight",
            (160, 160, 1, 7),
            "params/Mixed_6c/branch7x7dbl_3/conv/kernel",
        ),
        (
            "inception_v3",
            "Mixed_7b.branch3x3dbl_3b.bn.running_var",
            (384,),
            "batch_stats/Mixed_7b/branch3x3dbl_3b/bn/var",
        ),
        ("densenet161", "features.conv0.weight", (96, 3, 7, 7), "params/features/conv0/kernel"),
        ("mobilenet_v2_flat", "features.1.conv.0.weight", (32, 1, 3, 3), "params/features_1/conv_0_0/kernel"),
        ("mobilenet_v2_flat", "features.1.conv.1.weight", (32,), "params/features_1/conv_0_1/scale"),
        ("mobilenet_v2_flat", "features.1.conv.4.running_mean", (16,), "batch_stats/features_1/conv_2/mean"),
        ("mobilenet_v2_flat", "features.17.conv.4.bias", (960,), "params/features_17/conv_1_1/bias"),
        ("mobilenet_v2_flat", "features.17.conv.7.weight", (320,), "params/features_17/conv_3/scale"),
        ("efficientnet_lite0", "_blocks.15._bn2.weight", (320,), "params/blocks_15/bn2/scale"),
        ("efficientnet_b0", "features.1.0.block.1.fc1.bias", (8,), "params/features_1_0/block_1/fc1/bias"),
        ("efficientnet_b0", "features.3.1.block.1.0.weight", (240, 1, 5, 5), "params/features_3_1/block_1_0/kernel"),
        ("efficientnet_b0", "features.8.1.running_var", (1280,), "batch_stats/features_8_1/var"),
        ("mobilenet_v3_small", "features.4.block.2.fc2.weight", (96, 24, 1, 1), "params/features_4/block_2/fc2/kernel"),
        ("mobilenet_v3_large", "features.13.block.3.0.weight", (160, 672, 1, 1), "params/features_13/block_3_0/kernel"),
        ("mobilenet_v3_large", "classifier.3.weight", (1000, 1280), "params/classifier_3/kernel"),
        ("shufflenet_v2_x0_5", "stage2.0.branch1.0.weight", (24, 1, 3, 3), "params/stage2_0/branch1_0/kernel"),
        ("shufflenet_v2_x1_0", "stage4.3.branch2.6.running_mean", (232,), "batch_stats/stage4_3/branch2_6/mean"),
        (
            "regnet_y_400mf",
            "trunk_output.block3.block3-5.f.se.fc1.weight",
            (52, 208, 1, 1),
            "params/block3_5/se/fc1/kernel",
        ),
        ("regnet_y_400mf", "trunk_output.block4.block4-0.proj.1.bias", (440,), "params/block4_0/proj_1/bias"),
        ("regnet_y_400mf", "trunk_output.block2.block2-2.f.b.0.weight", (104, 8, 3, 3), "params/block2_2/b_0/kernel"),
        ("resnet20", "linear.bias", (10,), "params/linear/bias"),
        ("resnet18_cifar", "layer2.0.shortcut.1.running_var", (128,), "batch_stats/layer2_0/downsample_1/var"),
        ("resnet50_cifar", "layer1.0.shortcut.0.weight", (256, 64, 1, 1), "params/layer1_0/downsample_0/kernel"),
        ("resnet50_cifar", "linear.weight", (10, 2048), "params/fc/kernel"),
        ("resnet18_fc", "conv1.weight", (64, 3, 3, 3), "params/conv1/kernel"),
        ("resnet20_b", "layer3.0.shortcut.0.weight", (64, 32, 1, 1), "params/layer3_0/downsample_0/kernel"),
        ("resnet20_fc", "layer3.0.downsample.0.weight", (64, 32, 1, 1), "params/layer3_0/downsample_0/kernel"),
        ("resnet8x4", "layer1.0.downsample.0.weight", (64, 32, 1, 1), "params/layer1_0/downsample_0/kernel"),
        ("preactresnet18", "layer2.0.shortcut.0.weight", (128, 64, 1, 1), "params/layer2_0/shortcut_0/kernel"),
        ("preactresnet18_bn", "bn.running_mean", (512,), "batch_stats/bn/mean"),
        ("preactresnet50", "layer1.0.bn1.running_mean", (64,), "batch_stats/layer1_0/bn1/mean"),
        ("wrn_16_1", "block3.layer.1.conv2.weight", (64, 64, 3, 3), "params/block3_layer_1/conv2/kernel"),
        (
            "wrn_28_10",
            "block1.layer.0.convShortcut.weight",
            (160, 16, 1, 1),
            "params/block1_layer_0/convShortcut/kernel",
        ),
        ("vgg16_bn_512", "classifier.0.weight", (512, 512), "params/classifier_0/kernel"),
        ("vgg16_bn_cifar", "classifier.weight", (10, 512), "params/classifier/kernel"),
        ("squeezenet1_1", "features.12.expand3x3.weight", (256, 64, 3, 3), "params/features_12/expand3x3/kernel"),
        ("squeezenet1_1", "classifier.1.bias", (1000,), "params/classifier_1/bias"),
        ("squeezenet1_1_caffe", "fire9.expand3x3.weight", (256, 64, 3, 3), "params/features_12/expand3x3/kernel"),
        ("squeezenet1_1_caffe", "fire4.squeeze1x1.bias", (32,), "params/features_6/squeeze/bias"),
        ("squeezenet1_1_caffe", "conv10.weight", (1000, 512, 1, 1), "params/classifier_1/kernel"),
    ],
)
def test_published_names_shapes_and_places(name, torch_name, shape, path):
    assert shapes_of(name)[torch_name] == shape
    assert map_state_dict(name, shapes_of(name))[torch_name] == Target(path, TRANSPOSES[len(shape)])


def test_problems_are_listed_all_at_once_the_first_ten_by_name():
    shapes = shapes_of("small_resnet")
    first = next(iter(shapes))
    shapes[first] = (1, 2, 3)
    shapes |= {f"extra{index}": (1,) for index in range(12)}
    del shapes["fc.bias"]
    message = refusal(map_state_dict, "small_resnet", shapes)
    assert "14 problems" in message and "and 4 more" in message
    assert f"{first!r} has shape (1, 2, 3), expected" in message
    assert "missing 'fc.bias'" in refusal(map_state_dict, "small_resnet", shapes, ignore_extra=True)


def test_extra_tensors_are_refused_unless_ignored():
    shapes = shapes_of("small_resnet") | {"head.weight": (3,)}
    assert "1 problem: extra 'head.weight'" in refusal(map_state_dict, "small_resnet", shapes)
    assert "head.weight" not in map_state_dict("small_resnet", shapes, ignore_extra=True)


def test_num_batches_tracked_is_optional_but_only_beside_a_batch_norm():
    shapes = shapes_of("small_resnet")
    targets = map_state_dict("small_resnet", shapes)
    assert map_state_dict("small_resnet", shapes | {"bn1.num_batches_tracked": ()}) == targets
    refusal(map_state_dict, "small_resnet", shapes | {"conv1.num_batches_tracked": ()})


def test_another_number_of_classes_is_named_and_taken():
    shapes = shapes_of("small_resnet", num_classes=3)
    assert "--num-classes 3" in refusal(map_state_dict, "small_resnet", shapes)
    assert map_state_dict("small_resnet", shapes, num_classes=3).keys() == shapes.keys()
    del shapes["bn1.bias"]
    assert "--num-classes" not in refusal(map_state_dict, "small_resnet", shapes)


def test_number_of_classes_is_at_least_one():
    with pytest.raises(UsageError, match="num_classes -1"):
        map_state_dict("small_resnet", {}, num_classes=-1)
    with pytest.raises(UsageError, match="num_classes 0"):  # its head is a convolution among others
        map_state_dict("small_squeezenet", {}, num_classes=0)


def test_a_very_long_name_does_not_flood_the_message():
    message = refusal(map_state_dict, "small_resnet", shapes_of("small_resnet") | {"x" * 100_000: (1,)})
    assert len(message) < 500


def older_densenet(name: str) -> str:
    for module in ("norm", "conv"):
        for index in "12":
            name = name.replace(f".{module}{index}.", f".{module}.{index}.")
    return name


def test_densenet_files_have_an_older_spelling():
    shapes = shapes_of("small_densenet")
    older = {older_densenet(name): shape for name, shape in shapes.items()}
    assert older.keys() != shapes.keys()
    assert detect_architecture(older) == "small_densenet"
    targets = map_state_dict("small_densenet", older)
    assert {target.path for target in targets.values()} == {
        target.path for target in map_state_dict("small_densenet", shapes).values()
    }
    assert "are the same tensor" in refusal(map_state_dict, "small_densenet", shapes | older)


@pytest.mark.parametrize("name", [*REDUCED, *QUICK])
def test_architecture_is_detected_from_names_and_shapes(name):
    shapes, head = shapes_of(name), f"{family_of(ARCHITECTURES[name]).head}."
    assert detect_architecture(shapes) == name
    seven = {key: (7, *shape[1:]) if key.startswith(head) else shape for key, shape in shapes.items()}
    assert seven != shapes and detect_architecture(seven) == name


@pytest.mark.full
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_registered_architecture_is_detected_and_mapped(name):
    shapes = shapes_of(name)
    like = ARCHITECTURES[name].alike
    assert detect_architecture(shapes) == (like.other if like else name)
    assert map_state_dict(name, shapes).keys() == shapes.keys()


def test_unregistered_member_of_a_family_names_what_differs_and_the_nearest():
    shapes = shapes_of("small_resnet")
    shapes |= {name.replace("layer1.0", "layer1.1"): s for name, s in shapes.items() if name.startswith("layer1.0")}
    message = refusal(detect_architecture, shapes)
    assert "a torchvision ResNet with stage_sizes (2, 2, 1, 1); nearest: small_resnet" in message


@pytest.mark.parametrize("name", REDUCED)
def test_names_fit_one_family_alone(name):
    matching = [module for module, family in FAMILIES.items() if family.matches(shapes_of(name))]
    assert matching == [ARCHITECTURES[name].family]


def test_what_no_forward_pass_reads_has_no_place():
    shapes = shapes_of("small_wrn")
    twice = {f"sub_{name}": shape for name, shape in shapes.items() if name.startswith("block1.")}
    assert detect_architecture(shapes | twice) == "small_wrn"
    assert map_state_dict("small_wrn", shapes | twice) == map_state_dict("small_wrn", shapes)
    assert "extra 'sub_block2.x'" in refusal(map_state_dict, "small_wrn", shapes | {"sub_block2.x": (1,)})
    assert "extra 'sub_block1." in refusal(map_state_dict, "small_preact", shapes_of("small_preact") | twice)


TIMM = {"conv_stem.weight": (), "blocks.0.0.conv_dw.weight": ()}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "no tensors"),
        ({"cls_token": (1, 1, 768), "pos_embed": (1, 197, 768)}, "vision transformer"),
        ({"a.weight": (3,), "b.weight": (2,)}, "no BatchNorm statistics"),
        ({"conv1.weight": (), "bn1.running_mean": (), "layer1.0.conv1.weight": (), "fc.weight": ()}, "but lacks"),
        ({"_conv_stem.weight": (), "_blocks.0._se_reduce.weight": ()}, "lukemelas' .*nearest: efficientnet_b0"),
        ({**TIMM, "blocks.0.0.se.conv_reduce.weight": ()}, "a timm EfficientNet, .*nearest: efficientnet_b0"),
        ({**TIMM, "blocks.1.0.conv_pwl.weight": ()}, "a timm EfficientNet-Lite .*nearest: efficientnet_lite0"),
        ({**TIMM, "conv_head.bias": ()}, "a timm MobileNetV3, .*nearest: mobilenet_v3_large"),
        ({"stem.conv.weight": (), "s1.b1.conv1.conv.weight": ()}, "a timm RegNet, .*nearest: regnet_y_400mf"),
    ],
)
def test_unknown_networks_say_what_was_found(shapes, said):
    assert re.search(said, refusal(detect_architecture, shapes))


def test_two_fitting_architectures_are_ambiguous(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "twin", REDUCED["small_resnet"])
    assert "--architecture" in refusal(detect_architecture, shapes_of("small_resnet"))


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_detection_survives_markers_of_any_shape(rank):
    for architecture in REDUCED.values():
        family = family_of(architecture)
        refusal(detect_architecture, {name: (0,) * rank for name in family.markers})


def test_every_network_has_the_rules_of_its_family():
    assert all(isinstance(architecture, Architecture) for architecture in ARCHITECTURES.values())
    assert {architecture.family for architecture in ARCHITECTURES.values()} == {*FAMILIES}
