"""Rules for the CIFAR Wide ResNets, as xternalz, distillation's repositories, TRADES and RobustBench name their layers."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "blocks_per_stage": count_children(shapes, "block1.layer"),
        "width": axis(shapes, "block1.layer.0.conv1.weight", 0),
        "stem_width": axis(shapes, "conv1.weight", 0),
    }


FAMILY = Family(
    title="a CIFAR Wide ResNet",
    markers=(
        "conv1.weight",
        "block1.layer.0.bn1.running_mean",
        "block2.layer.0.convShortcut.weight",
        "bn1.running_mean",
        "fc.weight",
    ),
    head="fc",
    describe=_describe,
    renames=((r"^block(\d)_layer", r"block\1.layer"),),
    # TRADES makes the first stage twice and calls it once.
    unread=("sub_block1.",),
)
