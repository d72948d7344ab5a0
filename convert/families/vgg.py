"""Rules for torchvision's VGGs with batch normalization."""

import re
from typing import Any

from jinv_convert.families.family import Family, Shapes, axis


def _describe(shapes: Shapes) -> dict[str, Any]:
    names = (re.fullmatch(r"features\.([0-9]{1,4})\.weight", name) for name, shape in shapes.items() if len(shape) == 4)
    stages: list[int] = []
    previous = -4
    for index in sorted(int(name[1]) for name in names if name):
        # Convolution, norm and ReLU are three places of the Sequential; a fourth is the pool that ends a stage.
        if index - previous == 3:
            stages[-1] += 1
        else:
            stages.append(1)
        previous = index
    return {"stage_sizes": tuple(stages), "width": axis(shapes, "features.0.weight", 0)}


FAMILY = Family(
    title="a torchvision VGG with batch normalization",
    markers=("features.0.weight", "features.1.running_mean", "classifier.0.weight", "classifier.6.weight"),
    head="classifier.6",
    describe=_describe,
)
