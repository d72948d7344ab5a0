"""The types of a config's values: what they are in Python, and in words what they must be."""

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt, MinLen
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from jinv.recipe.checking import Must
from jinv.recipe.paths import ANY, NETWORK, START
from jinv.recipe.toml import MAXIMUM_DEPTH

MAXIMUM_SIZE = 4096
MAXIMUM_STEPS = 10_000_000
MAXIMUM_FRAMES = 120
MAXIMUM_COUNT = 2**31 - 1
"""Images and steps are counted in 32 bits on the device."""

MAXIMUM_IMAGES = 1_000_000
"""Their files are numbered by six digits."""

_EXACT = 2**53
"""Whole numbers up to here are floats too; above, a number of the config is a float."""


def as_tuple(value: Any) -> Any:
    """TOML's lists as tuples, which nobody can change; what is no list as it is."""
    return tuple(value) if isinstance(value, list) else value


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else as_tuple(value)


def _finite(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _not_negative(value: int | float) -> int | float:
    number = _finite(value)
    if number < 0:
        raise ValueError("negative")
    return value if number <= _EXACT else number


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("no path")
    return value


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError("not low < high")
    return pair


def _hyperparameter(value: Any, depth: int = MAXIMUM_DEPTH) -> Any:
    """Plain values alone: what a run's config can hold, and no program is undone by."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if depth == 0:
        raise PydanticCustomError("must", "{words}", {"words": f"nested at most {MAXIMUM_DEPTH} deep"})
    if isinstance(value, list | tuple):
        return [_hyperparameter(inner, depth - 1) for inner in value]
    if isinstance(value, dict):
        return {str(name): _hyperparameter(inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, int) and abs(value) >= 2**63:
        words = "a whole number of at most 64 bits"
    elif isinstance(value, float) and not math.isfinite(value):
        words = "a finite number"
    elif isinstance(value, int | float):
        return value
    else:
        words = "a number, a text, true or false, or a list or table of these"
    raise PydanticCustomError("must", "{words}", {"words": words})


Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
PathText = Annotated[str, PlainValidator(lambda value: _path(value), json_schema_input_type=Text)]
"""Not pydantic's str, which refuses the name of a file that is not UTF-8."""
Texts = Annotated[tuple[Text, ...], BeforeValidator(as_tuple), Must("a list of texts")]
Count = Annotated[int, Ge(1), Le(MAXIMUM_COUNT)]
Images = Annotated[int, Ge(1), Le(MAXIMUM_IMAGES)]
Pixels = Annotated[int, Ge(1), Le(MAXIMUM_SIZE)]
Size = Annotated[
    tuple[Pixels, Pixels],
    BeforeValidator(_as_pair, json_schema_input_type=Pixels | tuple[Pixels, Pixels]),
    Must(f"a number of pixels from 1 to {MAXIMUM_SIZE}, or [height, width]"),
]
Number = Annotated[int | float, AfterValidator(_not_negative), WithJsonSchema({"type": "number", "minimum": 0})]
Bounds = Annotated[
    tuple[Annotated[int | float, AfterValidator(_finite)], Annotated[int | float, AfterValidator(_finite)]],
    BeforeValidator(as_tuple),
    AfterValidator(_rising),
    Must("[low, high] with low < high"),
]
Label = Annotated[int, Ge(-MAXIMUM_COUNT), Le(MAXIMUM_COUNT)] | str
Labels = Annotated[
    Literal["random"] | Annotated[tuple[Label, ...], MinLen(1)],
    BeforeValidator(as_tuple, json_schema_input_type=Literal["random"] | Annotated[list[Label], MinLen(1)]),
    Must('a list of class ids or names, or "random"'),
]
Devices = Annotated[Count | Literal["all"], Must("a whole number of at least 1 or 'all'")]
Hyperparameter = Annotated[Any, AfterValidator(lambda value: _hyperparameter(value))]

NetworkName = Annotated[
    PathText,
    BeforeValidator(NETWORK.before, json_schema_input_type=Text),
    NETWORK,
    Must("the name or the file of a network"),
]


def _one_alone(names: Any) -> Any:
    return names[0] if isinstance(names, tuple) and len(names) == 1 else names


InvertedNames = Annotated[
    NetworkName | Annotated[tuple[NetworkName, ...], MinLen(1), BeforeValidator(as_tuple)],
    AfterValidator(_one_alone),
    Must("the name or the file of a network, or a list of these"),
]
Shares = Annotated[
    tuple[Number, ...], MinLen(1), BeforeValidator(as_tuple), Must("a list of finite numbers of at least 0")
]
NetworkNames = Annotated[tuple[NetworkName, ...], BeforeValidator(as_tuple), Must("a list of networks' names or files")]
SinkName = Literal["tensorboard", "wandb", "trackio"]
Sinks = Annotated[
    tuple[SinkName, ...],
    BeforeValidator(as_tuple, json_schema_input_type=list[SinkName]),
    Must('a list of "tensorboard", "wandb" or "trackio"'),
]
StartImage = Annotated[
    PathText,
    BeforeValidator(START.before, json_schema_input_type=Text),
    START,
    Must("one of the ways to start, or the path of a file"),
]
FilePath = Annotated[
    PathText, BeforeValidator(ANY.before, json_schema_input_type=Text), ANY, Must("the path of a file or folder")
]
StatisticsFiles = Annotated[
    FilePath | Annotated[tuple[FilePath, ...], MinLen(1), BeforeValidator(as_tuple)],
    AfterValidator(_one_alone),
    Must("the path of a file of `jinv record-stats`, or a list of these"),
]
Momentum = Annotated[
    int | float,
    Ge(0),
    Lt(1),
    Must("a number of at least 0 and below 1"),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
