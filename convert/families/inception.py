"""Rules for torchvision's Inception v3; its auxiliary head is left out. No module of it is called by a number alone."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis
from jinv_convert.families.googlenet import count_letters


def _describe(shapes: Shapes) -> dict[str, Any]:
    blocks = (count_letters(shapes, f"Mixed_{stage}") for stage in (5, 6, 7))
    of_pools, of_rows, last = blocks
    # The first block of the last two stages halves the image.
    return {
        "width": axis(shapes, "Conv2d_1a_3x3.conv.weight", 0),
        "stage_sizes": (of_pools, of_rows - 1, last - 1),
    }


FAMILY = Family(
    title="a torchvision Inception v3",
    markers=(
        "Conv2d_1a_3x3.conv.weight",
        "Conv2d_1a_3x3.bn.running_mean",
        "Mixed_5b.branch1x1.conv.weight",
        "fc.weight",
    ),
    head="fc",
    can_lack_head=True,
    describe=_describe,
    renames=((r"\.(?=\d)", "_"),),
    unread=("AuxLogits.",),
)
