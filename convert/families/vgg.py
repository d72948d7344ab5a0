"""Rules for torchvision's VGGs with batch normalization, and those for CIFAR, of fewer features and hidden ones."""

import math
import re
from typing import Any

from jinv_convert.families.family import Family, Shapes, axis


def _describe_features(shapes: Shapes) -> dict[str, Any]:
    stages: list[int] = []
    previous = -4
    for index in _convolutions(shapes):
        # Convolution, norm and ReLU are three places of the Sequential; a fourth is the pool that ends a stage.
        if index - previous == 3:
            stages[-1] += 1
        else:
            stages.append(1)
        previous = index
    return {"stage_sizes": tuple(stages), "width": axis(shapes, "features.0.weight", 0)}


def _convolutions(shapes: Shapes) -> list[int]:
    names = (re.fullmatch(r"features\.([0-9]{1,4})\.weight", name) for name, shape in shapes.items() if len(shape) == 4)
    return sorted(int(name[1]) for name in names if name)


def _describe(shapes: Shapes) -> dict[str, Any]:
    last = max(_convolutions(shapes), default=0)
    places = axis(shapes, "classifier.0.weight", 1) // max(axis(shapes, f"features.{last}.weight", 0), 1)
    return _describe_features(shapes) | {
        "hidden": axis(shapes, "classifier.0.weight", 0),
        "pooled": math.isqrt(places),
    }


FAMILY = Family(
    title="a torchvision VGG with batch normalization",
    markers=("features.0.weight", "features.1.running_mean", "classifier.0.weight", "classifier.6.weight"),
    head="classifier.6",
    describe=_describe,
)

LINEAR = Family(
    title="a CIFAR VGG with batch normalization and one linear layer",
    markers=("features.0.weight", "features.1.running_mean", "classifier.weight"),
    head="classifier",
    describe=_describe_features,
)
