"""An experiment as plain values: what a config says, checked. Every key of one is declared once, here, in `tables` and in `onnx`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import BeforeValidator, TypeAdapter, ValidationError, field_validator, model_validator

from jinv.core.choices import Arrays, Keep, Layout, MemberDraw, PictureFormat, Plan, Precision, Start, Upsample
from jinv.recipe.batches import Batches
from jinv.recipe.checking import Needed, shown
from jinv.recipe.declaration import Aside, Part, PartType, Recorded, Table, Written, key
from jinv.recipe.onnx import OnnxTable
from jinv.recipe.tables import Augmentations, Metrics, NumberOrSchedule, Optimizer, Parameterization, Projections, Terms
from jinv.recipe.values import (
    MAXIMUM_FRAMES,
    MAXIMUM_STEPS,
    Bounds,
    Count,
    Devices,
    FilePath,
    Images,
    InvertedNames,
    Labels,
    Momentum,
    NetworkName,
    NetworkNames,
    Shares,
    Sinks,
    Size,
    StartImage,
    StatisticsFiles,
    as_tuple,
)


class StageRecipe(Part):
    """One `[[stages]]` table. `start` says what the stage makes of the image before it (`core.starts.next_start`)."""

    size: Recorded[Annotated[Size, Needed("needed where image.size is not given")]] = key(
        "what the network sees, in pixels; image.size where it is not given", None, validate_default=True
    )
    steps: Recorded[int] = key("updates", ge=0, le=MAXIMUM_STEPS)
    learning_rate: Recorded[NumberOrSchedule] = key("a number, or a schedule of the stage's step", 0.05)
    optimizer: Recorded[Optimizer] = key("a name, or a table with its hyperparameters", "adam")
    upsample: Recorded[Upsample] = key("how a smaller stage's image becomes one of image.size", "pool")
    start: Start = key("what is made of the image before this stage", "image")
    parameterization: Parameterization = key("what is optimised: pixels, or what makes them", "pixels")
    low_pass: NumberOrSchedule | None = key(
        "cycles per pixel of the variable, or a schedule of the stage's step: faster frequencies are removed after each update",
        None,
    )


class ImageRecipe(Part):
    """The `[image]` table. `size` None is the model's own size."""

    size: Recorded[Size | None] = key(
        "a number of pixels, or [height, width]; the model's own size where it is not given", None
    )
    count: Recorded[Images] = key("images; as many as labels where it is not given", None, validate_default=True)
    batch: Recorded[Count] = key(
        "images that are optimised together; all where it is not given", None, validate_default=True
    )
    labels: Recorded[Labels] = key('class ids or names, repeated up to count, or "random"')
    plan: Plan = key("which classes share a batch: labels in turn, one of them per batch, or a block of each", "cycle")
    init: Annotated[Recorded[StartImage], Aside()] = key(
        '"noise", "uniform" (between black and white), "class_gaussian", package:NAME/FILE, or the path of a .npy or image file',
        "noise",
    )
    init_reference: Annotated[FilePath | None, Aside()] = key(
        "for class_gaussian: a folder or zip with a folder of images per class", None
    )
    init_pool: Annotated[Count, Written(lambda image: image.init_reference is not None)] = key(
        "for class_gaussian: the reference images are pooled by this factor", 4
    )
    chunk: Count | None = key("images that go through the network at once, to need less memory", None)

    @property
    def batches(self) -> Batches:
        """The images of each batch; the last one may be smaller."""
        return Batches(self.count, self.batch)

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        labels = table.get("labels")
        return {"count": len(labels) if isinstance(labels, list | tuple) and labels else 1} | {**table}

    @field_validator("batch", mode="before")
    @classmethod
    def _all(cls, batch: Any, info: Any) -> Any:
        return info.data.get("count", 1) if batch is None else batch

    @field_validator("batch")
    @classmethod
    def _at_most_all(cls, batch: int, info: Any) -> int:
        count: int = info.data.get("count", batch)
        return min(batch, count)


class CommitteeRecipe(Part):
    """The `[committee]` table: how several networks in `model` share an objective."""

    weights: Shares | None = key("how much each network counts, relative to the others; all alike by default", None)
    draw: MemberDraw = key("which networks a step asks: all, or one drawn by the weights", "all")


class EvaluateRecipe(Part):
    """The `[evaluate]` table: who judges, real images to compare with, and real images for a control."""

    verifiers: Recorded[NetworkNames] = key("networks that judge the images, by name or file, ONNX included", ())
    onnx: dict[str, Annotated[dict[str, Any], Table(OnnxTable)]] = key(
        "what is said of ONNX files, by their names without .onnx; else NAME.toml beside each says it",
        default_factory=dict,
    )
    reference: FilePath | None = key("a folder or zip of real images to compare with", None)
    photographs: FilePath | None = key(
        "a folder or zip of real images of the classes, which the judges judge too", None
    )


class OutputRecipe(Part):
    """The `[output]` table: what a run's pictures are written as, and its images in network units."""

    layout: Layout = key("pictures all in one folder, or in a folder per class in the order of labels", "flat")
    format: PictureFormat = key("of the pictures; PNG loses nothing", "png")
    arrays: Arrays = key("images in network units: one file up to 2 GiB and shards beyond, one file, or shards", "auto")
    frames: int | None = key(
        "moments, evenly over all steps, whose images of the first batch become the animation frames.webp",
        None,
        ge=2,
        le=MAXIMUM_FRAMES,
    )
    quality: int | None = key('for format = "jpeg", without chroma subsampling; 95 by default', None, ge=1, le=100)


class CheckpointRecipe(Part):
    """The `[checkpoint]` table."""

    every_steps: Count | None = key("how often a long run is saved, in steps of all stages", None)
    every_seconds: Count | None = key("how often a long run is saved, in seconds; beside every_steps or alone", None)


class Recipe(Part):
    """A checked experiment; what is a table in a config is one here.

    Made in Python as in a config, `Recipe(model=..., image={"labels": [1]}, ...)`, with paths relative to where one stands.

    Raises:
      UsageError: anything wrong in it, all problems in one line.
    """

    model: Annotated[Recorded[InvertedNames], Aside()] = key(
        "the network: a name of `jinv models`, or the path of its file; or a list of several, a committee"
    )
    committee: CommitteeRecipe = key("how several networks share the objective", CommitteeRecipe())
    seed: Recorded[int] = key("of all random numbers", 0, ge=0, le=2**32 - 1)
    keep: Recorded[Keep] = key("the image of the last step, or of the lowest loss", "last")
    clip: Recorded[Literal["variable", "fixed", "none"]] = key(
        "what pixels are clipped to after each update: black and white, clip_bounds, nothing", "variable"
    )
    clip_bounds: Annotated[Bounds, Written(lambda recipe: recipe.clip == "fixed")] = key(
        'for clip = "fixed": [low, high] in network units', (-2.0, 2.0)
    )
    devices: Devices | None = key('how many devices share a batch, or "all"', None)
    student: Annotated[NetworkName | None, Aside()] = key("a second network, for terms that compare with one", None)
    statistics: Annotated[StatisticsFiles | None, Aside()] = key(
        "recorded statistics (jinv record-stats) that terms compare with, instead of a network's batch norms; one file per network",
        None,
    )
    statistics_momentum: Momentum = key(
        "of an average over steps of the batch statistics that terms see; 0 is the step's own", 0.0
    )
    precision: Precision = key("of the network's arithmetic", "float32")
    remat: bool = key("compute activations again instead of keeping them, to need less memory", False)
    copies: int = key("augmented views of each image per step", 1, ge=1, le=1024)
    log_gradients: Annotated[bool, Aside()] = key(
        "add each term's gradient norm to the logged steps, and the cosines between their gradients", False
    )
    log_statistics: Annotated[bool, Aside()] = key(
        "add to the logged steps how far each layer's batch statistics are off the running ones", False
    )
    log: Annotated[Sinks, Aside()] = key(
        "where else logged steps go, as --log NAME has it: tensorboard, wandb, trackio", ()
    )
    log_every: Annotated[Recorded[Count], Aside()] = key("steps between two logged ones", 10)
    parameterization: Annotated[Parameterization, Written(lambda recipe: False)] = key(
        "that of stages which name none", "pixels"
    )
    image: Recorded[ImageRecipe] = key("how many images, how large, of what")
    stages: Recorded[
        Annotated[
            tuple[StageRecipe, ...],
            MinLen(1),
            Needed("at least one [[stages]] table is needed"),
            BeforeValidator(as_tuple),
        ]
    ] = key("one after another, each going on with the image of the one before")
    augment: Recorded[Augmentations] = key("augmentations by name, in this order", default_factory=dict)
    project: Projections = key(
        "what is applied to plain pixels after each update, by name, in this order; then they are clipped",
        default_factory=dict,
    )
    terms: Recorded[
        Annotated[Terms, MinLen(1), Needed("at least one term is needed in [terms], such as [terms.cross_entropy]")]
    ] = key("the objective's terms by name")
    evaluate: Annotated[EvaluateRecipe, Aside()] = key("who judges the images", EvaluateRecipe())
    metric: Annotated[Metrics, Aside()] = key(
        "what is measured of each finished picture, by the names of plugins' metrics, beside what jinv itself measures",
        default_factory=dict,
    )
    output: OutputRecipe = key("how pictures are written", OutputRecipe())
    checkpoint: Annotated[CheckpointRecipe, Aside()] = key("what long runs save", CheckpointRecipe())

    @property
    def models(self) -> tuple[str, ...]:
        """The networks, one or several."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def statistics_files(self) -> tuple[str, ...]:
        """The files of recorded statistics."""
        return (self.statistics,) if isinstance(self.statistics, str) else self.statistics or ()

    @property
    def shares(self) -> tuple[float, ...]:
        """How much each network counts; they sum to one."""
        weights = self.committee.weights or (1.0,) * len(self.models)
        return tuple(weight / sum(weights) for weight in weights)

    @field_validator("stages", mode="before")
    @classmethod
    def _with_common_keys(cls, stages: Any, info: Any) -> Any:
        common = {"parameterization": info.data.get("parameterization", "pixels")}
        image = info.data.get("image")
        if image is None or image.size is not None:
            # Where [image] itself is wrong, nothing is said of sizes that would come from it.
            common["size"] = image.size if image else 1
        given = stages if isinstance(stages, list | tuple) else ()
        return tuple(common | stage if isinstance(stage, dict) else stage for stage in given) if given else stages

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        yield from _committee_conflicts(table)
        image = _table(table.get("image"))
        init, reference = image.get("init", "noise"), image.get("init_reference")
        if (init == "class_gaussian") != (reference is not None):
            yield 'image.init: "class_gaussian" and image.init_reference = FOLDER_OR_ZIP go together'
        output = _table(table.get("output"))
        if output.get("quality") is not None and output.get("format", "png") != "jpeg":
            yield 'output.quality: is for output.format = "jpeg"; PNG loses nothing'
        largest = _size(image.get("size"))
        given = table.get("stages")
        stages = [_table(entry) for entry in given] if isinstance(given, list | tuple) else []
        for index, stage in enumerate(stages):
            size, start = _size(stage.get("size")), stage.get("start", "image")
            if size and largest and (size[0] > largest[0] or size[1] > largest[1]):
                yield f"stages[{index}].size: {list(size)} is larger than image.size {list(largest)}"
            if index and start != "image" and stages[index - 1].get("upsample") == "crop":
                yield f"stages[{index}].start: {shown(start)} needs all that the stage before saw; that one saw a crop"
            if index == 0 and start != "image":
                yield f"stages[0].start: {shown(start)} needs an earlier stage; the first one starts from image.init"


def replaced(part: PartType, **changes: Any) -> PartType:
    """A recipe, or a part of one, with other values in it; unchecked, so that a sweep may put traced numbers there."""
    unknown = changes.keys() - type(part).model_fields.keys()
    if unknown:
        raise TypeError(f"{type(part).__name__} has no {', '.join(sorted(unknown))}")
    return part.model_copy(update=changes)


_SIZE: TypeAdapter[tuple[int, int]] = TypeAdapter(Size, config={"strict": True})


def _committee_conflicts(table: Mapping[str, Any]) -> Iterator[str]:
    model, committee = table.get("model"), _table(table.get("committee"))
    count = len(model) if isinstance(model, list | tuple) else 1
    weights = committee.get("weights")
    if isinstance(weights, list | tuple) and weights:
        numbers = [weight for weight in weights if isinstance(weight, int | float)]
        if len(weights) != count:
            needed = "one number per network of model, which are"
            yield f"committee.weights: {shown(weights)} must be {needed} {count}"
        elif not any(numbers):
            yield f"committee.weights: {shown(weights)} must not all be 0"
    if committee.get("draw") == "one" and count > 1 and table.get("statistics_momentum"):
        yield 'statistics_momentum: averages steps, and with committee.draw = "one" each asks another network'
    if committee.get("draw") == "one" and count > 1 and table.get("keep") == "best":
        yield "keep: 'best' compares steps, and with committee.draw = \"one\" each is judged by another network"


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping | Part) else {}


def _size(value: Any) -> tuple[int, int] | None:
    try:
        return _SIZE.validate_python(value)
    except ValidationError:
        return None
