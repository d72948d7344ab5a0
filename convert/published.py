"""Public checkpoint files by name: where they are and what is known about their digests."""

import os
from dataclasses import dataclass
from pathlib import PurePath

from jinv.errors import UsageError, nearest
from jinv.models.architecture import EMBEDDED
from jinv.models.origins import LICENSES, ROBUSTNESS, USUAL, Origin, origin_of
from jinv.models.registry import ARCHITECTURES

TORCHVISION_URL = "https://download.pytorch.org/models/"
ROBUST_TRANSFER_URL = "https://huggingface.co/madrylab/robust-imagenet-models/resolve/main/"
ROBUSTNESS_URL = "https://www.dropbox.com/s/"

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
    "densenet161": "densenet161-8d451a50.pth",
    "densenet169": "densenet169-b2777c0a.pth",
    "densenet201": "densenet201-c1103571.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    "googlenet": "googlenet-1378be20.pth",
    "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth",
    "efficientnet_b1": "efficientnet_b1_rwightman-bac287d4.pth",
    "efficientnet_b1_v2": "efficientnet_b1-c27df63c.pth",
    "efficientnet_b2": "efficientnet_b2_rwightman-c35c1473.pth",
    "efficientnet_b3": "efficientnet_b3_rwightman-b3899882.pth",
    "efficientnet_b4": "efficientnet_b4_rwightman-23ab8bcd.pth",
    "efficientnet_b5": "efficientnet_b5_lukemelas-1a07897c.pth",
    "efficientnet_b6": "efficientnet_b6_lukemelas-24a108a5.pth",
    "efficientnet_b7": "efficientnet_b7_lukemelas-c5b4e57e.pth",
    "mobilenet_v3_large": "mobilenet_v3_large-8738ca79.pth",
    "mobilenet_v3_large_v2": "mobilenet_v3_large-5c1a4163.pth",
    "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e.pth",
    "shufflenet_v2_x1_0": "shufflenetv2_x1-5666bf0f80.pth",
    "shufflenet_v2_x1_5": "shufflenetv2_x1_5-3c479a10.pth",
    "shufflenet_v2_x2_0": "shufflenetv2_x2_0-8be3c8ee.pth",
    "regnet_y_400mf": "regnet_y_400mf-c65dace8.pth",
    "regnet_y_400mf_v2": "regnet_y_400mf-e6988f5f.pth",
    "regnet_y_800mf": "regnet_y_800mf-1b27b58c.pth",
    "regnet_y_800mf_v2": "regnet_y_800mf-58fc7688.pth",
    "regnet_y_1_6gf": "regnet_y_1_6gf-b11a554e.pth",
    "regnet_y_1_6gf_v2": "regnet_y_1_6gf-0d7bc02a.pth",
    "regnet_y_3_2gf": "regnet_y_3_2gf-b5a9779c.pth",
    "regnet_y_3_2gf_v2": "regnet_y_3_2gf-9180c971.pth",
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
# Salman et al. (2020), appendix, and Engstrom et al.'s README: what the robust networks reach on clean images.
ROBUST_ACCURACY = {
    "resnet50_l2_eps3": 0.6283,
    "resnet50_linf_eps4.0": 0.6386,
    "resnet50_linf_eps8.0": 0.5453,
    "imagenet_l2_3_0": 0.5790,
    "imagenet_linf_4": 0.6242,
    "imagenet_linf_8": 0.4791,
}
# The one digest of a robust file that was found; published by a third party.
DIGESTS = {"resnet50_linf_eps4.0.ckpt": "9e62216975c111b8081481533b6142dec34be69abe5d90b54d7f860015c263db"}


@dataclass(frozen=True)
class Published:
    """One public file; `sha256` is a digest, the first digits of one, or "" where none was published.

    `origin` is what is known of it before it is fetched.
    """

    name: str
    file_name: str
    url: str
    sha256: str
    origin: Origin | None = None

    @property
    def known(self) -> str:
        """What it reaches, under which licence and on which input, in words; "" where nothing is known."""
        if self.origin is None:
            return ""
        accuracy, preparation = self.origin.accuracy, self.origin.preparation
        reaches = "" if accuracy is None else f", {accuracy:.1%} of ImageNet's validation images"
        seen = f" ({preparation.crop} of {preparation.resize} px)" if preparation and reaches else ""
        stated = self.origin.license or "no licence stated"
        return f"of {self.origin.training}{reaches}{seen}; {stated}, the images' own terms apart"


def find_published(name: str) -> Published:
    """The public file called `name`; $JINV_MIRROR, where set, replaces its address up to the file name.

    Raises:
      UsageError: no such name.
    """
    robust = Origin(ROBUSTNESS, ROBUST_ACCURACY.get(name), LICENSES[ROBUSTNESS], USUAL)
    if name in TORCHVISION_FILES:
        file_name = TORCHVISION_FILES[name]
        url, sha256 = TORCHVISION_URL + file_name, file_name.removesuffix(".pth").rsplit("-", 1)[1]
        origin = origin_of(sha256)
    elif name in ROBUST_TRANSFER_FILES:
        file_name = ROBUST_TRANSFER_FILES[name]
        url, sha256, origin = ROBUST_TRANSFER_URL + file_name, DIGESTS.get(file_name, ""), robust
    elif name in ROBUSTNESS_FILES:
        file_name = ROBUSTNESS_FILES[name].split("/")[1]
        url, sha256, origin = f"{ROBUSTNESS_URL}{ROBUSTNESS_FILES[name]}?dl=1", "", robust
    elif name in ARCHITECTURES:
        raise UsageError(f"{name}: no file of this network is published under its name; give the path of a checkpoint")
    else:
        raise UsageError(f"{name!r} is neither a file nor a published checkpoint{nearest(name, published_names())}")
    if mirror := os.environ.get("JINV_MIRROR"):
        url = f"{mirror.rstrip('/')}/{file_name}"
    return Published(name, file_name, url, sha256, origin)


def promised_sha256(file_name: str) -> str:
    """The digest (or its first digits) of the public file that is called so; "" where there is none, or none known."""
    embedded = {PurePath(checkpoint.file).name: checkpoint.sha256 for checkpoint in EMBEDDED.values()}
    published = {file.file_name: file.sha256 for file in map(find_published, published_names())}
    return (embedded | published).get(file_name, "")


def published_names() -> list[str]:
    """Every name that `find_published` knows."""
    return [*TORCHVISION_FILES, *ROBUST_TRANSFER_FILES, *ROBUSTNESS_FILES]
