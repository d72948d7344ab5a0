"""Rules for torchvision's MobileNetV2."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "stem_features": axis(shapes, "features.0.0.weight", 0),
        "head_inputs": axis(shapes, "features.18.0.weight", 1),
    }


FAMILY = Family(
    title="a torchvision MobileNetV2",
    markers=("features.0.0.weight", "features.0.1.running_mean", "features.1.conv.0.0.weight", "classifier.1.weight"),
    # torchvision's MobileNetV3 and EfficientNet name their blocks `block`; a 19th stage is somebody else's variant.
    absent=("features.1.block.0.0.weight", "features.19.0.weight"),
    head="classifier.1",
    describe=_describe,
)
