"""distillation.json: begun, gone on with, written."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from jinv.errors import RunConflictError
from jinv.files import make_directory, write_text
from jinv.models.classifier import Classifier
from jinv.recipe.resolved import table_of
from jinv.recipe.training import DistillationRecipe, changes_since
from jinv.record.begun import begun_config, has_come, is_begun
from jinv.record.config import CONFIG, signed_text
from jinv.record.directory import RunDirectory
from jinv.record.distillation import RECORD, DistillationRecord, read_distillation
from jinv.record.entry import with_digest
from jinv.record.kinds import not_a
from jinv.report.distillation import write_distillation_page
from jinv.runs.records import command_line, environment, own_commit


def check_directory(directory: Path, recipe: DistillationRecipe, resume: bool) -> DistillationRecord | None:
    """Can the distillation begin, or go on, there? The record of what is there.

    Raises:
      RunConflictError: something is there, or another distillation. UnsafeInputError: its config or record is damaged.
      StorageError: its config is lost.
    """
    if not is_begun(directory, resume=resume):
        return None
    earlier, config = read_distillation(directory), directory / CONFIG
    if earlier is None:
        raise RunConflictError(f"{not_a('distillation', directory)}; choose another --out")
    if not has_come(directory, RECORD, is_done=earlier.is_done):
        return earlier
    before = begun_config(config)
    # A source more is no other distillation: those that are there are kept.
    new = {f"images.{name}" for name in recipe.images if name not in before.get("images", {})}
    if changed := changes_since(before, recipe, config, new):
        raise RunConflictError(f"{directory}: was begun otherwise: {'; '.join(changed)}")
    return earlier


def new_record(
    recipe: DistillationRecipe,
    teacher: Classifier,
    right: np.ndarray,
    test_sha256: str,
    earlier: DistillationRecord | None,
) -> DistillationRecord:
    """The record of a distillation that begins, or goes on from an `earlier` one; `right`: (images,), what the teacher
    recognises of the test images."""
    record = DistillationRecord(
        jinv=version("jinv"),
        teacher=recipe.teacher,
        teacher_sha256=teacher.source["source_sha256"],
        teacher_right=int(right.sum()),
        test_images=len(right),
        test_sha256=test_sha256,
        device=environment().device,
        command=command_line(),
        host=platform.node() or None,
        commit=own_commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if earlier is None:
        return record
    kept = {name: getattr(earlier, name) for name in ("command", "host", "commit", "started")}
    if earlier.test_sha256 == test_sha256:
        kept["sources"] = tuple(source for source in earlier.sources if source.name in recipe.images)
    return record.model_copy(update=kept)


def begin(directory: Path, recipe: DistillationRecipe, record: DistillationRecord) -> None:
    """Write the record, then the config."""
    make_directory(directory)
    RunDirectory(directory).write_json(RECORD, with_digest(record))  # first: it says what the directory is
    write_text(directory / CONFIG, signed_text(table_of(recipe)))


def write(directory: Path, record: DistillationRecord) -> None:
    """Write the record and its page."""
    RunDirectory(directory).write_json(RECORD, with_digest(record))
    write_distillation_page(directory, record)
