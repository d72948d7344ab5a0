"""Looks through a distillation's files, its runs' and its students'."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from jinv.errors import JinvError, StorageError, UnsafeInputError
from jinv.images.folder import Watch, unwatched
from jinv.recipe.training import DistillationRecipe, read_training
from jinv.record.config import CONFIG
from jinv.record.directory import RunDirectory
from jinv.record.distillation import (
    IMAGES,
    PAGE,
    RECORD,
    STUDENTS,
    DistillationRecord,
    read_distillation,
    run_folder,
    student_folder,
)
from jinv.record.lock import LOCK, held_by
from jinv.record.verify import Finding, left_over, verify_part
from jinv.record.verify_training import altered, config_of, page_of, verify_training


def verify_distillation(directory: Path, watch: Watch = unwatched) -> list[Finding]:
    """What is wrong with a distillation's files, its runs' and its students'; nothing is changed.

    A run of elsewhere that is a source is looked through too; real images have no digests.

    Raises:
      StorageError: no distillation, or its directory cannot be read. RunConflictError: another version's.
    """
    record, found = _known(directory)
    recipe = _recipe(directory)
    runs, students = _parts(directory, record, recipe)
    for run in runs:
        found += _of_run(directory, run, watch)
    cure = f"jinv distill CONFIG --out {directory} --resume trains students again"
    for student in watch(students, "looking through the students", len(students)):
        name = student.relative_to(directory).as_posix()
        if student.is_dir():
            found += [replace(f, name=f"{name}/{f.name}", cure=cure) for f in verify_training(student)]
        else:
            found.append(Finding("missing", name, cure=cure))
    found += left_over(directory, {RECORD, CONFIG, PAGE, IMAGES, STUDENTS, LOCK}, "no distillation writes it")
    if recipe is None or held_by(directory) is not None:
        return found
    made = {run_folder(directory, name) for name, source in recipe.sources.items() if source.recipe}
    made |= {student_folder(directory, name, seed) for name in recipe.images for seed in recipe.seeds}
    return [*found, *_strange(directory, {*made, *runs, *students})]


def verify_shown_of_all(directory: Path, watch: Watch = unwatched) -> list[Finding]:
    """What is wrong with what a distillation's page is drawn of: its record, its config and its own runs. As `verify_distillation`."""
    record, found = _known(directory)
    runs, _ = _parts(directory, record, _recipe(directory))
    for run in runs:
        found += _of_run(directory, run, watch) if run.is_relative_to(directory) else []
    return [finding for finding in found if finding.name != PAGE]


def _known(directory: Path) -> tuple[DistillationRecord | None, list[Finding]]:
    """The record, None where it is damaged, and what is wrong with it, the config and the page."""
    try:
        record = read_distillation(directory)
    except UnsafeInputError as error:
        return None, [altered(directory / RECORD, error), *config_of(directory, RECORD, is_done=True)]
    if record is None:
        raise StorageError(f"{directory}: no distillation (no {RECORD})")
    page = page_of(directory, PAGE, is_due=record.is_done)
    return record, config_of(directory, RECORD, is_done=record.is_done) + page


def _recipe(directory: Path) -> DistillationRecipe | None:
    try:
        return read_training(directory / CONFIG, DistillationRecipe)
    except JinvError:  # which is found by itself
        return None


def _parts(
    directory: Path, record: DistillationRecord | None, recipe: DistillationRecipe | None
) -> tuple[list[Path], list[Path]]:
    """The runs and the trainings of a distillation: those that have begun, and those that have to be there."""
    runs, students = dict[Path, None](), dict[Path, None]()
    for source in record.sources if record else ():
        if source.kind == "recipe":
            runs[run_folder(directory, source.name)] = None
        students |= {student_folder(directory, source.name, student.seed): None for student in source.students}
    if recipe is not None:
        for name, asked in recipe.sources.items():
            if asked.run:
                runs[Path(asked.run)] = None
            elif _holds_something(run_folder(directory, name)):
                runs[run_folder(directory, name)] = None
            folders = (student_folder(directory, name, seed) for seed in recipe.seeds)
            students |= {path: None for path in folders if _holds_something(path)}
    return list(runs), list(students)


def _of_run(directory: Path, run: Path, watch: Watch) -> list[Finding]:
    if run.is_dir() or not run.is_relative_to(directory):
        return verify_part(directory, run, watch)
    cure = f"jinv distill CONFIG --out {directory} --resume makes its images again"
    return [Finding("missing", run.relative_to(directory).as_posix(), cure=cure)]


def _strange(directory: Path, parts: Collection[Path]) -> Iterator[Finding]:
    """What lies among the runs and the students of a distillation and is none."""
    folders = {directory / IMAGES, directory / STUDENTS}
    folders |= {part.parent for part in parts if part.is_relative_to(directory / STUDENTS)}
    for folder in sorted(path for path in folders if path.is_dir()):
        known = {path.name for path in (*parts, *folders) if path.parent == folder}
        name = folder.relative_to(directory).as_posix()
        found = left_over(folder, known, "no distillation writes it")
        yield from (replace(finding, name=f"{name}/{finding.name}") for finding in found)


def _holds_something(path: Path) -> bool:
    """Not of what somebody is about to begin, who has the lock alone."""
    return path.is_dir() and bool(RunDirectory(path).entries())
