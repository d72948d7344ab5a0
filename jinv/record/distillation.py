"""distillation.json: what students that were trained on each source of images recognise."""

from pathlib import Path

from jinv.record.entry import Entry, Whole, read_record
from jinv.record.estimate import Estimate
from jinv.record.kinds import RECORDS

RECORD, PAGE = RECORDS["distillation"], "distillation.html"
IMAGES, STUDENTS = "images", "students"
"""The folders of its runs and of its trainings."""

SCHEMA = 1


class Student(Entry):
    """One student: its seed, how many of the test images it recognises, the time of its updates."""

    seed: Whole
    right: Whole
    count: Whole
    seconds: float


class Source(Entry):
    """What students are trained on. kind: "recipe", "run" or "real". model: the inverted network, as its config names it.

    sha256: of the first student's pictures and labels. synthesis_seconds: of the images, of all that were made for it.
    share: the students' mean, with a t interval over seeds; behind: that mean minus the one of real images.
    """

    name: str
    kind: str
    images: Whole
    model: str | None = None
    sha256: str
    synthesis_seconds: float | None = None
    students: tuple[Student, ...] = ()
    share: Estimate
    behind: Estimate | None = None


class DistillationRecord(Entry):
    """All of distillation.json, rewritten whenever a source's students are done; `finished` is null until all are.

    teacher: as the config names it. command, host, commit: as a run's manifest has them. failed: the sources of no finite
    loss, once all others are done.
    """

    NULLS = ("finished",)

    schema_version: int = SCHEMA
    jinv: str
    teacher: str
    teacher_sha256: str
    teacher_right: Whole
    test_images: Whole
    test_sha256: str | None = None
    device: str
    command: str | None = None
    host: str | None = None
    commit: str | None = None
    started: str | None = None
    sources: tuple[Source, ...] = ()
    failed: tuple[str, ...] | None = None
    finished: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether anything of it was done."""
        return self.finished is not None or bool(self.sources or self.failed)


def run_folder(directory: Path, source: str) -> Path:
    """Where a source's images are synthesised."""
    return directory / IMAGES / source


def student_folder(directory: Path, source: str, seed: int) -> Path:
    """Where a source's student of that seed is trained."""
    return directory / STUDENTS / source / f"seed_{seed}"


def read_distillation(directory: Path) -> DistillationRecord | None:
    """The record of the distillation in `directory`, None where there is none.

    Raises:
      RunConflictError: of another version. UnsafeInputError: it is damaged. StorageError: it cannot be read.
    """
    return read_record(DistillationRecord, directory / RECORD, SCHEMA, "distillation")
