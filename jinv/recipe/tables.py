"""Tables that stay open: the keys declared here, and hyperparameters of the function that a table names."""

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Tag

from jinv.core.choices import Draw, EpsScaling
from jinv.recipe.checking import TABLE, Must, Needed
from jinv.recipe.declaration import Part, Recorded, Table, key
from jinv.recipe.values import FilePath, Hyperparameter, Number, Text


class OpenTable(Part):
    """A table whose further keys are plain values; which of them there are is for the function to say that takes them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Hyperparameter]


class ScheduleTable(OpenTable):
    """A number that changes with the stage's step; `jinv terms` lists the schedules and what they take."""

    schedule: Annotated[
        Text, Needed("a schedule is a table with 'schedule', such as {schedule = \"warmup_cosine\", peak = 0.2}")
    ] = key("the schedule's name")


class OptimizerTable(OpenTable):
    """One of optax's optimizers, or `normalized_gradient`, with its hyperparameters."""

    name: Text = key("the optimizer's name")
    eps_scaling: EpsScaling = key(
        'of an optimizer with an eps: "image" divides it by the batch, "none" takes it as published programs do',
        "image",
    )


class ParameterizationTable(OpenTable):
    """What is optimised instead of pixels; `jinv terms` lists what there is and what it takes."""

    name: Text = key("the parameterization's name")
    spectrum: FilePath | None = key("a folder or zip of images whose spectrum is kept", None)


def _way(value: Any) -> str:
    return TABLE if isinstance(value, dict) else "value"


ValueOrTable = Discriminator(_way)
IsValue, IsTable = Tag("value"), Tag(TABLE)

NumberOrSchedule = Annotated[
    Annotated[Number, IsValue] | Annotated[dict[str, Any], Table(ScheduleTable), IsTable],
    ValueOrTable,
    Must("a finite number of at least 0, or a schedule's table"),
]
Optimizer = Annotated[
    Annotated[Text, IsValue] | Annotated[dict[str, Any], Table(OptimizerTable), IsTable],
    ValueOrTable,
    Must('a name, or a table such as {name = "adam", b1 = 0.5}'),
]
Parameterization = Annotated[
    Annotated[Text, IsValue] | Annotated[dict[str, Any], Table(ParameterizationTable), IsTable],
    ValueOrTable,
    Must('a name, or a table such as {name = "fourier", decay = 1.0}'),
]


class TermTable(OpenTable):
    """A term of the objective; further keys are its hyperparameters, see `jinv terms`."""

    weight: Recorded[NumberOrSchedule] = key("its factor in the objective", 1.0)


class AugmentTable(OpenTable):
    """An augmentation; further keys are its hyperparameters, see `jinv terms`."""

    draw: Draw = key("what shares a draw: the batch, or each image has its own", "batch")


class ProjectionTable(OpenTable):
    """What is applied to the pixels after every update; its keys are its hyperparameters, see `jinv terms`."""


class MetricTable(OpenTable):
    """A metric of finished pictures; its keys are its hyperparameters, see `jinv terms`."""


Terms = dict[str, Annotated[dict[str, Any], Table(TermTable)]]
Augmentations = dict[str, Annotated[dict[str, Any], Table(AugmentTable)]]
Projections = dict[str, Annotated[dict[str, Any], Table(ProjectionTable)]]
Metrics = dict[str, Annotated[dict[str, Any], Table(MetricTable)]]
