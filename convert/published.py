"""Public checkpoint files by name: where they are and what is known about their digests."""

import os
from dataclasses import dataclass
from pathlib import PurePath

from jinv.errors import UsageError, nearest
from jinv.models import origins
from jinv.models.architecture import EMBEDDED
from jinv.models.registry import ARCHITECTURES

TORCHVISION = "https://download.pytorch.org/models/"
ROBUST_TRANSFER = "https://huggingface.co/madrylab/robust-imagenet-models/resolve/main/"
ROBUSTNESS = "https://www.dropbox.com/s/"

# torchvision's suffix is the first 8 hexadecimal digits of the file's sha256. Without "_v2": the first published
# weights, which the model-inversion papers use.
TORCHVISION_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet50_v2": "resnet50-11ad3fa6.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet101_v2": "resnet101-cd907fc2.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "resnet152_v2": "resnet152-f82ba261.pth",
    "resnext50_32x4d": "resnext50_32x4d-7cdf4587.pth",
    "resnext50_32x4d_v2": "resnext50_32x4d-1a0047aa.pth",
    "resnext101_32x8d": "resnext101_32x8d-8ba56ff5.pth",
    "resnext101_32x8d_v2": "resnext101_32x8d-110c445d.pth",
    "wide_resnet50_2": "wide_resnet50_2-95faca4d.pth",
    "wide_resnet50_2_v2": "wide_resnet50_2-9ba9bcbe.pth",
    "wide_resnet101_2": "wide_resnet101_2-32ee1156.pth",
    "wide_resnet101_2_v2": "wide_resnet101_2-d733dc28.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth",
    "vgg13_bn": "vgg13_bn-abd245e5.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "mobilenet_v2_v2": "mobilenet_v2-7ebf99e0.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "densenet169": "densenet169-b2777c0a.pth",
    "densenet201": "densenet201-c1103571.pth",
    "densenet161": "densenet161-8d451a50.pth",
    "googlenet": "googlenet-1378be20.pth",
    "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}
# Salman et al. (2020), "Do adversarially robust ImageNet models transfer better?"
ROBUST_EPSILONS = {
    "l2": ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5"),
    "linf": ("0.5", "1.0", "2.0", "4.0", "8.0"),
}
ROBUST_TRANSFER_FILES = (
    {
        f"{name}_{norm}_eps{epsilon}": f"{name}_{norm}_eps{epsilon}.ckpt"
        for name in ("resnet18", "resnet50", "wide_resnet50_2")
        for norm, epsilons in ROBUST_EPSILONS.items()
        for epsilon in epsilons
    }
    | {f"wide_resnet50_4_l2_eps{epsilon}": f"wide_resnet50_4_l2_eps{epsilon}.ckpt" for epsilon in ROBUST_EPSILONS["l2"]}
    | {
        f"{name}_l2_eps{epsilon}": f"{name}_l2_eps{epsilon}.ckpt"
        for name in ("mobilenet", "resnext50_32x4d", "vgg16_bn")
        for epsilon in ("0", "3")
    }
)
# Engstrom et al. (2019), the robustness package; Dropbox's folder is part of the address.
ROBUSTNESS_FILES = {
    "imagenet_l2_3_0": "knf4uimlqsi1yz8/imagenet_l2_3_0.pt",
    "imagenet_linf_4": "axfuary2w1cnyrg/imagenet_linf_4.pt",
    "imagenet_linf_8": "yxn15a9zklz3s8q/imagenet_linf_8.pt",
}
# The one digest of a robust file that was found; published by a third party.
DIGESTS = {"resnet50_linf_eps4.0.ckpt": "9e62216975c111b8081481533b6142dec34be69abe5d90b54d7f860015c263db"}


@dataclass(frozen=True)
class Published:
    """One public file; `sha256` is a digest, the first digits of one, or "" where none was published.

    `training` is the pipeline that it came out of, as in `jinv.models.origins`.
    """

    name: str
    file_name: str
    url: str
    sha256: str
    training: str = ""


def find_published(name: str) -> Published:
    """The public file called `name`; $JINV_MIRROR, where set, replaces its address up to the file name.

    Raises:
      UsageError: no such name.
    """
    if name in TORCHVISION_FILES:
        file_name = TORCHVISION_FILES[name]
        url, sha256 = TORCHVISION + file_name, file_name.removesuffix(".pth").rsplit("-", 1)[1]
    elif name in ROBUST_TRANSFER_FILES:
        file_name = ROBUST_TRANSFER_FILES[name]
        url, sha256 = ROBUST_TRANSFER + file_name, DIGESTS.get(file_name, "")
    elif name in ROBUSTNESS_FILES:
        file_name = ROBUSTNESS_FILES[name].split("/")[1]
        url, sha256 = f"{ROBUSTNESS}{ROBUSTNESS_FILES[name]}?dl=1", ""
    elif name in ARCHITECTURES:
        raise UsageError(f"{name}: no file of this network is published under its name; give the path of a checkpoint")
    else:
        raise UsageError(f"{name!r} is neither a file nor a published checkpoint{nearest(name, published_names())}")
    if mirror := os.environ.get("JINV_MIRROR"):
        url = f"{mirror.rstrip('/')}/{file_name}"
    usual = origins.TORCHVISION if name in TORCHVISION_FILES else origins.ROBUSTNESS
    training = origins.training_of(None, sha256) or usual
    return Published(name, file_name, url, sha256, training)


def promised_sha256(file_name: str) -> str:
    """The digest (or its first digits) of the public file that is called so; "" where there is none, or none known."""
    embedded = {PurePath(checkpoint.file).name: checkpoint.sha256 for checkpoint in EMBEDDED.values()}
    published = {file.file_name: file.sha256 for file in map(find_published, published_names())}
    return (embedded | published).get(file_name, "")


def published_names() -> list[str]:
    """Every name that `find_published` knows."""
    return [*TORCHVISION_FILES, *ROBUST_TRANSFER_FILES, *ROBUSTNESS_FILES]
