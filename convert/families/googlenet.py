"""Rules for torchvision's GoogLeNet; its auxiliary heads are left out."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis, count_children


def _describe(shapes: Shapes) -> dict[str, Any]:
    stages = (count_letters(shapes, f"inception{stage}") for stage in (3, 4, 5))
    return {"width": axis(shapes, "conv1.conv.weight", 0), "stage_sizes": tuple(stages)}


def count_letters(shapes: Shapes, start: str) -> int:
    """The number of different modules that are called `start` and one letter, such as inception4a to inception4e."""
    return sum(count_children(shapes, f"{start}{letter}") > 0 for letter in "abcdefghijklmnopqrstuvwxyz")


FAMILY = Family(
    title="a torchvision GoogLeNet",
    markers=("conv1.conv.weight", "conv1.bn.running_mean", "inception3a.branch2.1.conv.weight", "fc.weight"),
    head="fc",
    can_lack_head=True,
    describe=_describe,
    unread=("aux1.", "aux2."),
)
