"""evaluation.json: what networks say of a run's images, and what the pictures say by themselves.

    {"verifiers": {name: verdict}, "pictures": {...}, "reference": "folder of real images",
     "photographs": {"source": "folder of real images", "pictures": {...}}}

Strangers come first among the verifiers, then those of unknown relation, siblings, the student, the inverted network.
On disk a share and its interval lie side by side (`top1`, `interval`); here they are one `Estimate`. A figure for which
there were too few images is `Withheld`, and says how many it takes.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import model_validator

from jinv.errors import legible
from jinv.files import atomic_path
from jinv.record.entry import Entry, Whole, read_json, validated
from jinv.record.estimate import Estimate

Part = Literal["inverted", "student"]
"""What a network was in the synthesis."""

Relation = Literal["stranger", "unknown", "sibling", "student", "inverted"]
"""What a judge is to the inverted network, in the order in which judges are named; see `jinv.judge.relations`."""

RELATIONS: tuple[Relation, ...] = get_args(Relation)


class Withheld(Entry):
    """Why there is no figure."""

    withheld: str


class Overlap(Entry):
    """How the run's images and the real ones overlap; each from 0 to 1, density may be larger."""

    precision: float
    recall: float
    density: float
    coverage: float


class Distance(Entry):
    """A distance for which there is no interval."""

    value: float


class Diversity(Entry):
    """Mean feature distance between two images of a class, and by class id."""

    value: float
    classes: dict[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A real image near to one of the run's; `file` is its thumbnail in the run, where one is kept."""

    name: str
    distance: float
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The real images nearest to one of the run's, nearest first."""

    image: str
    neighbors: tuple[Neighbor, ...]


class _Shares(Entry):
    """Has shares of `count` images, in the file each beside its interval."""

    INTERVALS: ClassVar[Mapping[str, str]] = {"top1": "interval", "top5": "top5_interval"}

    @model_validator(mode="before")
    @classmethod
    def _with_intervals(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        table = dict(table)
        for share, interval in cls.INTERVALS.items():
            if table.get(share) is not None and not isinstance(table[share], Estimate):
                ends = table.pop(interval, None)
                if not isinstance(ends, list) or len(ends) != 2:
                    raise ValueError(f"{interval} must be the two ends of the interval of {share}")
                table[share] = {"value": table[share], "low": ends[0], "high": ends[1], "count": table.get("count")}
        return table

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in table.items():
            if key in self.INTERVALS:
                result |= {key: value["value"], self.INTERVALS[key]: [value["low"], value["high"]]}
            else:
                result[key] = value
        return result


def _known(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


class RealImages(_Shares):
    """A verdict's entry `reference`: the run's images beside `count` real ones, in features of so many dimensions.

    `top1` is what the network makes of the real images themselves, where their folders are named after its classes.
    sampled: of how many, drawn class by class, the features are compared, where it is not all.
    """

    count: Whole
    sampled: Whole | None = None
    features: Whole
    kernel_distance: Estimate | Withheld
    overlap: Overlap | Withheld
    frechet_distance: Distance | Withheld
    nearest: tuple[Nearest, ...] = ()
    top1: Estimate | None = None
    diversity: Diversity | Withheld | None = None

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        nearest = [entry | {"neighbors": list(map(_known, entry["neighbors"]))} for entry in table["nearest"]]
        return super()._laid_out(table | {"nearest": nearest})


class Photographed(_Shares):
    """What a network makes of `count` real images of the classes: the ceiling of its figures.

    `mean_confidence` is its confidence in their own classes.
    """

    count: Whole
    top1: Estimate
    top5: Estimate
    mean_confidence: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A network's opinion of one image: its label's probability, and the class it takes it for, id and name.

    No `Entry`, which would weigh ten times as much: a run has one for every image and judge.
    """

    image: str
    label: Whole
    label_confidence: float | None = None
    predicted: Whole | None = None
    class_name: str
    confidence: float
    correct: bool


class Verdict(_Shares):
    """One network's opinion of all `count` images.

    norm_distances: per batch-norm layer, by what fraction means and variances are off. mean_confidence: in the wanted
    classes. `independent` is false, and `part` says which, for a network that the images were made to please; a
    sibling of that one is no stranger for it, so it is `relation` that says what an opinion is worth. family, training:
    the judge's own, None is unknown. accuracy: its published top-1 share of real images. table_sha256: of what was said of
    an ONNX file, its preprocessing before all. sampled: of how many images, drawn class by class, features are compared
    (`diversity`, and all of `reference` but `nearest`), where it is not all.
    """

    NULLS = ("sha256",)

    architecture: str | None = None
    sha256: str | None = None
    table_sha256: str | None = None
    input_size: Whole | None = None
    count: Whole
    sampled: Whole | None = None
    top1: Estimate
    top5: Estimate | None = None
    mean_confidence: Estimate | None = None
    norm_distances: tuple[tuple[float, float], ...] = ()
    diversity: Diversity | Withheld | None = None
    per_image: tuple[Opinion, ...]
    reference: RealImages | None = None
    independent: bool = True
    part: Part | None = None
    relation: Relation | None = None
    family: str | None = None
    training: str | None = None
    accuracy: float | None = None
    photographs: Photographed | None = None

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        return super()._laid_out(table | {"per_image": list(map(_known, table["per_image"]))})

    @property
    def kin(self) -> Relation:
        """The relation; of an evaluation from before there was one, what is known of it."""
        return self.relation or self.part or ("unknown" if self.independent else "inverted")


def in_order(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts with strangers first, else as they were."""
    return dict(sorted(verdicts.items(), key=lambda item: RELATIONS.index(item[1].kin)))


@dataclass(frozen=True)
class PictureFigure(Estimate):
    """A mean over pictures, with every picture's own value."""

    per_image: tuple[float, ...] = ()


@dataclass(frozen=True)
class MetricFigure(PictureFigure):
    """Of a plugin's metric: the sha256 of the plugin's file, and the hyperparameters that are not at their defaults."""

    sha256: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


class Pictures(Entry):
    """What the pictures say without any network; see `jinv.images.metrics`. metrics: of plugins, by name."""

    count: Whole
    high_frequency_energy: PictureFigure
    mean_variation: PictureFigure
    mean_frequency: PictureFigure
    contrast: PictureFigure | None = None
    saturation: PictureFigure | None = None
    metrics: dict[str, MetricFigure] = {}

    def _laid_out(self, table: dict[str, Any]) -> dict[str, Any]:
        return table if self.metrics else {key: value for key, value in table.items() if key != "metrics"}


class Control(Entry):
    """Where real images of the run's classes were, and what they say without any network, as `Pictures` of the run."""

    source: str
    pictures: Pictures


class ControlEvaluation(Entry):
    """What networks say of real images alone, without a run."""

    verifiers: dict[str, Photographed]
    photographs: Control


class Evaluation(Entry):
    """All of evaluation.json. `reference` is where the real images to compare with were."""

    verifiers: dict[str, Verdict] = {}
    pictures: Pictures | None = None
    reference: str | None = None
    photographs: Control | None = None


def read_evaluation(path: Path) -> Evaluation | None:
    """The evaluation in `path`, None where there is no such file.

    Raises:
      UnsafeInputError: it is damaged. StorageError: it cannot be read.
    """
    table = read_json(path)
    return None if table is None else validated(Evaluation, table, path)


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write evaluation.json, one opinion after another: as one text those of 50,000 images would take gigabytes.

    Raises:
      StorageError: it cannot be written.
    """
    mark = secrets.token_hex(16)
    bare = {name: verdict.model_copy(update={"per_image": ()}) for name, verdict in evaluation.verifiers.items()}
    table = legible(evaluation.model_copy(update={"verifiers": bare}).to_json())
    for verdict in table.get("verifiers", {}).values():
        verdict["per_image"] = mark
    before, *rest = json.dumps(table, indent=1).split(json.dumps(mark))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(before)
        for verdict, after in zip(evaluation.verifiers.values(), rest, strict=True):
            file.writelines(_opinions_text(verdict.per_image))
            file.write(after)
        file.write("\n")


def _opinions_text(opinions: tuple[Opinion, ...]) -> Iterator[str]:
    """The list as `json.dumps` lays it out where it lies."""
    for number, opinion in enumerate(opinions):
        text = json.dumps(legible(_known(asdict(opinion))), indent=1).replace("\n", "\n    ")
        yield f"{',' if number else '['}\n    {text}"
    yield "\n   ]" if opinions else "[]"
