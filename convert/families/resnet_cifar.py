"""Rules for the CIFAR ResNets with "option A" shortcuts."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {"blocks_per_stage": count_children(shapes, "layer1"), "width": axis(shapes, "conv1.weight", 0)}


FAMILY = Family(
    title="a CIFAR ResNet with parameter-free shortcuts",
    markers=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.0.conv1.weight", "linear.weight"),
    # A fourth stage or projected shortcuts: other people's CIFAR networks.
    absent=("layer4.0.conv1.weight", "layer2.0.shortcut.0.weight", "layer2.0.downsample.0.weight"),
    head="linear",
    can_lack_head=True,
    describe=_describe,
)
