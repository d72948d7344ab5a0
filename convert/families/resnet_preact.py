"""Rules for kuangliu's pre-activation ResNets, and those of robust training, which have a last norm `bn`."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "stage_sizes": tuple(count_children(shapes, f"layer{stage}") for stage in (1, 2, 3, 4)),
        "bottleneck": "layer1.0.conv3.weight" in shapes,
        "width": axis(shapes, "conv1.weight", 0),
        "final_norm": "bn.running_mean" in shapes,
    }


FAMILY = Family(
    title="a CIFAR pre-activation ResNet",
    markers=("conv1.weight", "layer1.0.bn1.running_mean", "layer2.0.shortcut.0.weight", "linear.weight"),
    # A norm behind the stem or the shortcut: what is activated afterwards.
    absent=("bn1.running_mean", "layer2.0.shortcut.1.running_mean"),
    head="linear",
    describe=_describe,
)
