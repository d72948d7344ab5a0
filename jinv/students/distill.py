"""Are images worth anything? Students are trained on each source of them alone, and tested on real images.

    images/NAME/            a run, of a source that is synthesised
    students/NAME/seed_0/   a training
    distillation.json  distillation.html

A source's figure beside that of as many random real images under the same recipe is what DD-Ranking (Li et al. 2025) asks
for: soft labels and augmentation alone make students of anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.special import stdtrit

from jinv.console import Waiting, make_console, say
from jinv.errors import RunConflictError, UsageError
from jinv.experiment.vocabulary import Vocabulary
from jinv.files import make_directory, write_text
from jinv.images.folder import Watch
from jinv.judge.picture_metrics import mean_interval
from jinv.models.classifier import Classifier
from jinv.recipe.packaged import find_config
from jinv.recipe.read import read_config
from jinv.recipe.recipe import Recipe, replaced
from jinv.recipe.resolved import table_of
from jinv.recipe.training import (
    DistillationRecipe,
    Schooling,
    SourceRecipe,
    TargetRecipe,
    TrainingRecipe,
    changes_since,
)
from jinv.record.begun import begun_config, is_begun
from jinv.record.config import signed_text
from jinv.record.directory import RunDirectory
from jinv.record.distillation import RECORD, DistillationRecord, Source, Student
from jinv.record.estimate import Estimate
from jinv.record.lock import held
from jinv.record.training import NETWORK, TrainingRecord
from jinv.report.distillation import write_distillation_page
from jinv.runs import synthesize
from jinv.runs.progress import teller
from jinv.runs.records import environment
from jinv.runs.stopping import stoppable
from jinv.students.inputs import Given
from jinv.students.pictures import Pictures, read_pictures
from jinv.students.train import train
from jinv.training.accuracy import recognised
from jinv.weights.load import load

IMAGES, STUDENTS = "images", "students"


@dataclass(frozen=True, eq=False)
class Bench:
    """What all sources have in common."""

    recipe: DistillationRecipe
    directory: Path
    teacher: Classifier
    test: Pictures
    console: Console
    vocabulary: Vocabulary | None
    given: Given

    def run(self, name: str) -> Path:
        """Where a source's images are synthesised."""
        return self.directory / IMAGES / name

    def student(self, name: str, seed: int) -> Path:
        """Where a student is trained."""
        return self.directory / STUDENTS / name / f"seed_{seed}"


def distill(
    recipe: DistillationRecipe,
    directory: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> DistillationRecord:
    """Carry a distillation out in `directory`; returns its record. It is stopped as a run is, and goes on with `resume`.

    Raises:
      JinvError: anything a user can mend. Interrupted: it was stopped; a call with `resume` goes on.
    """
    console = console or make_console(stderr=True)
    RunDirectory(directory).check_place()
    with held(directory, teller(console)):
        _check_directory(directory, recipe, resume)
        experiments = {name: experiment_of(recipe, source) for name, source in recipe.sources.items() if source.recipe}
        teacher = load(recipe.teacher)
        with stoppable() as stop, Waiting(console) as waiting:
            watch = stop.watched(waiting.watch, directory)
            test = read_pictures((recipe.test,), teacher.class_names, teacher.input_size, "test", watch)
            right = recognised(teacher, teacher.variables, test.data)
        _begin(directory, recipe)
        given = Given()
        given.test = test
        bench = Bench(recipe, directory, teacher, test, console, vocabulary, given)
        record = DistillationRecord(
            jinv=version("jinv"),
            teacher=teacher.architecture,
            teacher_sha256=teacher.source["source_sha256"],
            teacher_right=int(right.sum()),
            test_images=len(right),
            device=environment().device,
        )
        for name, source in recipe.sources.items():
            say(console, f"source {name}")
            found = _carry_out(bench, name, source, experiments.get(name))
            record = record.model_copy(update={"sources": _compared(recipe, (*record.sources, found))})
            _write(directory, record)
        record = record.model_copy(update={"finished": datetime.now(UTC).isoformat(timespec="seconds")})
        _write(directory, record)
        return record


def _check_directory(directory: Path, recipe: DistillationRecipe, resume: bool) -> None:
    """Can the distillation begin, or go on, there?

    Raises:
      RunConflictError: something is there, or another distillation. UnsafeInputError: its config is damaged.
    """
    if not is_begun(directory, resume=resume):
        return
    config = directory / "config.toml"
    if not config.exists():
        raise RunConflictError(f"{directory}: not a distillation (no config.toml); choose another --out")
    before = begun_config(config)
    # A source more is no other distillation: those that are there are kept.
    new = {f"images.{name}" for name in recipe.images if name not in before.get("images", {})}
    if changed := changes_since(before, recipe, config, new):
        raise RunConflictError(f"{directory}: was begun otherwise: {'; '.join(changed)}")


def _begin(directory: Path, recipe: DistillationRecipe) -> None:
    make_directory(directory)
    write_text(directory / "config.toml", signed_text(table_of(recipe)))


def experiment_of(recipe: DistillationRecipe, source: SourceRecipe) -> Recipe:
    """The synthesis of a source's images, with the teacher as its model where the source names none.

    Raises:
      JinvError: as `read_config`.
    """
    assert source.recipe is not None
    count = recipe.count - recipe.count // 2 if source.after else recipe.count
    path = find_config(source.recipe)
    found = read_config(path, (*source.set, f"image.count={count}"))
    return replaced(found, model=source.model or recipe.teacher)


def _carry_out(bench: Bench, name: str, source: SourceRecipe, experiment: Recipe | None) -> Source:
    """Make a source's images and its students, or take those that are there."""
    kind = "recipe" if source.recipe else "run" if source.run else "real"
    seconds = None
    made: Pictures | None = None
    if experiment is not None:
        made, seconds = _synthesised(bench, name, source, experiment)
    students, digest = [], ""
    for seed in bench.recipe.seeds:
        pictures = made or _read(bench, name, source, seed)
        digest = digest or pictures.sha256
        trained = _trained(bench, name, seed, pictures)
        tested = trained.tested[0]
        students.append(Student(seed=seed, right=tested.right, count=tested.count, seconds=trained.wall_seconds))
    return Source(
        name=name,
        kind=kind,
        images=bench.recipe.count,
        model=None if experiment is None else Path(str(experiment.model)).name,
        sha256=digest,
        synthesis_seconds=seconds,
        students=tuple(students),
        share=mean_interval([student.right / student.count for student in students], 0, 1),
    )


def _synthesised(bench: Bench, name: str, source: SourceRecipe, experiment: Recipe) -> tuple[Pictures, float]:
    """A source's images, and the seconds that they took, those of the source that it goes on from included."""
    first, seconds = None, 0.0
    if source.after:
        before = bench.recipe.sources[source.after]
        first = _read(bench, source.after, before, bench.recipe.seeds[0])
        keep = bench.recipe.count // 2
        first = Pictures(first.pixels[:keep], first.labels[:keep])
        student = bench.student(source.after, bench.recipe.seeds[0]) / NETWORK
        experiment = replaced(experiment, student=str(student))
        manifest = RunDirectory(bench.run(source.after)).manifest()
        seconds = (manifest.wall_seconds or 0.0) / 2 if manifest else 0.0
    run = synthesize.run(experiment, bench.run(name), resume=True, console=bench.console, vocabulary=bench.vocabulary)
    pictures = _pictures(bench, (str(bench.run(name)),), name)
    if first is not None:
        pictures = Pictures(*(np.concatenate(pair) for pair in zip(first, pictures, strict=True)))
    return pictures, seconds + (run.known_manifest().wall_seconds or 0.0)


def _read(bench: Bench, name: str, source: SourceRecipe, seed: int) -> Pictures:
    """A source's pictures: of real ones as many as of the others, drawn by the student's seed."""
    path = str(bench.run(name)) if source.recipe else source.run or source.real
    assert path is not None
    pictures, count = _pictures(bench, (path,), name), bench.recipe.count
    if len(pictures.labels) < count:
        raise UsageError(f"images.{name}: {path} has {len(pictures.labels)} images, count is {count}")
    return pictures.drawn(count, seed) if source.real else Pictures(pictures.pixels[:count], pictures.labels[:count])


def _pictures(bench: Bench, paths: Sequence[str], name: str) -> Pictures:
    with stoppable() as stop, Waiting(bench.console) as waiting:
        watch: Watch = stop.watched(waiting.watch, bench.directory)
        return read_pictures(paths, bench.teacher.class_names, bench.teacher.input_size, f"images.{name}", watch)


def _trained(bench: Bench, name: str, seed: int, pictures: Pictures) -> TrainingRecord:
    student = bench.recipe.student
    lessons = TrainingRecipe.model_construct(
        **{key: getattr(student, key) for key in Schooling.model_fields},
        train=(str(bench.run(name)),),
        count=None,
        test=bench.recipe.test,
        target=TargetRecipe(teacher=bench.recipe.teacher, temperature=student.temperature),
        attack=TrainingRecipe.model_fields["attack"].get_default(),
        seed=seed,
    )
    bench.given.pictures = pictures
    say(bench.console, f"student of {name}, seed {seed}")
    return train(
        lessons,
        bench.student(name, seed),
        resume=True,
        console=bench.console,
        vocabulary=bench.vocabulary,
        given=bench.given,
    )


def _compared(recipe: DistillationRecipe, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Each source beside the first one of real images, as far as there is one."""
    real = next((source for source in sources if source.kind == "real"), None)
    if real is None:
        return sources
    return tuple(
        source if source is real else source.model_copy(update={"behind": difference(shares(source), shares(real))})
        for source in sources
    )


def shares(source: Source) -> np.ndarray:
    """The share that each student recognises."""
    return np.array([student.right / student.count for student in source.students])


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """The difference of two means with Welch's 95 % interval (Welch 1947); unknown ends where one has a single value."""
    value = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        return Estimate(value)
    parts = [x.var(ddof=1) / len(x) for x in (a, b)]
    if not sum(parts):
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    half = float(stdtrit(freedom, 0.975)) * sum(parts) ** 0.5
    return Estimate(value, value - half, value + half)


def _write(directory: Path, record: DistillationRecord) -> None:
    RunDirectory(directory).write_json(RECORD, record.to_json())
    write_distillation_page(directory, record)
