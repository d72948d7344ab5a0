"""A training, and a distillation, as plain values: what their configs say, checked; every key is declared here alone."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BeforeValidator

from jinv.core.choices import Mix
from jinv.errors import UsageError
from jinv.recipe.checking import Must, Needed, shown
from jinv.recipe.declaration import Aside, Part, PartType, Recorded, Table, checked, key
from jinv.recipe.overrides import changed_by
from jinv.recipe.read import read_table
from jinv.recipe.recipe import CheckpointRecipe, Recipe, replaced
from jinv.recipe.resolved import asides, differences, table_of
from jinv.recipe.tables import NumberOrSchedule, OpenTable, Optimizer
from jinv.recipe.values import MAXIMUM_STEPS, Count, FilePath, NetworkName, Sinks, Text, Texts, as_tuple

Share = Annotated[int | float, Ge(0), Lt(1), Must("a number of at least 0 and below 1")]
Amount = Annotated[int | float, Ge(0), Le(1e6), Must("a number from 0 to 1e6")]
Positive = Annotated[int | float, Gt(0), Le(1e6), Must("a number above 0 and at most 1e6")]
Level = Annotated[int | float, Ge(0), Le(255)]
Levels = Annotated[Level, Must("a number of levels from 0 to 255")]
"""Of a pixel from 0 to 255."""

Files = Annotated[
    tuple[FilePath, ...],
    MinLen(1),
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else as_tuple(value)),
    Must("the path of a folder, a zip or a run, or a list of one or more of these"),
]


LEAST_LEVELS = 0.25
"""An attack within less trains nothing that can be told from standard training: it is meant as a part of 1."""
KINDS = ("recipe", "run", "real")
"""What a source of images can be."""


class TrainingAugmentTable(OpenTable):
    """An augmentation, of every picture by a draw of its own; its keys are its hyperparameters, see `jinv terms`."""


class MixRecipe(Part):
    """The `[mix]` table: pictures are mixed with others."""

    name: Recorded[Mix] = key("mixup, cutmix, or none", "none")
    alpha: Positive = key("how much: the share is drawn of Beta(alpha, alpha)", 1.0)


class TargetRecipe(Part):
    """The `[target]` table: what a network is to answer."""

    teacher: Annotated[NetworkName | None, Aside()] = key(
        "a network whose softened answers are the targets, instead of the labels", None
    )
    temperature: Positive = key("by which the logits of teacher and pupil are divided", 1.0)
    smoothing: Share = key("of labels: the share that goes to all classes alike", 0.0)


class AdversaryRecipe(Part):
    """The `[adversary]` table: images are attacked while the network is trained. All in levels of a pixel, 0 to 255."""

    name: Recorded[Literal["none", "n_fgsm", "pgd"]] = key(
        "n_fgsm (one step from noise), pgd (several steps), or none", "none"
    )
    eps: Levels = key("how far a pixel is changed", 8)
    step: Levels | None = key("of one step; eps for n_fgsm and 2.5 eps / steps for pgd where it is not given", None)
    steps: Count = key("of pgd", 10)
    noise: Amount = key("of n_fgsm, how many times eps it reaches", 2)


class AttackRecipe(Part):
    """The `[attack]` table: under what the trained network is tested besides, by projected gradient descent."""

    eps: Recorded[
        Annotated[
            tuple[Levels, ...],
            BeforeValidator(
                lambda value: (
                    as_tuple(value)
                    if isinstance(value, list)
                    else (value,)
                    if isinstance(value, int | float)
                    else value
                )
            ),
            Must("a number of levels from 0 to 255, or a list of these"),
        ]
    ] = key("how far pixels are changed, in levels of 0 to 255: one or several; none is tested where it is empty", ())
    steps: Count = key("of the attack", 20)
    step: Levels | None = key("of one step; 2.5 eps / steps where it is not given", None)


class Schooling(Part):
    """How a network is trained, whatever on: the keys that a training and a distillation's student have in common."""

    architecture: Recorded[Text] = key("the network: a name of `jinv models`")
    init: Annotated[NetworkName | None, Aside()] = key(
        "a network whose weights it begins with; drawn where it is not given", None
    )
    epochs: Recorded[Annotated[int, Ge(1), Le(MAXIMUM_STEPS)]] = key("how often all images are shown")
    batch: Recorded[Count] = key("images per update; where it is not given and there are fewer, all of them", 128)
    learning_rate: Recorded[NumberOrSchedule] = key("a number, or a schedule of all updates", 0.1)
    optimizer: Recorded[Optimizer] = key("a name, or a table with its hyperparameters", "sgd")
    weight_decay: Recorded[Amount] = key(
        "times the parameters, added to the gradient before the optimizer sees it", 5e-4
    )
    average: Share = key("decay of the average of the variables that is the result; 0 takes the last ones", 0.0)
    augment: Recorded[dict[str, Annotated[dict[str, Any], Table(TrainingAugmentTable)]]] = key(
        "augmentations by name, in this order", default_factory=dict
    )
    mix: MixRecipe = key("pictures mixed with others", MixRecipe())
    adversary: AdversaryRecipe = key("attacked images instead of those that are there", AdversaryRecipe())
    checkpoint: Annotated[CheckpointRecipe, Aside()] = key("what a long training saves", CheckpointRecipe())

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        """As `Part.conflicts`."""
        for name, example in (("mix", "cutmix"), ("adversary", "pgd")):
            entry = table.get(name)
            # With name = "none" they wait for another one: so is a config tried without it.
            if isinstance(entry, Mapping) and entry and "name" not in entry:
                yield f"{name}.{next(iter(entry))}: of which one? Set {name}.name, such as {example!r}"
        adversary = table.get("adversary")
        kind = adversary.get("name", "none") if isinstance(adversary, Mapping) else "none"
        eps = adversary.get("eps") if isinstance(adversary, Mapping) and kind != "none" else None
        for name, other in (("steps", "pgd"), ("noise", "n_fgsm")):
            if isinstance(adversary, Mapping) and name in adversary and kind in ("n_fgsm", "pgd") and kind != other:
                yield f"adversary.{name}: is of name = {other!r}, and has no effect on {kind!r}"
        if isinstance(eps, int | float) and 0 <= eps < LEAST_LEVELS:
            yield f"adversary.eps: {shown(eps)} must be at least {LEAST_LEVELS} levels of 0 to 255, in which 8/255 is 8; or name = 'none'"


SchoolingType = TypeVar("SchoolingType", bound=Schooling)


class TrainingRecipe(Schooling):
    """A checked training: `jinv train`.

    Raises:
      UsageError: anything wrong in it, all problems in one line.
    """

    train: Annotated[Files, Aside()] = key(
        "folders or zips of images with a folder per class, or runs; pictures of all"
    )
    count: Recorded[Count | None] = key(
        "so many of them, drawn by the seed, as evenly over the classes as they are; all by default", None
    )
    test: Annotated[FilePath | None, Aside()] = key(
        "images with a folder per class that the trained network is tested on", None
    )
    target: TargetRecipe = key("what the network is to answer", TargetRecipe())
    attack: Annotated[AttackRecipe, Aside()] = key("under what it is tested besides", AttackRecipe())
    log: Annotated[Sinks, Aside()] = key("where else epochs' numbers go, as --log NAME has it", ())
    seed: Recorded[Annotated[int, Ge(0), Le(2**32 - 1)]] = key("of all random numbers", 0)

    @property
    def files(self) -> tuple[tuple[str, str | None], ...]:
        """What it names on the disk, by key."""
        train = (("train", path) for path in self.train)
        return ("init", self.init), *train, ("test", self.test), ("target.teacher", self.target.teacher)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        """As `Part.conflicts`."""
        yield from super().conflicts(table)
        attack, target = table.get("attack"), table.get("target")
        if isinstance(attack, Mapping) and attack and "eps" not in attack:
            yield f"attack.{next(iter(attack))}: of which attack? Set attack.eps, such as 8"
        if isinstance(attack, Mapping) and attack.get("eps") and table.get("test") is None:
            yield "attack.eps: attacks are of the images of test = FOLDER_OR_ZIP"
        if isinstance(target, Mapping) and target.get("teacher") and target.get("smoothing"):
            yield "target.smoothing: is of labels, and target.teacher answers instead of them"
        if isinstance(target, Mapping) and target.get("temperature", 1) != 1 and not target.get("teacher"):
            yield "target.temperature: is of a teacher's answers; set target.teacher = NAME_OR_FILE"


class SourceRecipe(Part):
    """An `[images.NAME]` table: what students are trained on; one of `recipe`, `run` and `real`."""

    recipe: FilePath | None = key("a config of `jinv synthesize`, which is carried out first", None)
    model: NetworkName | None = key("the network that the recipe inverts; the teacher where it is not given", None)
    set: Texts = key("keys of that config that are others: a list of key.path=value", ())
    after: Text | None = key(
        "another source: half of its images, and as many of the recipe's with its first student as `student`", None
    )
    run: FilePath | None = key("a run that is there", None)
    real: FilePath | None = key("a folder or zip of real images with a folder per class", None)


class StudentRecipe(Schooling):
    """The `[student]` table: the network that is trained on each source's images, and how."""

    temperature: Positive = key("by which the logits of teacher and student are divided", 1.0)


class DistillationRecipe(Part):
    """A checked distillation: `jinv distill`."""

    teacher: Annotated[NetworkName, Aside()] = key(
        "the network that is distilled, by name or file; it answers for every image"
    )
    count: Recorded[Count] = key("images of each source")
    seeds: Recorded[
        Annotated[
            tuple[Annotated[int, Ge(0), Le(2**32 - 1)], ...],
            MinLen(1),
            BeforeValidator(as_tuple),
            Must(f"a list of one or more whole numbers from 0 to {2**32 - 1}"),
        ]
    ] = key("of the students of each source, one per seed", (0, 1, 2))
    test: Annotated[FilePath, Aside()] = key("real images with a folder per class that every student is tested on")
    log: Annotated[Sinks, Aside()] = key("where else numbers of runs and students go, as --log NAME has it", ())
    student: Recorded[StudentRecipe] = key("the network that is trained on each source's images, and how")
    images: Recorded[
        Annotated[
            dict[str, Annotated[dict[str, Any], Table(SourceRecipe)]],
            MinLen(1),
            Needed("at least one source is needed, such as [images.real]"),
        ]
    ] = key("what students are trained on, by name")

    @property
    def files(self) -> tuple[tuple[str, str | None], ...]:
        """What it names on the disk, by key."""
        inside = (
            (f"images.{name}.{key}", getattr(source, key))
            for name, source in self.sources.items()
            for key in ("model", "run", "real")
        )
        return ("teacher", self.teacher), ("test", self.test), *inside

    @property
    def sources(self) -> dict[str, SourceRecipe]:
        """What students are trained on, by name."""
        return {name: SourceRecipe.model_construct(**table) for name, table in self.images.items()}

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[str]:
        """As `Part.conflicts`."""
        student, seeds, images = (table.get(name) for name in ("student", "seeds", "images"))
        if isinstance(student, Mapping):
            yield from (f"student.{problem}" for problem in Schooling.conflicts(student))
        if isinstance(seeds, list | tuple) and any(seed in seeds[:place] for place, seed in enumerate(seeds)):
            yield f"seeds: {shown(list(seeds))} has one twice: the same student would count as two"
        sources = (
            {name: entry for name, entry in images.items() if isinstance(entry, Mapping)}
            if isinstance(images, Mapping)
            else {}
        )
        for place, (name, source) in enumerate(sources.items()):
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", str(name)):
                yield f"images.{shown(name)}: must be a name of small letters, digits, - and _: it becomes a folder's"
            given = [kind for kind in KINDS if source.get(kind)]
            if len(given) != 1:
                yield f"images.{name}: one of {', '.join(KINDS)} is needed, not {' and '.join(given) or 'none'}"
            for other in ("model", "set", "after") if source.get("recipe") is None else ():
                if source.get(other):
                    yield f"images.{name}.{other}: goes with recipe = CONFIG"
            yield from (f"images.{name}.set: {problem}" for problem in _decided_elsewhere(name, source.get("set")))
            before = list(sources)[:place]
            if source.get("after") is not None and source["after"] not in before:
                yield f"images.{name}.after: {shown(source['after'])} must be a source before it (known: {', '.join(before)})"
            elif sources.get(source.get("after") or "", {}).get("after"):
                yield f"images.{name}.after: {shown(source['after'])} goes on from another itself: half its images are that one's"


def _decided_elsewhere(name: str, changes: Any) -> Iterator[str]:
    """Of a source's `set` what would have no effect."""
    for change in changes if isinstance(changes, list | tuple) else ():
        key = str(change).partition("=")[0].strip()
        if key in ("model", "image.count"):
            yield f"{key}: is not set here; {f'images.{name}.model' if key == 'model' else 'count'} says it"


def in_batches(part: SchoolingType, count: int, key: str, whose: str) -> SchoolingType:
    """The schooling of so many images with a batch that there is: a default beyond them means all.

    Raises:
      UsageError: one that was given; the message begins with `key` and says `whose` the images are.
    """
    if part.batch <= count:
        return part
    if "batch" in part.model_fields_set:
        raise UsageError.of(key, f"{part.batch} must be at most {count}, the number of images of {whose}")
    return replaced(part, batch=count)


def changes_since(before: Mapping[str, Any], part: PartType, where: Path, ignored: Collection[str] = ()) -> list[str]:
    """What differs between a config as it was begun, which lies at `where`, and `part`, but for what decides nothing and `ignored`.

    Raises:
      UsageError: it is none that this jinv reads.
    """
    kind = type(part)
    past = checked(kind, before, where=str(where), folder=where.parent)
    tables = (table_of(one, every_key=True) for one in (past, part))
    return differences(*tables, ignored={*asides(kind), *ignored})


def kind_of_config(path: Path) -> "type[TrainingRecipe] | type[DistillationRecipe] | None":
    """Whose keys a config has most of: a training's, a distillation's, or None for a run's; raises as `read_config`."""
    keys = read_table(path).keys()
    shared = {kind: len(keys & kind.model_fields.keys()) for kind in (TrainingRecipe, DistillationRecipe)}
    most = max(shared, key=lambda kind: shared[kind])
    return most if shared[most] > len(keys & Recipe.model_fields.keys()) else None


def complete_table(part: TrainingRecipe | DistillationRecipe) -> dict[str, Any]:
    """A config with every default that has an effect, which reads as the same one."""
    table = table_of(part, every_key=True)
    for schooling in (table, table.get("student", {})):
        adversary = schooling.get("adversary", {})
        adversary.pop({"pgd": "noise", "n_fgsm": "steps"}.get(adversary.get("name"), ""), None)
    return table


def read_training(path: Path, kind: type[PartType], overrides: tuple[str, ...] = ()) -> PartType:
    """Read and check a config of a training or a distillation; raises as `recipe.read.read_config`."""
    changed = changed_by({"--set": overrides})
    return checked(kind, read_table(path, overrides), where=str(path), folder=path.parent, changed=changed)
