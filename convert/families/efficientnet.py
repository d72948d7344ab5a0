"""Rules for torchvision's EfficientNets; timm's and lukemelas' have other names, and the second version other blocks."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    sizes = tuple(count_children(shapes, f"features.{stage}") for stage in range(1, 8))
    return {
        "stem_features": axis(shapes, "features.0.0.weight", 0),
        "stage_sizes": sizes,
        "stage_features": tuple(_features(shapes, stage, blocks) for stage, blocks in enumerate(sizes, start=1)),
    }


def _features(shapes: Shapes, stage: int, blocks: int) -> int:
    """Channels behind a stage's last block; the first stage's blocks expand nothing and lack a layer."""
    return axis(shapes, f"features.{stage}.{blocks - 1}.block.{2 if stage == 1 else 3}.0.weight", 0)


FAMILY = Family(
    title="a torchvision EfficientNet",
    markers=(
        "features.0.0.weight",
        "features.0.1.running_mean",
        "features.1.0.block.1.fc1.weight",
        "features.8.0.weight",
        "classifier.1.weight",
    ),
    head="classifier.1",
    describe=_describe,
)
