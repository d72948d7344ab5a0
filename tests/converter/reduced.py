"""Every family at a width that takes milliseconds, as registry entries: `register` them for one test."""

from functools import partial

import pytest

from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.densenet import DenseNet
from jinv.models.efficientnet import EfficientNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.mobilenet_v3 import MobileNetV3
from jinv.models.registry import ARCHITECTURES
from jinv.models.regnet import RegNet
from jinv.models.resnet import ResNet, ResNetD, ShortcutResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from jinv.models.shufflenet import ShuffleNetV2
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG, LinearVGG


def _reduced(name: str, make, min_size: int = 32) -> Architecture:
    return Architecture(
        name, make, 2 * min_size, min_size, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names=None
    )


_REGNET = partial(RegNet, stem_features=8)
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
        _reduced(
            "small_efficientnet", partial(EfficientNet, width_coefficient=0.25, depth_coefficient=0.3, epsilon=1e-3)
        ),
        _reduced("small_mobilenet_v3", partial(MobileNetV3, variant="small", width_coefficient=0.25)),
        _reduced(
            "small_shufflenet",
            partial(ShuffleNetV2, width=8, head_features=24, stage_sizes=(2, 1, 2), stem_features=6),
        ),
        _reduced(
            "small_regnet_x",
            partial(
                _REGNET, stage_sizes=(1, 2, 1, 1), widths=(8, 16, 24, 32), group_widths=(4, 8, 8, 16), excited=False
            ),
        ),
        _reduced(
            "small_regnet_y",
            partial(
                _REGNET, stage_sizes=(1, 1, 2, 1), widths=(8, 16, 16, 24), group_widths=(8, 4, 8, 24), excited=True
            ),
        ),
        _reduced("small_resnet_cifar", partial(ResNetCifar, blocks_per_stage=2, width=4)),
        _reduced(
            "small_resnet_cifar_fc",
            partial(ResNet, stage_sizes=(2, 1, 1), bottleneck=False, width=8, stem="3x3", stem_width=4),
        ),
        _reduced(
            "small_resnet_cifar_pooled",
            partial(ResNet, stage_sizes=(1, 1, 1, 1), bottleneck=True, width=4, stem="3x3 pooled"),
        ),
        _reduced(
            "small_resnet_shortcut",
            partial(ShortcutResNet, stage_sizes=(2, 1, 1, 1), bottleneck=False, width=8, stem="3x3"),
        ),
        _reduced(
            "small_resnet_shortcut_bottleneck",
            partial(ShortcutResNet, stage_sizes=(1, 2, 1), bottleneck=True, width=4, stem="3x3"),
        ),
        _reduced("small_preact", partial(ResNetPreAct, stage_sizes=(2, 1, 1, 1), bottleneck=False, width=8)),
        _reduced(
            "small_preact_bn",
            partial(
                ResNetPreAct, stage_sizes=(1, 1, 1, 1), bottleneck=False, width=4, final_norm=True, raw_shortcut=True
            ),
        ),
        _reduced("small_preact_bottleneck", partial(ResNetPreAct, stage_sizes=(1, 2, 1, 1), bottleneck=True, width=4)),
        _reduced("small_wrn", partial(ResNetWide, blocks_per_stage=2, width=8, stem_width=4)),
        _reduced("small_wrn_1", partial(ResNetWide, blocks_per_stage=1, width=4, stem_width=4)),
        _reduced("small_vgg_512", partial(VGG, stage_sizes=(1, 1, 2, 1, 1), width=4, hidden=16, pooled=1)),
        _reduced("small_vgg_linear", partial(LinearVGG, stage_sizes=(1, 2, 1, 1, 1), width=4)),
        _reduced("small_squeezenet", partial(SqueezeNet, width=8)),
        _reduced("small_squeezenet_caffe", partial(CaffeSqueezeNet, width=8)),
    )
}


# The code of a smaller sibling with other numbers, which detection alone is asked about at full size.
LIKE_SIBLINGS = (
    *("efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
)
FULL = [name for name in ARCHITECTURES if name not in LIKE_SIBLINGS]
"""The networks that are compared and validated at full size."""


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds them to the registry until the test ends; rules and detection then know them like any other."""
    for name, architecture in REDUCED.items():
        monkeypatch.setitem(ARCHITECTURES, name, architecture)
