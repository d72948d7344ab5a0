"""Every architecture that jinv knows, as one literal table."""

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
from jinv.models.classifier import family_name
from jinv.models.densenet import DenseNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.resnet import ResNet, ResNetD
from jinv.models.resnet_cifar import ResNetCifar
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


def _resnet_d(name: str, stage_sizes: tuple[int, ...], bottleneck: bool = True, size: int = 224) -> Architecture:
    return _imagenet(name, partial(ResNetD, stage_sizes=stage_sizes, bottleneck=bottleneck), size)


def _cifar(name: str, blocks_per_stage: int) -> Architecture:
    make = partial(ResNetCifar, blocks_per_stage=blocks_per_stage)
    return Architecture(name, make, 32, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names="cifar10")


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
        _cifar("resnet20", 3),
        _cifar("resnet32", 5),
        _cifar("resnet44", 7),
        _cifar("resnet56", 9),
        _cifar("resnet110", 18),
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
