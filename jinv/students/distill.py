"""Are images worth anything? Students are trained on each source of them alone, and tested on real images.

    images/NAME/            a run, of a source that is synthesised
    students/NAME/seed_0/   a training
    distillation.json  distillation.html

A source's figure beside that of as many random real images under the same recipe is what DD-Ranking (Li et al. 2025) asks
for: soft labels and augmentation alone make students of anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from jinv.console import Waiting, make_console, say
from jinv.errors import NumericalError, UsageError, naming
from jinv.experiment.blame import blaming
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.images.folder import Watch
from jinv.judge.picture_metrics import mean_interval
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe, replaced
from jinv.recipe.training import (
    DistillationRecipe,
    Schooling,
    SourceRecipe,
    TargetRecipe,
    TrainingRecipe,
    in_batches,
)
from jinv.record.directory import RunDirectory
from jinv.record.distillation import DistillationRecord, Source, Student, run_folder, student_folder
from jinv.record.lock import held
from jinv.record.training import NETWORK, TrainingRecord
from jinv.runs import synthesize
from jinv.runs.checks import check_run
from jinv.runs.progress import teller
from jinv.runs.sinks import check_sinks
from jinv.runs.stopping import Stop, stoppable
from jinv.students.comparison import compared, shares
from jinv.students.inputs import Given, experiment_of, new_network, with_stand_in
from jinv.students.pictures import Kind, Pictures, check_unseen, read_pictures
from jinv.students.record import begin, check_directory, new_record, write
from jinv.students.train import train
from jinv.students.trained import begin_again
from jinv.training.accuracy import recognised


@dataclass(frozen=True, eq=False)
class Bench:
    """What all sources have in common."""

    recipe: DistillationRecipe
    directory: Path
    teacher: Classifier
    test: Pictures
    console: Console
    vocabulary: Vocabulary
    given: Given
    stop: Stop

    def run(self, name: str) -> Path:
        """Where a source's images are synthesised."""
        return run_folder(self.directory, name)

    def student(self, name: str, seed: int) -> Path:
        """Where a student is trained."""
        return student_folder(self.directory, name, seed)

    def path(self, name: str) -> str:
        """Where a source's images are."""
        source = self.recipe.sources[name]
        path = str(self.run(name)) if source.recipe else source.run or source.real
        assert path is not None
        return path


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
    vocabulary = vocabulary or standard_vocabulary()
    student = in_batches(recipe.student, recipe.count, "student.batch", "every source (count)")
    recipe = replaced(recipe, student=student)
    check_sinks(recipe.log)
    RunDirectory(directory).check_place()
    with held(directory, teller(console)), stoppable() as stop:
        earlier = check_directory(directory, recipe, resume)
        experiments = {name: experiment_of(recipe, name) for name, source in recipe.sources.items() if source.recipe}
        given = Given()
        with naming("teacher"):
            teacher = given.network(recipe.teacher, vocabulary)
        with Waiting(console) as waiting:
            watch = stop.watched(waiting.watch, directory)
            given.test = read_pictures((recipe.test,), teacher.class_names, teacher.input_size, "test", watch, "real")
            right = recognised(
                teacher,
                teacher.variables,
                given.test.data,
                watch=lambda batches: watch(batches, "testing the teacher", len(batches)),
            )
        bench = Bench(recipe, directory, teacher, given.test, console, vocabulary, given, stop)
        _check_sources(bench, experiments)
        record = new_record(recipe, teacher, right, given.test.sha256, earlier)
        begin(directory, recipe, record)
        return _compare(bench, experiments, record)


def _compare(bench: Bench, experiments: Mapping[str, Recipe], record: DistillationRecord) -> DistillationRecord:
    """Carry out every source, one after another; a student of no finite loss takes its source out of the comparison.

    Raises:
      NumericalError: such sources; the others are done. Interrupted: it was stopped.
    """
    failed = dict[str, NumericalError]()
    for name, source in bench.recipe.sources.items():
        bench.stop.check(bench.directory, f"before the source {name}")
        say(bench.console, f"source {name}")
        found = {source.name: source for source in record.sources}
        try:
            found[name] = _carry_out(bench, name, source, experiments.get(name))
        except NumericalError as error:
            found.pop(name, None)
            failed[name] = error
            say(bench.console, f"source {name} failed: {error}")
        ordered = tuple(found[one] for one in bench.recipe.images if one in found)
        record = record.model_copy(update={"sources": compared(ordered)})
        write(bench.directory, record)
    if failed:
        write(bench.directory, record.model_copy(update={"failed": tuple(failed)}))
        said = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise NumericalError(f"{bench.directory}: all sources are done but {said}")
    record = record.model_copy(update={"finished": datetime.now(UTC).isoformat(timespec="seconds")})
    write(bench.directory, record)
    return record


def _check_sources(bench: Bench, experiments: Mapping[str, Recipe]) -> None:
    """All that can be wrong with a source or the students, before the first of them costs hours.

    Raises:
      JinvError: something is.
    """
    name, *_ = bench.recipe.images
    lessons = _lessons(bench, name, bench.recipe.seeds[0])
    with naming("student"):
        with naming("init"):
            init = None if lessons.init is None else bench.given.network(lessons.init, bench.vocabulary)
        network = new_network(lessons, init, bench.teacher, bench.vocabulary)
        program = bench.given.program(lessons, network, bench.teacher, bench.recipe.count, bench.vocabulary)
        with blaming(bench.vocabulary):
            program.check_traces(network.variables)
    shared = Shared()
    for name, source in bench.recipe.sources.items():
        bench.stop.check(bench.directory, f"before the source {name} was looked at")
        if source.recipe is None:
            found = _pictures(bench, name)
            if source.real:
                check_unseen(found, bench.test, f"images.{name}", source.real)
            _chosen(bench, name, found, bench.recipe.seeds[0])
        else:
            experiment = with_stand_in(bench.recipe, name, experiments[name])
            with naming(f"images.{name}", another=True):
                check_run(experiment, shared, bench.vocabulary, say=teller(bench.console)).check_traces()


def _carry_out(bench: Bench, name: str, source: SourceRecipe, experiment: Recipe | None) -> Source:
    """Make a source's images and its students, or take those that are there."""
    kind = "recipe" if source.recipe else "run" if source.run else "real"
    seconds = None
    if experiment is None:
        found = _pictures(bench, name)
    else:
        found, seconds = _synthesised(bench, name, source, experiment)
    students, digest = [], ""
    for seed in bench.recipe.seeds:
        bench.stop.check(bench.directory, f"before the student of {name} of seed {seed}")
        pictures = _chosen(bench, name, found, seed)
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
        share=mean_interval(list(shares(students)), 0.0, 1.0),
    )


def _synthesised(bench: Bench, name: str, source: SourceRecipe, experiment: Recipe) -> tuple[Pictures, float]:
    """A source's images, and the seconds that they took, those of the source that it goes on from included."""
    first, seconds = None, 0.0
    if source.after:
        before = _chosen(bench, source.after, _pictures(bench, source.after), bench.recipe.seeds[0])
        first = before.drawn(bench.recipe.count // 2, 0)
        student = bench.student(source.after, bench.recipe.seeds[0]) / NETWORK
        experiment = replaced(experiment, student=str(student))
        manifest = RunDirectory(bench.run(source.after)).manifest()
        seconds = (manifest.wall_seconds or 0.0) / 2 if manifest else 0.0
    run = synthesize.run(experiment, bench.run(name), resume=True, console=bench.console, vocabulary=bench.vocabulary)
    pictures = _pictures(bench, name)
    if first is not None:
        pictures = Pictures(*(np.concatenate(pair) for pair in zip(first, pictures, strict=True)))
    return pictures, seconds + (run.known_manifest().wall_seconds or 0.0)


def _pictures(bench: Bench, name: str) -> Pictures:
    """All of a source's pictures."""
    with Waiting(bench.console) as waiting:
        watch: Watch = bench.stop.watched(waiting.watch, bench.directory)
        teacher = bench.teacher
        kind: Kind = "real" if bench.recipe.sources[name].real else "run"
        path, key = (bench.path(name),), f"images.{name}"
        return read_pictures(path, teacher.class_names, teacher.input_size, key, watch, kind)


def _chosen(bench: Bench, name: str, pictures: Pictures, seed: int) -> Pictures:
    """`count` of a source's pictures, as many of each class as of the others; real ones are drawn by the student's seed.

    Raises:
      UsageError: there are not so many.
    """
    real, count = bench.recipe.sources[name].real, bench.recipe.count
    if len(pictures.labels) < count:
        raise UsageError.of(f"images.{name}", f"{bench.path(name)} has {len(pictures.labels)} images, count is {count}")
    if real is None and len(pictures.labels) == count:
        return pictures
    return pictures.drawn(count, seed if real else 0)


def _trained(bench: Bench, name: str, seed: int, pictures: Pictures) -> TrainingRecord:
    bench.given.pictures = pictures
    say(bench.console, f"student of {name}, seed {seed}")
    begin_again(bench.student(name, seed), bench.console)
    return train(
        _lessons(bench, name, seed),
        bench.student(name, seed),
        resume=True,
        console=bench.console,
        vocabulary=bench.vocabulary,
        given=bench.given,
    )


def _lessons(bench: Bench, name: str, seed: int) -> TrainingRecipe:
    student = bench.recipe.student
    return TrainingRecipe.model_construct(
        **{key: getattr(student, key) for key in Schooling.model_fields},
        train=(bench.path(name),),
        count=None,
        test=bench.recipe.test,
        target=TargetRecipe(teacher=bench.recipe.teacher, temperature=student.temperature),
        attack=TrainingRecipe.model_fields["attack"].get_default(),
        log=bench.recipe.log,
        seed=seed,
    )
