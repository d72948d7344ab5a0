"""What has to be said of an ONNX classifier before it can judge: in a TOML file beside it, or in a config.

    judges/mobilenet.onnx, judges/mobilenet.toml       or       [evaluate.onnx.mobilenet]

An ONNX file says neither what its pixels are nor what its outputs mean; nothing of that is guessed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, BeforeValidator

from jinv.recipe.checking import Must
from jinv.recipe.declaration import Part, key
from jinv.recipe.values import Pixels, Text, as_tuple


def _positive(value: float) -> float:
    if not value > 0:
        raise ValueError("not above zero")
    return value


Channel = Annotated[int | float, Ge(-1e6), Le(1e6)]
Channels = Annotated[
    tuple[Channel, Channel, Channel], BeforeValidator(as_tuple), Must("three numbers, of red, green and blue")
]
Deviations = Annotated[
    tuple[
        Annotated[Channel, AfterValidator(_positive)],
        Annotated[Channel, AfterValidator(_positive)],
        Annotated[Channel, AfterValidator(_positive)],
    ],
    BeforeValidator(as_tuple),
    Must("three numbers above 0, of red, green and blue"),
]
Names = Annotated[
    Literal["imagenet", "cifar10", "cifar100"] | Annotated[tuple[Text, ...], MinLen(1)],
    BeforeValidator(as_tuple),
    Must('"imagenet", "cifar10", "cifar100", or a list of the classes\' names in the order of the outputs'),
]
Share = Annotated[int | float, Ge(0), Le(1)]


class OnnxTable(Part):
    """An ONNX classifier's facts. It is given `(pixel - mean) / std` with pixels from 0 to `white`."""

    size: Pixels = key("height and width of what it is given, in pixels")
    white: Annotated[Literal[1, 255], Must("1 or 255")] = key(
        "the value of a white pixel before mean and std: 1 or 255"
    )
    mean: Channels = key("what is taken from red, green and blue, in units of white")
    std: Deviations = key("what red, green and blue are divided by, in units of white")
    layout: Literal["NCHW", "NHWC"] = key("channels before height and width, or behind them")
    channels: Literal["RGB", "BGR"] = key("which channel comes first")
    class_names: Names = key('"imagenet", "cifar10" or "cifar100" in their usual order, or a name for every output')
    outputs: Literal["logits", "probabilities"] = key("what it gives for a class: before softmax, or behind it")
    output: Text | None = key("the output's name, where the file has several", None)
    first_class: Annotated[int, Ge(0), Le(1000)] = key("the output that is class 0; 1 behind a background class", 0)
    family: Text | None = key("the family of its architecture, as jinv names its own: MobileNetV2, ResNet", None)
    training: Text | None = key("who trained it, how: what its siblings have in common with it", None)
    accuracy: Annotated[Share, Must("a share from 0 to 1")] | None = key("its share right on real images", None)
    accuracy_on: Text | None = key("on which real images", None)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        if (table.get("accuracy") is None) != (table.get("accuracy_on") is None):
            yield "accuracy: a share and accuracy_on, which says of which real images, go together"

    @property
    def sha256(self) -> str:
        """A digest of all that is said: other preprocessing is another judge."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
