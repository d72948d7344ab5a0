"""What names and shapes do not say: other people's networks that have those of one of ours, and outputs that are no classes.

Told where the file's digest does not say who made it. Two networks of our own with the same names are `Architecture.alike`.
"""

from jinv.models.architecture import HALF, Architecture
from jinv.models.classifier import family_name
from jinv.models.resnet import ResNet, ResNetD

CIFAR_COUNTS = (10, 100)


def notes_of(architecture: Architecture, num_classes: int, *, own_normalizer: bool) -> list[str]:
    """What was taken for granted of a file that nobody is known to have published."""
    notes = []
    module = architecture.make(architecture.num_classes)
    if isinstance(module, ResNetD) or (type(module) is ResNet and module.stem == "7x7"):
        notes.append("timm's resnetaa* and resnetblur* have the same names and shapes, and blur where this one strides")
    if (
        architecture.mean == HALF
        and family_name(architecture.family) in ("GoogLeNet", "InceptionV3")
        and not own_normalizer
    ):
        notes.append(
            "mean and std 0.5 are those of the published weights; for a network that was trained on ImageNet's usual ones "
            "give --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
        )
    if architecture.class_names == "cifar10" and num_classes == architecture.num_classes:
        notes.append("10 outputs were taken for CIFAR-10's classes in their usual order; --labels FILE names others")
    return notes


def doubts_of(architecture: Architecture, num_classes: int) -> list[str]:
    """What may well be wrong."""
    family = family_name(architecture.family)
    if num_classes == 0:
        dilated = "; a segmentation network's backbone is dilated, which names do not say" if family == "ResNet" else ""
        return [f"the file has no head: the network gives statistics and features, and no classes{dilated}"]
    if num_classes == 1:
        return ["one output is no class among others: cross-entropy is zero and every judge right, whatever the image"]
    published = architecture.class_names == "imagenet" and num_classes in CIFAR_COUNTS
    if published and family in ("MobileNetV2", "ShuffleNetV2"):
        return [
            f"{num_classes} outputs: CIFAR's {family}s (chenyaofo's, huyvnphan's) have these names and shapes and other "
            "strides; this is ImageNet's network"
        ]
    return []
