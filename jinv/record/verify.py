"""Looks through a run's files: what is missing, altered, orphaned or half-written."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jinv.errors import JinvError, StorageError, UnsafeInputError
from jinv.files import TEMPORARY
from jinv.images.folder import MANIFEST, Watch, unwatched
from jinv.record.config import CONFIG, batch_of, is_batch
from jinv.record.directory import ASIDE, REWRITTEN, SINKS, RunDirectory, is_rewritten
from jinv.record.lock import LOCK, held_by
from jinv.record.manifest import Manifest
from jinv.record.pictures import picture_files
from jinv.record.sealed import DamagedError, digest_of
from jinv.record.units import check_unit, final_units, unit_folder

Kind = Literal["missing", "altered", "orphaned", "half-written"]

SCRATCH = ".repair"
"""The folder in a run where batches are made again."""

SHOWN_CURES = 3


@dataclass(frozen=True)
class Finding:
    """A file, relative to what is looked through, that is not as it should be; `why` says more where there is more to say, and
    `cure` what mends it, where that is not the same for all of a run."""

    kind: Kind
    name: str
    why: str = ""
    cure: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether something is lost, and not only too much."""
        return self.kind in ("missing", "altered")

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f": {self.why}" if self.why else "")


def verify(directory: Path, watch: Watch = unwatched, *, alone: bool = False) -> list[Finding]:
    """What is wrong with a run's files, finished or not; nothing is changed. `watch` is told of every file.

    Of a run that goes on at this moment only what is final is looked at; `alone`: it is the caller who holds it.

    Raises:
      StorageError: no run, or its directory cannot be read. UnsafeInputError: its manifest is damaged.
    """
    run = RunDirectory(directory)
    manifest = run.known_manifest()
    while True:
        found = (_of_finished if manifest.finished else _of_unfinished)(run, manifest, watch)
        before, manifest = manifest, run.known_manifest()
        if (manifest.finished, manifest.outputs) == (before.finished, before.outputs):
            return found if alone else _left(run, found)
        # Sealed, or sealed anew, while one looked: nothing that was found is so.


def refusal(directory: Path, found: Sequence[Finding]) -> JinvError | None:
    """An error that says in a line how much is not as written in `directory`, and what mends it; None where nothing is wrong."""
    wrong = [finding for finding in found if finding.is_wrong]
    if not wrong:
        return None
    cures = list(dict.fromkeys(finding.cure or f"jinv verify {directory} --repair makes it again" for finding in wrong))
    more = f"; and {len(cures) - SHOWN_CURES} more such lines" if len(cures) > SHOWN_CURES else ""
    refuse: type[JinvError] = UnsafeInputError if any(f.kind == "altered" for f in wrong) else StorageError
    first = wrong[0].name if len(wrong) == 1 else f"{len(wrong)} files"
    is_ = "is" if len(wrong) == 1 else "are"
    return refuse(f"{directory}: {first} {is_} not as written; {'; '.join(cures[:SHOWN_CURES])}{more}")


def why_of(error: JinvError, path: Path) -> str:
    """What an error says of a file whose name the finding has."""
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{path}, ")


def verify_part(directory: Path, run: Path, watch: Watch = unwatched) -> list[Finding]:
    """As `verify` of a run that belongs to what is in `directory`; where it is none any more, that is a finding too."""
    name = run.relative_to(directory).as_posix() if run.is_relative_to(directory) else str(run)
    try:
        cure = f"jinv verify {run} --repair makes it again"
        return [replace(f, name=f"{name}/{f.name}", cure=cure) for f in verify(run, watch)]
    except UnsafeInputError as error:
        return [Finding("altered", name, why_of(error, run), f"put {name} back")]
    except StorageError as error:
        return [Finding("missing", name, why_of(error, run), f"put {name} back")]


def left_over(directory: Path, known: Collection[str], why: str) -> list[Finding]:
    """What killed processes left in a folder, and what is none of the `known`; nothing where somebody is at work.

    Raises:
      StorageError: it cannot be listed.
    """
    if held_by(directory) is not None:
        return []
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise StorageError(f"{directory}: cannot be listed: {error.strerror or error}") from error
    left = [Finding("half-written", name) for name in names if TEMPORARY.fullmatch(name)]
    others = [name for name in names if not TEMPORARY.fullmatch(name) and name[0] != "."]
    return left + [Finding("orphaned", name, why) for name in others if name not in known]


def _of_finished(run: RunDirectory, manifest: Manifest, watch: Watch) -> list[Finding]:
    sealed, found = manifest.outputs or {}, []
    for name, digest in watch(sealed.items(), "comparing with the seal", len(sealed)):
        try:
            if digest_of(run.path / name) != digest:
                found.append(Finding("altered", name))
        except (FileNotFoundError, NotADirectoryError):
            found.append(Finding("missing", name))
        except IsADirectoryError:
            found.append(Finding("altered", name, "it is a folder"))
        except OSError as error:  # a process without descriptors, a disk that fails: what it holds may be sound
            raise StorageError(f"{run.path / name}: cannot be read: {error.strerror or error}") from error
    return found + [finding for finding in _strange(run) if finding.name not in sealed]


def _of_unfinished(run: RunDirectory, manifest: Manifest, watch: Watch) -> list[Finding]:
    found = []
    try:
        run.check_unfinished()
    except StorageError as error:
        if (run.path / CONFIG).exists():
            raise
        found.append(Finding("missing", CONFIG, str(error)))
    except UnsafeInputError as error:
        found.append(Finding("altered", f"{CONFIG} or manifest.json", str(error)))
    # Before the units: what is moved there meanwhile is that of a unit that is listed.
    pictures = picture_files(run.path)
    final = list(final_units(run.path))
    made: set[int] = set()
    for number in watch(final, "looking through the batches", len(final)):
        name = unit_folder(run.path, number).relative_to(run.path).as_posix()
        try:
            record = check_unit(run.path, number)
            made |= set(range(record.first, record.first + len(record.labels)))
        except FileNotFoundError:  # somebody else discarded it, or sealed the run
            continue
        except DamagedError as error:
            kind: Kind = "missing" if "is missing" in str(error) else "altered"
            found.append(Finding(kind, name, str(error)))
    try:
        size = batch_of(run.config(), len(manifest.labels))
    except JinvError:
        size = None
    size = size if is_batch(size) else 1
    damaged = {int(f.name[-6:]) for f in found if f.name.startswith("units/")}
    orphans = {i: f for i, f in pictures.items() if i not in made and i // size not in damaged}
    found += [Finding("orphaned", name, "its batch is not there") for name in orphans.values()]
    return found + [f for f in _strange(run) if f.kind == "half-written"]


def _left(run: RunDirectory, found: Sequence[Finding]) -> list[Finding]:
    """Without what somebody is writing who is at work on the run or its sweep, or has written by now.

    Of a finished run that is what is judged, and drawn, anew: it is sealed anew at the end.
    """
    places = run.path, Path(os.path.realpath(run.path)).parent
    if any(held_by(place, shared=True) is not None for place in places):
        return [f for f in found if f.kind != "half-written" and not is_rewritten(f.name)]
    return [f for f in found if f.kind != "half-written" or os.path.lexists(run.path / f.name)]


def _strange(run: RunDirectory) -> list[Finding]:
    """What killed processes left, and what no run writes."""
    found, paths = [], []
    for folder, folders, files in os.walk(run.path):  # which passes over a folder that goes away meanwhile
        paths += [Path(folder, name) for name in (*folders, *files)]
        folders[:] = [name for name in folders if not _is_scratch(Path(folder, name))]
    for path in sorted(paths):
        name = path.relative_to(run.path).as_posix()
        if _is_scratch(path):
            found.append(Finding("half-written", name))
        elif path.is_relative_to(run.path / SINKS):
            continue
        elif path.is_file() and name not in (LOCK, MANIFEST, *REWRITTEN, *ASIDE) and path.name[0] != ".":
            found.append(Finding("orphaned", name, "the seal does not know it"))
    return found


def _is_scratch(path: Path) -> bool:
    return TEMPORARY.fullmatch(path.name) is not None or path.name == SCRATCH
