"""Looks through the files of a training and of a distillation: what is missing, altered, orphaned or half-written."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jinv.errors import JinvError, StorageError, UnsafeInputError
from jinv.files import TEMPORARY
from jinv.images.folder import Watch, unwatched
from jinv.recipe.training import DistillationRecipe, read_training
from jinv.record import distillation, training
from jinv.record.config import is_whole
from jinv.record.directory import SINKS, RunDirectory
from jinv.record.distillation import Source, read_distillation, run_folder, student_folder
from jinv.record.lock import LOCK, held_by
from jinv.record.sealed import DamagedError, digest_of, unsealed
from jinv.record.timing import TIMING
from jinv.record.training import EPOCHS, NETWORK, TrainingRecord, read_epochs, read_training_record
from jinv.record.unfinished import BEFORE, NEWEST
from jinv.record.verify import Finding, verify

SEALED = (NETWORK, EPOCHS)
"""What of a finished training nothing makes again, and whose digests are in its record; its config ends with its own."""


def seal_of(directory: Path) -> dict[str, str]:
    """sha256 of the files of a training that is finished now.

    Raises:
      StorageError: one cannot be read.
    """
    try:
        return {name: digest_of(directory / name) for name in SEALED}
    except OSError as error:
        raise StorageError(f"{error.filename or directory}: cannot be read: {error.strerror or error}") from error


def check_training(directory: Path, record: TrainingRecord) -> None:
    """Are the files of a finished training as they were when it ended? Of an earlier jinv's, which has no digests: are they there?

    Raises:
      StorageError: one is missing. UnsafeInputError: one is altered.
    """
    for found in _sealed(directory, record):
        path, instead = directory / found.name, "put it back, or train anew in another --out"
        if found.kind == "missing":
            raise StorageError(f"{path}: no such file, and the training is finished; {instead}")
        raise UnsafeInputError(f"{path}: {found.why or 'is not as it was when the training was finished'}; {instead}")


def verify_training(directory: Path) -> list[Finding]:
    """What is wrong with a training's files, finished or not; nothing is changed. Of one that goes on at this moment what is
    being written is passed over.

    Raises:
      StorageError: no training, or its directory cannot be read. RunConflictError: another version's.
    """
    try:
        record = read_training_record(directory)
    except UnsafeInputError as error:
        return [Finding("altered", training.RECORD, _why(error, directory / training.RECORD)), *_config(directory)]
    if record is None:
        raise StorageError(f"{directory}: no training (no {training.RECORD})")
    found = [*_config(directory), *(_sealed(directory, record) if record.finished else _unfinished(directory))]
    known = {training.RECORD, "config.toml", EPOCHS, TIMING, training.PAGE, SINKS, LOCK}
    known |= {NETWORK} if record.finished else {NETWORK, NEWEST, BEFORE}
    if record.finished and not (directory / training.PAGE).exists():
        found.append(Finding("missing", training.PAGE, f"jinv report {directory} writes it"))
    return found + _strange(directory, known, "no training writes it")


def verify_distillation(directory: Path, watch: Watch = unwatched) -> list[Finding]:
    """What is wrong with a distillation's files, its runs' and its students'; nothing is changed.

    A run of elsewhere that is a source is looked through too; real images have no digests.

    Raises:
      StorageError: no distillation, or its directory cannot be read. RunConflictError: another version's.
    """
    found, sources = list(_config(directory)), tuple[Source, ...]()
    try:
        record = read_distillation(directory)
        if record is None:
            raise StorageError(f"{directory}: no distillation (no {distillation.RECORD})")
        sources = record.sources
        if record.finished and not (directory / distillation.PAGE).exists():
            found.append(Finding("missing", distillation.PAGE, f"jinv report {directory} writes it"))
    except UnsafeInputError as error:
        found.insert(0, Finding("altered", distillation.RECORD, _why(error, directory / distillation.RECORD)))
    for part, look in _parts(directory, sources, watch):
        inside = part.is_relative_to(directory)
        prefix = part.relative_to(directory).as_posix() if inside else str(part)
        try:
            found += [Finding(f.kind, f"{prefix}/{f.name}", f.why) for f in look(part)]
        except UnsafeInputError as error:
            found.append(Finding("altered", prefix, _why(error, part)))
        except StorageError as error:
            found.append(Finding("missing", prefix, _why(error, part)))
    known = {distillation.RECORD, "config.toml", distillation.PAGE, distillation.IMAGES, distillation.STUDENTS, LOCK}
    return found + _strange(directory, known, "no distillation writes it")


def _parts(
    directory: Path, sources: Iterable[Source], watch: Watch
) -> Iterator[tuple[Path, Callable[[Path], list[Finding]]]]:
    """The runs and trainings of a distillation, and who looks through each: those that have begun, and those that have to be there."""
    runs, students = dict[Path, None](), dict[Path, None]()
    try:
        recipe = read_training(directory / "config.toml", DistillationRecipe)
    except JinvError:  # which is found by itself
        recipe = None
    for source in sources:
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
    for run in runs:
        yield run, lambda path: verify(path, watch)
    for student in watch(list(students), "looking through the students", len(students)):
        yield student, verify_training


def _holds_something(path: Path) -> bool:
    """Not of what somebody is about to begin, who has the lock alone."""
    return path.is_dir() and bool(RunDirectory(path).entries())


def _config(directory: Path) -> list[Finding]:
    path = directory / "config.toml"
    try:
        return [] if is_whole(path.read_bytes()) else [Finding("altered", path.name)]
    except FileNotFoundError:
        return [Finding("missing", path.name)]
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _sealed(directory: Path, record: TrainingRecord) -> list[Finding]:
    found = []
    for name in SEALED:
        path, digest = directory / name, (record.outputs or {}).get(name)
        try:
            if not path.is_file():
                found.append(Finding("missing", name))
            elif digest is not None and digest_of(path) != digest:
                found.append(Finding("altered", name))
            elif digest is None and name == EPOCHS:
                read_epochs(path)
        except UnsafeInputError as error:
            found.append(Finding("altered", name, _why(error, path)))
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return found


def _unfinished(directory: Path) -> list[Finding]:
    found = []
    for name in (NEWEST, BEFORE):
        try:
            unsealed(directory / name)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            found.append(Finding("altered", name, str(error)))
    try:
        read_epochs(directory / EPOCHS)
    except UnsafeInputError as error:
        found.append(Finding("altered", EPOCHS, _why(error, directory / EPOCHS)))
    return found


def _strange(directory: Path, known: set[str], why: str) -> list[Finding]:
    """What killed processes left there, and what is none of the `known`; nothing where somebody is at work."""
    if held_by(directory) is not None:
        return []
    names = sorted(path.name for path in directory.iterdir())
    left = [Finding("half-written", name) for name in names if TEMPORARY.fullmatch(name)]
    others = [name for name in names if not TEMPORARY.fullmatch(name) and name[0] != "."]
    return left + [Finding("orphaned", name, why) for name in others if name not in known]


def _why(error: JinvError, path: Path) -> str:
    """What an error says of a file whose name the finding has."""
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, ")
