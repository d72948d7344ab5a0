"""Rules for torchvision's MobileNetV3; the small and the large one are told apart by their length."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    blocks = max(count_children(shapes, "features") - 2, 0)
    return {
        "num_blocks": blocks,
        "stem_features": axis(shapes, "features.0.0.weight", 0),
        "head_inputs": axis(shapes, f"features.{blocks + 1}.0.weight", 1),
        "hidden": axis(shapes, "classifier.0.weight", 0),
    }


FAMILY = Family(
    title="a torchvision MobileNetV3",
    markers=(
        "features.0.0.weight",
        "features.0.1.running_mean",
        "features.1.block.0.0.weight",
        "classifier.0.weight",
        "classifier.3.weight",
    ),
    head="classifier.3",
    describe=_describe,
)
