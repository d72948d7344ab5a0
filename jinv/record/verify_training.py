"""Looks through a training's files: what is missing, altered, orphaned or half-written."""

from pathlib import Path

from jinv.errors import StorageError, UnsafeInputError
from jinv.record.begun import ANEW, begun_config, has_come
from jinv.record.config import CONFIG
from jinv.record.directory import SINKS
from jinv.record.lock import LOCK
from jinv.record.sealed import DamagedError, digest_of, unsealed
from jinv.record.timing import TIMING
from jinv.record.training import (
    EPOCHS,
    NETWORK,
    PAGE,
    RECORD,
    SEALED,
    EpochLine,
    TrainingRecord,
    read_epochs,
    read_training_record,
)
from jinv.record.unfinished import BEFORE, NEWEST, load_checkpoint
from jinv.record.verify import Finding, left_over, why_of

PAGE_END = b"</html>"
"""What a page that was written whole ends with; of what else it says nothing is known, for it is drawn anew at any time."""


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
    while True:
        try:
            record = read_training_record(directory)
        except UnsafeInputError:
            record = None
        found = broken(directory)
        if record is not None:
            found += page_of(directory, PAGE, is_due=record.finished is not None)
            found += [] if record.finished else _unfinished(directory, record)
        known = {RECORD, CONFIG, EPOCHS, TIMING, PAGE, SINKS, LOCK, NETWORK}
        known |= set() if record and record.finished else {NEWEST, BEFORE}
        found += left_over(directory, known, "no training writes it")
        if (
            record is None
            or not (has_ended := read_training_record(directory))
            or has_ended.finished == record.finished
        ):
            return found
        # It ended while one looked: what only an unfinished one needs is gone.


def verify_shown(directory: Path) -> list[Finding]:
    """What is wrong with what a training's page is drawn of: its record, its config and its lines; raises as `verify_training`."""
    return [finding for finding in verify_training(directory) if finding.name in (RECORD, CONFIG, EPOCHS)]


def broken(directory: Path) -> list[Finding]:
    """What of a training nothing makes again: an unfinished one does not go on without it, and a finished one is none.

    Raises:
      StorageError: no training, or a file cannot be read. RunConflictError: another version's.
    """
    try:
        record = read_training_record(directory)
    except UnsafeInputError as error:
        return [altered(directory / RECORD, error), *config_of(directory, RECORD, is_done=True)]
    if record is None:
        return [Finding("missing", RECORD, cure=ANEW)]
    found = config_of(directory, RECORD, is_done=record.is_done) or _of_another(directory, record)
    return found + (_sealed(directory, record) if record.finished else [])


def config_of(directory: Path, record: str, *, is_done: bool) -> list[Finding]:
    """What is wrong with the config of a training or a distillation; see `jinv.record.begun.has_come`."""
    path = directory / CONFIG
    try:
        if has_come(directory, record, is_done=is_done):
            begun_config(path)
    except UnsafeInputError as error:
        return [altered(path, error)]
    except StorageError:
        if path.exists():
            raise
        return [Finding("missing", CONFIG, cure=ANEW)]
    return []


def altered(path: Path, error: UnsafeInputError) -> Finding:
    """That a record or a config is damaged, and how, as far as that says more."""
    why = why_of(error, path).partition(";")[0]
    return Finding("altered", path.name, "" if why == "is not as it was written" else why, ANEW)


def page_of(directory: Path, name: str, *, is_due: bool) -> list[Finding]:
    """Whether the page of a training or a distillation is there, if it `is_due`, and was written to its end."""
    path, cure = directory / name, f"jinv report {directory} writes {name}"
    try:
        if path.read_bytes().rstrip().endswith(PAGE_END):
            return []
        return [Finding("altered", name, "is not whole", cure)]
    except FileNotFoundError:
        return [Finding("missing", name, cure=cure)] if is_due else []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _of_another(directory: Path, record: TrainingRecord) -> list[Finding]:
    """Whether a config that is as it was written is another training's, as far as the record has what it says."""
    if not (directory / CONFIG).exists():
        return []
    table = begun_config(directory / CONFIG)
    said = ((key, table.get(key), getattr(record, key)) for key in ("architecture", "seed", "epochs"))
    for key, here, there in said:
        if None not in (here, there) and here != there:
            return [Finding("altered", CONFIG, f"is another training's: {key} {here}, of {RECORD} {there}", ANEW)]
    return []


def _sealed(directory: Path, record: TrainingRecord) -> list[Finding]:
    found = []
    for name in SEALED:
        path, digest = directory / name, (record.outputs or {}).get(name)
        try:
            if not path.is_file():
                found.append(Finding("missing", name, cure=ANEW))
            elif digest is not None and digest_of(path) != digest:
                found.append(Finding("altered", name, cure=ANEW))
            elif digest is None and name == EPOCHS:
                read_epochs(path)
        except UnsafeInputError as error:
            found.append(Finding("altered", name, why_of(error, path), ANEW))
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return found


def _unfinished(directory: Path, record: TrainingRecord) -> list[Finding]:
    """What it goes on from; without that it is begun again, and its lines come again too."""
    cure, found = f"jinv train CONFIG --out {directory} --resume makes again what it lacks", list[Finding]()
    there = [name for name in (NEWEST, BEFORE) if (directory / name).exists()]
    if record.saved and not there:
        found.append(Finding("missing", NEWEST, cure=cure))
    for name in there:
        try:
            unsealed(directory / name)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            found.append(Finding("altered", name, str(error), cure))
    # The checkpoint first: whoever is at work writes a line before the checkpoint that has it.
    newest = load_checkpoint(directory, lambda text: None)
    try:
        lines = read_epochs(directory / EPOCHS)
        if newest and [EpochLine.model_validate_json(text) for text in newest.lines] != lines[: len(newest.lines)]:
            found.append(Finding("altered", EPOCHS, "lacks epochs, or has others, than its checkpoint", cure))
    except UnsafeInputError as error:
        found.append(Finding("altered", EPOCHS, why_of(error, directory / EPOCHS), cure))
    return found
