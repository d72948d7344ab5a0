"""Rules for the EfficientNet-Lites: every module of the published files has a leading underscore."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {"num_blocks": count_children(shapes, "_blocks"), "head_inputs": axis(shapes, "_conv_head.weight", 1)}


FAMILY = Family(
    title="an EfficientNet-Lite",
    markers=("_conv_stem.weight", "_bn0.running_mean", "_blocks.0._depthwise_conv.weight", "_fc.weight"),
    # Squeeze-and-excitation: the EfficientNets that are not Lite.
    absent=("_blocks.0._se_reduce.weight",),
    head="_fc",
    can_lack_head=True,
    describe=_describe,
    renames=((r"(^|\.)(?=[a-z])", r"\1_"),),
)
