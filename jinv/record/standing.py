"""How far a search, a training or a distillation is, from its records alone; `read_any_status` says it of whatever lies there."""

from pathlib import Path
from typing import Literal

from jinv.errors import JinvError, UnsafeInputError, UsageError
from jinv.recipe.training import KINDS, DistillationRecipe, read_training
from jinv.record.begun import begun_config, has_come
from jinv.record.config import CONFIG
from jinv.record.distillation import DistillationRecord, Source, read_distillation, run_folder, student_folder
from jinv.record.entry import Entry, Whole, read_json, validated
from jinv.record.estimate import Estimate
from jinv.record.kinds import RECORDS, kind_of
from jinv.record.lock import held_by
from jinv.record.status import RunStatus, SweepStatus, read_status, settings_in
from jinv.record.timing import read_epoch_times
from jinv.record.training import EPOCHS, SEALED, Tested, TrainingRecord, read_epochs, read_training_record

State = Literal["not begun", "unfinished", "diverged", "failed", "finished"]
"""diverged: a training whose loss stopped being finite. failed: a distillation of which a source's did, and all others are done."""


class SearchStatus(Entry):
    """A search: its trials that have begun, as runs. trials: as many as were asked for last, where search.json says it;
    done: those in it, of which diverged ended without an objective. at_work: who works on it, in words."""

    kind: Literal["search"] = "search"
    path: str
    trials: Whole | None = None
    done: Whole
    diverged: Whole = 0
    at_work: str | None = None
    settings: tuple[RunStatus, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for."""
        if self.trials is not None:
            return self.done >= self.trials
        return all(setting.problem or setting.is_over for setting in self.settings)


class _Trial(Entry):
    diverged_at_step: Whole | None = None


class _SearchRecord(Entry):
    """Of search.json what is asked here."""

    wanted: Whole | None = None
    trials: tuple[_Trial, ...] = ()


class TrainingStatus(Entry):
    """A training, at one moment. epochs_done, updates_done, loss, accuracy: by its last epoch's line, and by its last
    checkpoint where that came later; saved: updates at that checkpoint, where it goes on once nobody is at work.

    epochs, updates: all, where the record says it. at_work: who trains it, in words. updates_per_second: lately;
    seconds_left: by that, while somebody is at work; seconds_spent: of the updates, up to the last checkpoint. tested: what
    it recognises, once it is finished; lost: files that it had then. problem: why nothing else is known, of a distillation's student.
    """

    kind: Literal["training"] = "training"
    path: str
    state: State | None = None
    architecture: str | None = None
    epochs: Whole | None = None
    epochs_done: Whole = 0
    updates: Whole | None = None
    updates_done: Whole = 0
    saved: Whole | None = None
    loss: float | None = None
    accuracy: float | None = None
    at_work: str | None = None
    updates_per_second: float | None = None
    seconds_left: float | None = None
    seconds_spent: float | None = None
    tested: tuple[Tested, ...] = ()
    finished: str | None = None
    diverged_at_step: Whole | None = None
    lost: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for."""
        return self.state in ("diverged", "finished")


class SourceStatus(Entry):
    """A source of a distillation: what its images are, "recipe", "run" or "real"; the run that makes them, once it has begun;
    the mean share that its students recognise, and minus that of real images, once all are trained."""

    name: str
    images: str
    run: RunStatus | None = None
    share: Estimate | None = None
    behind: Estimate | None = None
    students: tuple[TrainingStatus, ...]


class DistillationStatus(Entry):
    """A distillation, at one moment. at_work: who works on it, in words. failed: names of sources, where nobody is."""

    kind: Literal["distillation"] = "distillation"
    path: str
    state: State
    teacher: str
    sources: tuple[SourceStatus, ...] = ()
    students: Whole = 0
    students_done: Whole = 0
    at_work: str | None = None
    failed: tuple[str, ...] = ()
    finished: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for."""
        return self.state in ("failed", "finished")


AnyStatus = RunStatus | SweepStatus | SearchStatus | TrainingStatus | DistillationStatus


def read_any_status(path: Path) -> AnyStatus:
    """How far what lies in `path` is: a run, a sweep, a search, a training, a distillation.

    Raises:
      StorageError: nothing of that kind. RunConflictError, UnsafeInputError: its records are another version's, or damaged.
    """
    kind = kind_of(path)
    if kind == "training" and (record := read_training_record(path)) is not None:
        return _training(path, record)
    if kind == "distillation" and (record_of_all := read_distillation(path)) is not None:
        return _distillation(path, record_of_all)
    if kind == "search":
        return _search(path)
    return read_status(path)


def _search(path: Path) -> SearchStatus:
    record = validated(_SearchRecord, read_json(path / RECORDS["search"]), path / RECORDS["search"])
    return SearchStatus(
        path=str(path),
        trials=record.wanted,
        done=len(record.trials),
        diverged=sum(trial.diverged_at_step is not None for trial in record.trials),
        at_work=held_by(path),
        settings=settings_in(path),
    )


def _training(path: Path, record: TrainingRecord) -> TrainingStatus:
    at_work, finished = held_by(path), record.finished is not None
    if not finished:
        if not has_come(path, RECORDS["training"], is_done=record.is_done):
            return TrainingStatus(path=str(path), state="not begun", architecture=record.architecture, at_work=at_work)
        begun_config(path / CONFIG)  # without which it does not go on
    lines = read_epochs(path / EPOCHS)
    times = read_epoch_times(path)
    last = lines[-1] if lines else None
    done = record.updates if finished and record.updates is not None else 0
    done = max(done, last.step if last else 0, record.saved or 0)
    speed = times[last.epoch].updates_per_second if last and last.epoch in times else None
    left = record.updates - done if record.updates is not None else None
    diverged = None if finished or at_work else record.diverged_at_step
    unfinished: State = "unfinished" if diverged is None else "diverged"
    return TrainingStatus(
        path=str(path),
        state="finished" if finished else unfinished,
        architecture=record.architecture,
        epochs=record.epochs,
        epochs_done=record.epochs if finished and record.epochs else last.epoch if last else 0,
        updates=record.updates,
        updates_done=done,
        saved=record.saved,
        loss=last.loss if last else None,
        accuracy=last.accuracy if last else None,
        at_work=at_work,
        updates_per_second=speed,
        seconds_left=left / speed if at_work and speed and left is not None else None,
        seconds_spent=record.wall_seconds or None,
        tested=record.tested,
        finished=record.finished,
        diverged_at_step=diverged,
        lost=tuple(name for name in SEALED if finished and not (path / name).exists()),
    )


def _distillation(path: Path, record: DistillationRecord) -> DistillationStatus:
    if not has_come(path, RECORDS["distillation"], is_done=record.is_done):
        return DistillationStatus(path=str(path), state="not begun", teacher=record.teacher, at_work=held_by(path))
    begun_config(path / CONFIG)
    try:
        recipe = read_training(path / CONFIG, DistillationRecipe)
    except UsageError as error:
        raise UnsafeInputError(str(error)) from error
    known = {source.name: source for source in record.sources}
    sources = tuple(_source(path, recipe, name, known.get(name)) for name in recipe.images)
    students = [student for source in sources for student in source.students]
    at_work = held_by(path)
    failed = () if at_work else record.failed or ()
    return DistillationStatus(
        path=str(path),
        state="finished" if record.finished else "failed" if failed else "unfinished",
        teacher=record.teacher,
        sources=sources,
        students=len(students),
        students_done=sum(student.state == "finished" for student in students),
        at_work=at_work,
        failed=failed,
        finished=record.finished,
    )


def _source(path: Path, recipe: DistillationRecipe, name: str, known: Source | None) -> SourceStatus:
    source, run = recipe.sources[name], run_folder(path, name)
    trained = {student.seed for student in known.students} if known else set()
    lost = RunStatus(path=str(run), problem=f"{RECORDS['run']} is lost") if known and source.recipe else None
    return SourceStatus(
        name=name,
        images=next(kind for kind in KINDS if getattr(source, kind)),
        run=_run(run) if kind_of(run) == "run" else lost,
        share=known.share if known else None,
        behind=known.behind if known else None,
        students=tuple(_student(student_folder(path, name, seed), seed in trained) for seed in recipe.seeds),
    )


def _run(path: Path) -> RunStatus:
    try:
        status = read_status(path)
        assert isinstance(status, RunStatus)
        return status
    except JinvError as error:
        return RunStatus(path=str(path), problem=str(error))


def _student(path: Path, was_trained: bool) -> TrainingStatus:
    try:
        if (record := read_training_record(path)) is not None:
            return _training(path, record)
        if was_trained:
            return TrainingStatus(path=str(path), problem=f"{RECORDS['training']} is lost")
        return TrainingStatus(path=str(path), state="not begun")
    except JinvError as error:
        # Without what to do of a training by itself: the distillation trains it again.
        return TrainingStatus(path=str(path), problem=str(error).partition(";")[0])
