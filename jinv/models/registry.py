"""Every architecture that jinv knows, as one literal table; those for CIFAR are rows of `cifar`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import flax.linen as nn

from jinv.errors import UsageError, nearest
from jinv.models.architecture import (
    CAFFE_MEAN,
    CAFFE_STD,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LITE_MEAN,
    LITE_STD,
    RGB,
    Architecture,
)
from jinv.models.cifar import CIFAR
from jinv.models.classifier import family_name
from jinv.models.densenet import DenseNet
from jinv.models.efficientnet import EfficientNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.mobilenet_v3 import MobileNetV3
from jinv.models.regnet import RegNet
from jinv.models.resnet import ResNet, ResNetD
from jinv.models.shufflenet import ShuffleNetV2
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG


def _imagenet(
    name: str, make: Callable[[int], nn.Module], size: int = 224, mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD
) -> Architecture:
    return Architecture(name, make, size, 32, mean, std, num_classes=1000, class_names="imagenet")


def _lite(name: str, width: float, depth: float, size: int) -> Architecture:
    make = partial(EfficientNetLite, width_coefficient=width, depth_coefficient=depth, nominal_size=size)
    return _imagenet(name, make, size, LITE_MEAN, LITE_STD)


def _resnet(
    name: str, stage_sizes: tuple[int, ...], bottleneck: bool = True, groups: int = 1, width_per_group: int = 64
) -> Architecture:
    make = partial(
        ResNet, stage_sizes=stage_sizes, bottleneck=bottleneck, groups=groups, width_per_group=width_per_group
    )
    return _imagenet(name, make)


def _efficientnet(name: str, width: float, depth: float, size: int, epsilon: float = 1e-5) -> Architecture:
    make = partial(EfficientNet, width_coefficient=width, depth_coefficient=depth, epsilon=epsilon)
    return _imagenet(name, make, size)


def _regnet(
    name: str, stage_sizes: tuple[int, ...], widths: tuple[int, ...], group_widths: tuple[int, ...] | int
) -> Architecture:
    groups = (group_widths,) * len(widths) if isinstance(group_widths, int) else group_widths
    make = partial(
        RegNet, stage_sizes=stage_sizes, widths=widths, group_widths=groups, excited=name.startswith("regnet_y")
    )
    return _imagenet(name, make)


def _resnet_d(name: str, stage_sizes: tuple[int, ...], bottleneck: bool = True, size: int = 224) -> Architecture:
    return _imagenet(name, partial(ResNetD, stage_sizes=stage_sizes, bottleneck=bottleneck), size)


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        _lite("efficientnet_lite0", 1.0, 1.0, 224),
        _lite("efficientnet_lite1", 1.0, 1.1, 240),
        _lite("efficientnet_lite2", 1.1, 1.1, 260),
        _resnet("resnet18", (2, 2, 2, 2), bottleneck=False),
        _resnet("resnet34", (3, 4, 6, 3), bottleneck=False),
        _resnet("resnet50", (3, 4, 6, 3)),
        _resnet("resnet101", (3, 4, 23, 3)),
        _resnet("resnet152", (3, 8, 36, 3)),
        _resnet("resnext50_32x4d", (3, 4, 6, 3), groups=32, width_per_group=4),
        _resnet("resnext101_32x8d", (3, 4, 23, 3), groups=32, width_per_group=8),
        _resnet("wide_resnet50_2", (3, 4, 6, 3), width_per_group=128),
        _resnet("wide_resnet50_4", (3, 4, 6, 3), width_per_group=256),
        _resnet("wide_resnet101_2", (3, 4, 23, 3), width_per_group=128),
        _resnet_d("resnet18d", (2, 2, 2, 2), bottleneck=False),
        _resnet_d("resnet34d", (3, 4, 6, 3), bottleneck=False),
        _resnet_d("resnet26d", (2, 2, 2, 2)),
        _resnet_d("resnet50d", (3, 4, 6, 3)),
        _resnet_d("resnet101d", (3, 4, 23, 3), size=256),
        _resnet_d("resnet152d", (3, 8, 36, 3), size=256),
        _resnet_d("resnet200d", (3, 24, 36, 3), size=256),
        _imagenet("vgg11_bn", partial(VGG, stage_sizes=(1, 1, 2, 2, 2))),
        _imagenet("vgg13_bn", partial(VGG, stage_sizes=(2, 2, 2, 2, 2))),
        _imagenet("vgg16_bn", partial(VGG, stage_sizes=(2, 2, 3, 3, 3))),
        _imagenet("vgg19_bn", partial(VGG, stage_sizes=(2, 2, 4, 4, 4))),
        _imagenet("mobilenet_v1", MobileNetV1),
        _imagenet("mobilenetv1_100", TimmMobileNetV1, mean=HALF, std=HALF),
        _imagenet("mobilenetv1_125", partial(TimmMobileNetV1, width=40), mean=HALF, std=HALF),
        _imagenet("mobilenet_v2", MobileNetV2),
        _imagenet("mobilenet_v2_flat", FlatMobileNetV2),
        _imagenet("densenet121", partial(DenseNet, block_sizes=(6, 12, 24, 16))),
        _imagenet("densenet169", partial(DenseNet, block_sizes=(6, 12, 32, 32))),
        _imagenet("densenet201", partial(DenseNet, block_sizes=(6, 12, 48, 32))),
        _imagenet("densenet161", partial(DenseNet, block_sizes=(6, 12, 36, 24), growth_rate=48, width=96)),
        _imagenet("googlenet", GoogLeNet, mean=HALF, std=HALF),
        replace(_imagenet("inception_v3", InceptionV3, 299, HALF, HALF), min_size=75),
        _imagenet("squeezenet1_1", SqueezeNet),
        _imagenet("squeezenet1_1_caffe", CaffeSqueezeNet, mean=CAFFE_MEAN, std=CAFFE_STD),
        _efficientnet("efficientnet_b0", 1.0, 1.0, 224),
        _efficientnet("efficientnet_b1", 1.0, 1.1, 240),
        _efficientnet("efficientnet_b2", 1.1, 1.2, 288),
        _efficientnet("efficientnet_b3", 1.2, 1.4, 300),
        _efficientnet("efficientnet_b4", 1.4, 1.8, 380),
        _efficientnet("efficientnet_b5", 1.6, 2.2, 456, 1e-3),
        _efficientnet("efficientnet_b6", 1.8, 2.6, 528, 1e-3),
        _efficientnet("efficientnet_b7", 2.0, 3.1, 600, 1e-3),
        _imagenet("mobilenet_v3_small", partial(MobileNetV3, variant="small")),
        _imagenet("mobilenet_v3_large", partial(MobileNetV3, variant="large")),
        _imagenet("shufflenet_v2_x0_5", partial(ShuffleNetV2, width=48)),
        _imagenet("shufflenet_v2_x1_0", partial(ShuffleNetV2, width=116)),
        _imagenet("shufflenet_v2_x1_5", partial(ShuffleNetV2, width=176)),
        _imagenet("shufflenet_v2_x2_0", partial(ShuffleNetV2, width=244, head_features=2048)),
        _regnet("regnet_x_400mf", (1, 2, 7, 12), (32, 64, 160, 400), 16),
        _regnet("regnet_x_800mf", (1, 3, 7, 5), (64, 128, 288, 672), 16),
        _regnet("regnet_x_1_6gf", (2, 4, 10, 2), (72, 168, 408, 912), 24),
        _regnet("regnet_x_3_2gf", (2, 6, 15, 2), (96, 192, 432, 1008), 48),
        _regnet("regnet_x_8gf", (2, 5, 15, 1), (80, 240, 720, 1920), (80, 120, 120, 120)),
        _regnet("regnet_x_16gf", (2, 6, 13, 1), (256, 512, 896, 2048), 128),
        _regnet("regnet_x_32gf", (2, 7, 13, 1), (336, 672, 1344, 2520), 168),
        _regnet("regnet_y_400mf", (1, 3, 6, 6), (48, 104, 208, 440), 8),
        _regnet("regnet_y_800mf", (1, 3, 8, 2), (64, 144, 320, 784), 16),
        _regnet("regnet_y_1_6gf", (2, 6, 17, 2), (48, 120, 336, 888), 24),
        _regnet("regnet_y_3_2gf", (2, 5, 13, 1), (72, 216, 576, 1512), 24),
        _regnet("regnet_y_8gf", (2, 4, 10, 1), (224, 448, 896, 2016), 56),
        _regnet("regnet_y_16gf", (2, 4, 11, 1), (224, 448, 1232, 3024), 112),
        _regnet("regnet_y_32gf", (2, 5, 12, 1), (232, 696, 1392, 3712), 232),
        *CIFAR,
    )
}


def family_of(architecture: str | None) -> str | None:
    """The family of an architecture by name, as `Classifier.family`; None for one that is not in the table."""
    known = ARCHITECTURES.get(architecture or "")
    return family_name(known.family) if known else None


def get_architecture(name: str) -> Architecture:
    """The architecture of that name; `UsageError` with the nearest one otherwise."""
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"unknown architecture {name!r}{nearest(name, ARCHITECTURES)}; known: {known}")
    return ARCHITECTURES[name]
