"""Rules for torchvision's DenseNets; the published files have the older spelling `norm.1` for `norm1`."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {
        "block_sizes": tuple(count_children(shapes, f"features.denseblock{block}") for block in (1, 2, 3, 4)),
        "growth_rate": axis(shapes, "features.denseblock1.denselayer1.conv2.weight", 0),
        "width": axis(shapes, "features.conv0.weight", 0),
    }


FAMILY = Family(
    title="a torchvision DenseNet",
    markers=(
        "features.conv0.weight",
        "features.norm0.running_mean",
        "features.denseblock1.denselayer1.norm1.running_mean",
        "classifier.weight",
    ),
    head="classifier",
    can_lack_head=True,
    describe=_describe,
    aliases=((r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
)
