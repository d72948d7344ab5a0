"""Who trained the published checkpoints, and what those are worth on real images, by the first digits of their sha256.

A judge that comes out of the same training as the inverted network is its sibling; see `jinv.judge.relations`.
"""

from typing import NamedTuple

DIGITS = 8


class Origin(NamedTuple):
    """`training` names the pipeline; `accuracy` is the published top-1 share on the data set's own validation images."""

    training: str
    accuracy: float | None = None


LITE = "google-efficientnet-lite"
TORCHVISION = "torchvision"
INCEPTION = "google-inception"
SQUEEZENET = "forresti-squeezenet"
AKAMASTER = "akamaster-cifar10"
ROBUSTNESS = "robustness"
"""Madry's lab's library, which trained both its own files and those of Salman et al. (2020)."""

# Google's README of EfficientNet-lite (tensorflow/tpu), column "FP32 accuracy".
_LITE = {"57934424": 0.751, "77cc7160": 0.767, "9656183e": 0.776}

# torchvision's documentation, "ImageNet 1-crop error rates"; it has none of what is called "_v2" here, nor have we.
_TORCHVISION = {
    "f37072fd": 0.6976,  # resnet18
    "b627a593": 0.7330,  # resnet34
    "0676ba61": 0.7615,  # resnet50
    "11ad3fa6": None,  # resnet50_v2
    "63fe2227": 0.7737,  # resnet101
    "cd907fc2": None,  # resnet101_v2
    "394f9c45": 0.7831,  # resnet152
    "f82ba261": None,  # resnet152_v2
    "7cdf4587": 0.7762,  # resnext50_32x4d
    "1a0047aa": None,  # resnext50_32x4d_v2
    "8ba56ff5": 0.7931,  # resnext101_32x8d
    "110c445d": None,  # resnext101_32x8d_v2
    "95faca4d": 0.7851,  # wide_resnet50_2
    "9ba9bcbe": None,  # wide_resnet50_2_v2
    "32ee1156": 0.7884,  # wide_resnet101_2
    "d733dc28": None,  # wide_resnet101_2_v2
    "6002323d": 0.7038,  # vgg11_bn
    "abd245e5": 0.7155,  # vgg13_bn
    "6c64b313": 0.7337,  # vgg16_bn
    "c79401a0": 0.7424,  # vgg19_bn
    "b0353104": 0.7188,  # mobilenet_v2
    "7ebf99e0": None,  # mobilenet_v2_v2
    "a639ec97": 0.7465,  # densenet121
    "b2777c0a": 0.7600,  # densenet169
    "c1103571": 0.7690,  # densenet201
    "8d451a50": 0.7714,  # densenet161
    "b8a52dc0": 0.5818,  # squeezenet1_1
}

# torchvision's documentation; both came out of TensorFlow.
_INCEPTION = {"1378be20": 0.6978, "0cc3c7bd": 0.7729}  # googlenet, inception_v3

# Its paper (Iandola et al. 2016), table 2, of version 1.0; 1.1 is as accurate by its authors' README.
_SQUEEZENET = {"f286bbf4": 0.575}

# Errors in the README of akamaster/pytorch_resnet_cifar10. The third, robust one was trained from the first; what it is
# worth is not published.
_AKAMASTER = {"12fca82f": 0.9173, "4bfd9763": 0.9339, "fcafcf8d": None}

ORIGINS: dict[str, Origin] = {
    digits: Origin(training, accuracy)
    for training, table in (
        (LITE, _LITE),
        (TORCHVISION, _TORCHVISION),
        (INCEPTION, _INCEPTION),
        (SQUEEZENET, _SQUEEZENET),
        (AKAMASTER, _AKAMASTER),
    )
    for digits, accuracy in table.items()
}


def training_of(stated: str | None, sha256: str | None) -> str | None:
    """The pipeline that a checkpoint came out of: what is stated of it, or known by its digest; None is unknown."""
    origin = origin_of(sha256)
    return stated or (origin.training if origin else None)


def origin_of(sha256: str | None) -> Origin | None:
    """The origin of the checkpoint with this digest, None where it is none of the known ones."""
    return ORIGINS.get((sha256 or "")[:DIGITS])
