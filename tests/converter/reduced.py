"""Every family at a width that takes milliseconds, as registry entries: `register` them for one test."""

from functools import partial

import pytest

from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.densenet import DenseNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet import ResNet, ResNetD
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG


def _reduced(name: str, make, min_size: int = 32) -> Architecture:
    return Architecture(
        name, make, 2 * min_size, min_size, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names=None
    )


REDUCED: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        _reduced("small_resnet", partial(ResNet, stage_sizes=(1, 2, 1, 1), bottleneck=False, width=8)),
        _reduced("small_resnet_bottleneck", partial(ResNet, stage_sizes=(2, 1, 1, 1), bottleneck=True, width=8)),
        _reduced("small_resnet_d", partial(ResNetD, stage_sizes=(1, 2, 1, 1), bottleneck=False, width=8)),
        _reduced("small_resnet_d_bottleneck", partial(ResNetD, stage_sizes=(2, 1, 1, 1), bottleneck=True, width=8)),
        _reduced(
            "small_resnext",
            partial(ResNet, stage_sizes=(1, 2, 1, 1), bottleneck=True, groups=4, width_per_group=16, width=16),
        ),
        _reduced(
            "small_wide_resnet",
            partial(ResNet, stage_sizes=(1, 1, 1, 2), bottleneck=True, width_per_group=128, width=8),
        ),
        _reduced("small_vgg", partial(VGG, stage_sizes=(1, 2, 1, 1, 3), width=4, hidden=32)),
        _reduced("small_mobilenet_v1", partial(MobileNetV1, width=4, stage_sizes=(1, 2, 1, 1, 1))),
        _reduced("small_mobilenet_v1_timm", partial(TimmMobileNetV1, width=4, stage_sizes=(1, 1, 1, 2, 1))),
        _reduced("small_mobilenet", partial(MobileNetV2, width_coefficient=0.25)),
        _reduced("small_mobilenet_flat", partial(FlatMobileNetV2, width_coefficient=0.25)),
        _reduced("small_densenet", partial(DenseNet, block_sizes=(2, 3, 1, 2), growth_rate=4, width=8)),
        _reduced("small_googlenet", partial(GoogLeNet, width=8, stage_sizes=(1, 2, 1))),
        _reduced("small_inception", partial(InceptionV3, width=4, stage_sizes=(1, 2, 1)), min_size=75),
        _reduced(
            "small_efficientnet_lite",
            partial(EfficientNetLite, width_coefficient=0.25, depth_coefficient=1.0, nominal_size=60),
        ),
        _reduced("small_resnet_cifar", partial(ResNetCifar, blocks_per_stage=2, width=4)),
        _reduced("small_squeezenet", partial(SqueezeNet, width=8)),
        _reduced("small_squeezenet_caffe", partial(CaffeSqueezeNet, width=8)),
    )
}


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds them to the registry until the test ends; rules and detection then know them like any other."""
    for name, architecture in REDUCED.items():
        monkeypatch.setitem(ARCHITECTURES, name, architecture)
