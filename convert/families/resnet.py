"""Rules for torchvision's ResNets, ResNeXts and Wide ResNets; the robust ones and timm's have the same names. ResNet-D."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    stem = axis(shapes, "bn1.running_mean", 0)
    per_group = axis(shapes, "layer1.0.conv2.weight", 1)
    bottleneck = "layer1.0.conv3.weight" in shapes
    return {
        "stage_sizes": tuple(count_children(shapes, f"layer{stage}") for stage in (1, 2, 3, 4)),
        "bottleneck": bottleneck,
        "width": stem,
        "groups": axis(shapes, "layer1.0.conv2.weight", 0) // max(per_group, 1),
        "width_per_group": per_group * 64 // max(stem, 1) if bottleneck else 64,
    }


FAMILY = Family(
    title="a torchvision ResNet",
    markers=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight", "fc.weight"),
    head="fc",
    can_lack_head=True,
    describe=_describe,
)

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
    describe=_describe,
)
