"""Rules for torchvision's ResNets, ResNeXts and Wide ResNets; the robust ones, timm's and many for CIFAR have the same names.

Kuangliu's and the robustness package's for CIFAR are the same networks, whose layers are called `shortcut` and `linear`.
"""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children

STAGES = 4


def _describe(shapes: Shapes) -> dict[str, Any]:
    stem = axis(shapes, "conv1.weight", 0)
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
    describe=_describe,
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
