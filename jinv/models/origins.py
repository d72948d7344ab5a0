"""Who trained the published checkpoints, under which licence, and what they are worth on real images, by their sha256.

A judge that comes out of the same training as the inverted network is its sibling; see `jinv.judge.relations`. A licence
is the one that the publisher states for the weights, or for the repository that they come with; the terms of the images
that a network was trained on are a separate matter.
"""

from typing import NamedTuple

DIGITS = 8


class Preparation(NamedTuple):
    """How real images were made the network's input: the shorter side `resize` pixels long, of that the middle `crop`."""

    resize: int
    crop: int
    interpolation: str = "bilinear"

    def __str__(self) -> str:
        return f"{self.crop}/{self.resize} {self.interpolation}"


class Origin(NamedTuple):
    """`training` names the pipeline; `accuracy` is the published top-1 share on the data set's own validation images.

    `license` is an SPDX identifier. None is not known.
    """

    training: str
    accuracy: float | None = None
    license: str | None = None
    preparation: Preparation | None = None


LITE = "google-efficientnet-lite"
EFFICIENTNET = "google-efficientnet"
TORCHVISION = "torchvision"
TIMM = "timm"
TF_SLIM = "tf-slim"
DENSENET = "liuzhuang13-densenet"
SHUFFLENET = "ericsun99-shufflenet"
SQUEEZENET = "forresti-squeezenet"
AKAMASTER = "akamaster-cifar10"
ROBUSTNESS = "robustness"
"""Madry's lab's library, which trained both its own files and those of Salman et al. (2020)."""

LICENSES = {
    LITE: "Apache-2.0",
    EFFICIENTNET: "Apache-2.0",
    TORCHVISION: "BSD-3-Clause",
    TIMM: "Apache-2.0",
    TF_SLIM: "Apache-2.0",
    DENSENET: "BSD-3-Clause",
    SQUEEZENET: "BSD-2-Clause",
    AKAMASTER: "BSD-2-Clause",
    ROBUSTNESS: "MIT",
}

USUAL = Preparation(256, 224)
NEWER = Preparation(232, 224)
"""Of torchvision's second weights."""

# Google's README of EfficientNet-lite (tensorflow/tpu), column "FP32 accuracy"; its crop leaves out 32 pixels.
_LITE = {
    "57934424": (0.751, Preparation(256, 224, "bicubic")),
    "77cc7160": (0.767, Preparation(272, 240, "bicubic")),
    "9656183e": (0.776, Preparation(292, 260, "bicubic")),
}

# torchvision's documentation of each network, "acc@1 (on ImageNet-1K)" and its inference transforms.
_TORCHVISION = {
    "f37072fd": (0.69758, USUAL),  # resnet18
    "b627a593": (0.73314, USUAL),  # resnet34
    "0676ba61": (0.76130, USUAL),  # resnet50
    "11ad3fa6": (0.80858, NEWER),  # resnet50_v2
    "63fe2227": (0.77374, USUAL),  # resnet101
    "cd907fc2": (0.81886, NEWER),  # resnet101_v2
    "394f9c45": (0.78312, USUAL),  # resnet152
    "f82ba261": (0.82284, NEWER),  # resnet152_v2
    "7cdf4587": (0.77618, USUAL),  # resnext50_32x4d
    "1a0047aa": (0.81198, NEWER),  # resnext50_32x4d_v2
    "8ba56ff5": (0.79312, USUAL),  # resnext101_32x8d
    "110c445d": (0.82834, NEWER),  # resnext101_32x8d_v2
    "95faca4d": (0.78468, USUAL),  # wide_resnet50_2
    "9ba9bcbe": (0.81602, NEWER),  # wide_resnet50_2_v2
    "32ee1156": (0.78848, USUAL),  # wide_resnet101_2
    "d733dc28": (0.82510, NEWER),  # wide_resnet101_2_v2
    "6002323d": (0.70370, USUAL),  # vgg11_bn
    "abd245e5": (0.71586, USUAL),  # vgg13_bn
    "6c64b313": (0.73360, USUAL),  # vgg16_bn
    "c79401a0": (0.74218, USUAL),  # vgg19_bn
    "b0353104": (0.71878, USUAL),  # mobilenet_v2
    "7ebf99e0": (0.72154, NEWER),  # mobilenet_v2_v2
    "b8a52dc0": (0.58178, USUAL),  # squeezenet1_1
    "c27df63c": (0.79838, Preparation(255, 240)),  # efficientnet_b1_v2
    "8738ca79": (0.74042, USUAL),  # mobilenet_v3_large
    "5c1a4163": (0.75274, NEWER),  # mobilenet_v3_large_v2
    "047dcff4": (0.67668, USUAL),  # mobilenet_v3_small
    "3c479a10": (0.72996, NEWER),  # shufflenet_v2_x1_5
    "8be3c8ee": (0.76230, NEWER),  # shufflenet_v2_x2_0
    "c65dace8": (0.74046, USUAL),  # regnet_y_400mf
    "e6988f5f": (0.75804, NEWER),  # regnet_y_400mf_v2
    "1b27b58c": (0.76420, USUAL),  # regnet_y_800mf
    "58fc7688": (0.78828, NEWER),  # regnet_y_800mf_v2
    "b11a554e": (0.77950, USUAL),  # regnet_y_1_6gf
    "0d7bc02a": (0.80876, NEWER),  # regnet_y_1_6gf_v2
    "b5a9779c": (0.78948, USUAL),  # regnet_y_3_2gf
    "9180c971": (0.81982, NEWER),  # regnet_y_3_2gf_v2
}

# What torchvision publishes and did not train, by the same pages: ported from timm, TensorFlow, Lua and other people.
_TIMM = {
    "7f5810bc": (0.77692, Preparation(256, 224, "bicubic")),  # efficientnet_b0
    "bac287d4": (0.78642, Preparation(256, 240, "bicubic")),  # efficientnet_b1
    "c35c1473": (0.80608, Preparation(288, 288, "bicubic")),  # efficientnet_b2
    "b3899882": (0.82008, Preparation(320, 300, "bicubic")),  # efficientnet_b3
    "23ab8bcd": (0.83384, Preparation(384, 380, "bicubic")),  # efficientnet_b4
}
_EFFICIENTNET = {
    "1a07897c": (0.83444, Preparation(456, 456, "bicubic")),  # efficientnet_b5
    "24a108a5": (0.84008, Preparation(528, 528, "bicubic")),  # efficientnet_b6
    "c5b4e57e": (0.84122, Preparation(600, 600, "bicubic")),  # efficientnet_b7
}
_TF_SLIM = {
    "1378be20": (0.69778, USUAL),  # googlenet
    "0cc3c7bd": (0.77294, Preparation(342, 299)),  # inception_v3
}
_DENSENET = {
    "a639ec97": (0.74434, USUAL),  # densenet121
    "b2777c0a": (0.75600, USUAL),  # densenet169
    "c1103571": (0.76896, USUAL),  # densenet201
    "8d451a50": (0.77138, USUAL),  # densenet161
}
_SHUFFLENET = {
    "f707e712": (0.60552, USUAL),  # shufflenet_v2_x0_5
    "5666bf0f": (0.69362, USUAL),  # shufflenet_v2_x1_0
}

# Its paper (Iandola et al. 2016), table 2, of version 1.0; 1.1 is as accurate by its authors' README.
_SQUEEZENET = {"f286bbf4": (0.575, None)}

# Errors in the README of akamaster/pytorch_resnet_cifar10. The third, robust one was trained from the first; what it is
# worth is not published.
_AKAMASTER = {"12fca82f": (0.9173, None), "4bfd9763": (0.9339, None), "fcafcf8d": (None, None)}

ORIGINS: dict[str, Origin] = {
    digits: Origin(training, accuracy, LICENSES.get(training), preparation)
    for training, table in (
        (LITE, _LITE),
        (TORCHVISION, _TORCHVISION),
        (TIMM, _TIMM),
        (EFFICIENTNET, _EFFICIENTNET),
        (TF_SLIM, _TF_SLIM),
        (DENSENET, _DENSENET),
        (SHUFFLENET, _SHUFFLENET),
        (SQUEEZENET, _SQUEEZENET),
        (AKAMASTER, _AKAMASTER),
    )
    for digits, (accuracy, preparation) in table.items()
}

PAPERS: dict[str, str] = {
    "DenseNet": "arXiv:1608.06993",
    "EfficientNet": "arXiv:1905.11946",
    "EfficientNetLite": "arXiv:1905.11946",
    "GoogLeNet": "arXiv:1409.4842",
    "InceptionV3": "arXiv:1512.00567",
    "MobileNetV1": "arXiv:1704.04861",
    "MobileNetV2": "arXiv:1801.04381",
    "MobileNetV3": "arXiv:1905.02244",
    "ResNetPreAct": "arXiv:1603.05027",
    "RegNet": "arXiv:2003.13678",
    "ResNet": "arXiv:1512.03385",
    "ResNetCifar": "arXiv:1512.03385",
    "ShuffleNetV2": "arXiv:1807.11164",
    "SqueezeNet": "arXiv:1602.07360",
    "VGG": "arXiv:1409.1556",
    "ResNetWide": "arXiv:1605.07146",
}
"""Where a family was first described, by its name."""


def training_of(stated: str | None, sha256: str | None) -> str | None:
    """The pipeline that a checkpoint came out of: what is stated of it, or known by its digest; None is unknown."""
    origin = origin_of(sha256)
    return stated or (origin.training if origin else None)


def origin_of(sha256: str | None) -> Origin | None:
    """The origin of the checkpoint with this digest, None where it is none of the known ones."""
    return ORIGINS.get((sha256 or "")[:DIGITS])
