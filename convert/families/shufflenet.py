"""Rules for torchvision's ShuffleNetV2."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "stem_features": axis(shapes, "conv1.0.weight", 0),
        "width": 2 * axis(shapes, "stage2.0.branch2.0.weight", 0),
        "head_features": axis(shapes, "conv5.0.weight", 0),
        "stage_sizes": tuple(count_children(shapes, f"stage{stage}") for stage in (2, 3, 4)),
    }


FAMILY = Family(
    title="a torchvision ShuffleNetV2",
    markers=(
        "conv1.0.weight",
        "conv1.1.running_mean",
        "stage2.0.branch1.0.weight",
        "stage2.0.branch2.0.weight",
        "conv5.0.weight",
        "fc.weight",
    ),
    head="fc",
    describe=_describe,
)
