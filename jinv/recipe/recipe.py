"""An experiment as plain values: what a config says, checked."""

from dataclasses import dataclass, field
from typing import Any, Literal

from jinv.recipe.checks import Size


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
class Recipe:
    """A checked experiment. `None` for `image_size` is the model's own size.

    `init` is "noise", "class_gaussian" (with `init_reference`, a folder or zip with a folder per class, whose images are
    pooled by `init_pool`), `package:NAME/FILE`, or the path of a `.npy` or image file. `copies` views of each image are
    taken per step. `log_gradients` adds each term's gradient norm to the logged steps.
    """

    model: str
    labels: str | tuple[int | str, ...]
    image_size: Size | None
    count: int
    batch: int
    stages: tuple[StageRecipe, ...]
    terms: dict[str, dict[str, Any]]
    augment: dict[str, dict[str, Any]] = field(default_factory=dict)
    init: str = "noise"
    init_reference: str | None = None
    init_pool: int = 4
    copies: int = 1
    log_gradients: bool = False
    student: str | None = None
    seed: int = 0
    keep: Literal["last", "best"] = "last"
    clip: Literal["variable", "fixed", "none"] = "variable"
    clip_bounds: tuple[float, float] = (-2.0, 2.0)
    log_every: int = 10
    verifiers: tuple[str, ...] = ()
    reference: str | None = None
    checkpoint_every: int | None = None
    devices: int | Literal["all"] | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    remat: bool = False
    chunk: int | None = None
    raw: dict[str, Any] = field(default_factory=dict)
