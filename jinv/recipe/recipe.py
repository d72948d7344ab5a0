"""An experiment as plain values: what a config says, checked."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from jinv.recipe.checks import Size

Part = TypeVar("Part", bound="StageRecipe | ImageRecipe | EvaluateRecipe | CheckpointRecipe | Recipe")


@dataclass(frozen=True)
class StageRecipe:
    """One `[[stages]]` table. `learning_rate` is a number or a schedule's table; `optimizer` a name or a table.

    `start` says what the stage makes of the image before it (`core.starts.next_start`). `parameterization`, a name or a
    table, may also stand at the top of the config, for every stage; its `spectrum` is a folder or zip of images.
    """

    size: Size
    steps: int
    learning_rate: float | dict[str, Any] = 0.05
    optimizer: str | dict[str, Any] = "adam"
    upsample: Literal["pool", "resize"] = "pool"
    start: Literal["image", "clean", "detail", "zoom"] = "image"
    parameterization: str | dict[str, Any] = "pixels"


@dataclass(frozen=True)
class ImageRecipe:
    """The `[image]` table. `size` None is the model's own size.

    `init` is "noise", "class_gaussian" (with `init_reference`, a folder or zip with a folder per class, whose images are
    pooled by `init_pool`), `package:NAME/FILE`, or the path of a `.npy` or image file.
    """

    labels: str | tuple[int | str, ...]
    count: int
    batch: int
    size: Size | None = None
    chunk: int | None = None
    init: str = "noise"
    init_reference: str | None = None
    init_pool: int = 4


@dataclass(frozen=True)
class EvaluateRecipe:
    """The `[evaluate]` table: who judges, and real images to compare with."""

    verifiers: tuple[str, ...] = ()
    reference: str | None = None


@dataclass(frozen=True)
class CheckpointRecipe:
    """The `[checkpoint]` table."""

    every_steps: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A checked experiment; what is a table in a config is one here.

    `copies` views of each image are taken per step. `log_gradients` adds each term's gradient norm to the logged steps.
    """

    model: str
    image: ImageRecipe
    stages: tuple[StageRecipe, ...]
    terms: dict[str, dict[str, Any]]
    augment: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluate: EvaluateRecipe = EvaluateRecipe()
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    copies: int = 1
    log_gradients: bool = False
    student: str | None = None
    seed: int = 0
    keep: Literal["last", "best"] = "last"
    clip: Literal["variable", "fixed", "none"] = "variable"
    clip_bounds: tuple[float, float] = (-2.0, 2.0)
    log_every: int = 10
    devices: int | Literal["all"] | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    remat: bool = False


def replaced(part: Part, **changes: Any) -> Part:
    """A recipe, or a part of one, with other values in it; unchecked, so that a sweep may put traced numbers there."""
    return replace(part, **changes)
