"""Rules for torchvision's ResNets, ResNeXts and Wide ResNets; the robust ones, timm's and many for CIFAR have the same names.

Kuangliu's and the robustness package's for CIFAR are the same networks, whose layers are called `shortcut` and `linear`.
timm's ResNet-D has a stem of three convolutions.
"""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children

STAGES = 4


def _describe(shapes: Shapes) -> dict[str, Any]:
    stem = axis(shapes, "bn1.running_mean", 0)
    per_group = axis(shapes, "layer1.0.conv2.weight", 1)
    bottleneck = "layer1.0.conv3.weight" in shapes
    planes = axis(shapes, f"layer1.0.conv{3 if bottleneck else 1}.weight", 0) // (4 if bottleneck else 1)
    sizes = [count_children(shapes, f"layer{stage + 1}") for stage in range(STAGES)]
    return {
        "stage_sizes": tuple(sizes if sizes[-1] else sizes[:-1]),
        "bottleneck": bottleneck,
        "width": planes,
        "groups": axis(shapes, "layer1.0.conv2.weight", 0) // max(per_group, 1),
        "width_per_group": per_group * 64 // max(planes, 1) if bottleneck else 64,
        "stem_kernel": axis(shapes, "conv1.weight", 2),
        "stem_width": None if stem == planes else stem,
    }


FAMILY = Family(
    title="a torchvision ResNet",
    markers=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "fc.weight"),
    head="fc",
    can_lack_head=True,
    describe=_describe,
)


def _describe_d(shapes: Shapes) -> dict[str, Any]:
    return {key: value for key, value in _describe(shapes).items() if key != "stem_kernel"}


D = Family(
    title="a timm ResNet-D",
    # The place before a shortcut's convolution is a pool; without one, the stem alone is timm's ResNet-S and other things.
    markers=(
        "conv1.0.weight",
        "conv1.4.running_mean",
        "conv1.6.weight",
        "bn1.running_mean",
        "layer4.0.downsample.2.running_mean",
        "fc.weight",
    ),
    # Squeeze-and-excitation (SE-ResNet-D, ECA), a stem whose pool is a convolution.
    absent=("layer1.0.se.fc1.weight", "layer1.0.se.conv.weight", "maxpool.0.weight"),
    head="fc",
    can_lack_head=True,
    describe=_describe_d,
)

SHORTCUT = Family(
    title="a CIFAR ResNet with 'shortcut' and 'linear' layers",
    markers=(
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer2.0.shortcut.1.running_mean",
        "linear.weight",
    ),
    head="linear",
    describe=_describe,
    renames=((r"\.downsample\.", ".shortcut."), (r"^fc$", "linear")),
)
