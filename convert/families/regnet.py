"""Rules for torchvision's RegNets; timm's and the authors' own have other names."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children

STAGES = (1, 2, 3, 4)


def _describe(shapes: Shapes) -> dict[str, Any]:
    first = [f"trunk_output.block{stage}.block{stage}-0.f" for stage in STAGES]
    return {
        "stem_features": axis(shapes, "stem.0.weight", 0),
        "stage_sizes": tuple(count_children(shapes, f"trunk_output.block{stage}") for stage in STAGES),
        "widths": tuple(axis(shapes, f"{block}.a.0.weight", 0) for block in first),
        "group_widths": tuple(axis(shapes, f"{block}.b.0.weight", 1) for block in first),
        "excited": f"{first[0]}.se.fc1.weight" in shapes,
    }


FAMILY = Family(
    title="a torchvision RegNet",
    markers=(
        "stem.0.weight",
        "stem.1.running_mean",
        "trunk_output.block1.block1-0.f.a.0.weight",
        "trunk_output.block4.block4-0.proj.0.weight",
        "fc.weight",
    ),
    head="fc",
    describe=_describe,
    renames=(
        (r"^block(\d)\.(\d+)\.", r"trunk_output.block\1.block\1-\2."),
        (r"-(\d+)\.(?!proj)", r"-\1.f."),
    ),
)
