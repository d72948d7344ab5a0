"""Rules for SqueezeNet 1.1: torchvision's names, and Caffe's, whose first kernel sees blue, green and red."""

from typing import Any

from jinv_convert.families.family import Family, Shapes, axis


def _describe(shapes: Shapes) -> dict[str, Any]:
    return {"width": axis(shapes, "features.0.weight", 0)}


def _describe_caffe(shapes: Shapes) -> dict[str, Any]:
    return {"width": axis(shapes, "conv1.weight", 0)}


FAMILY = Family(
    title="a torchvision SqueezeNet 1.1",
    # In SqueezeNet 1.0 place 5 is a fire module and place 6 a pool.
    markers=("features.0.weight", "features.3.squeeze.weight", "features.6.squeeze.weight", "classifier.1.weight"),
    absent=("features.5.squeeze.weight",),
    head="classifier.1",
    describe=_describe,
)

_PLACES = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}
"""Place in torchvision's Sequential -> the number of Caffe's fire module."""

CAFFE = Family(
    title="a Caffe SqueezeNet 1.1",
    markers=("conv1.weight", "fire2.squeeze1x1.weight", "fire9.expand3x3.weight", "conv10.weight"),
    head="conv10",
    describe=_describe_caffe,
    renames=(
        (r"^features\.0$", "conv1"),
        (r"^classifier\.1$", "conv10"),
        (r"squeeze$", "squeeze1x1"),
        *((rf"^features\.{place}\.", f"fire{number}.") for place, number in _PLACES.items()),
    ),
    aliases=((r"^(fire\d)/", r"\1."),),
    bgr="conv1.weight",
)
