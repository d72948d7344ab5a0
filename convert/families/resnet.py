"""Rules for torchvision's ResNets, ResNeXts and Wide ResNets; the robust ones and timm's have the same names."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    stem = axis(shapes, "conv1.weight", 0)
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
    describe=_describe,
)
