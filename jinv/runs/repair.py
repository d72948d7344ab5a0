"""Makes again what is missing or altered of a run, and no more: `jinv verify --repair`."""

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.console import Console

from jinv.console import Waiting, say
from jinv.errors import JinvError, NumericalError, StorageError, UnsafeInputError
from jinv.experiment.experiment import Experiment
from jinv.experiment.vocabulary import Vocabulary
from jinv.files import make_directory, sync_directory
from jinv.recipe.read import read_config
from jinv.record.config import CONFIG
from jinv.record.directory import RunDirectory, is_rewritten
from jinv.record.durable import sync_folders
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.record.metrics import lines_text
from jinv.record.sealed import digest_of
from jinv.record.shards import INDEX, IndexLine, mapped, read_index
from jinv.record.units import (
    ARRAY,
    LINES,
    discard_unit,
    publish,
    unit_folder,
    unit_images,
    unit_record,
)
from jinv.record.verify import SCRATCH, Finding, verify
from jinv.runs.checks import check_plugins, check_run, check_same
from jinv.runs.completion import finish, judge_again
from jinv.runs.merge import write_grid, write_images, write_index, write_lines
from jinv.runs.progress import teller
from jinv.runs.stopping import Stop, stoppable
from jinv.runs.synthesize import begin, make_units


def repair(directory: Path, console: Console, vocabulary: Vocabulary | None = None) -> list[Finding]:
    """Make again what `verify` finds missing or altered, and remove what is half-written; returns what was found.

    Of a finished run every file ends as it was sealed.

    Raises:
      RunConflictError: somebody is at work there. UnsafeInputError: what cannot be made again, as its config, is damaged;
      or what was made again here is other than what was sealed elsewhere. StorageError, Interrupted.
    """
    run = RunDirectory(directory)
    run.known_manifest()
    with held(directory, teller(console)) as alone, stoppable() as stop:
        with Waiting(console) as waiting:
            found = verify(directory, stop.watched(waiting.watch, directory), alone=True)
        if alone:
            run.tidy()
        shutil.rmtree(directory / SCRATCH, ignore_errors=True)
        wrong = [finding for finding in found if finding.kind in ("missing", "altered")]
        manifest = run.known_manifest()
        if not wrong:
            sync_folders(run.path, units=True)  # who made it again may have failed just then
            return found
        for finding in wrong:
            if finding.name.startswith(CONFIG):
                raise UnsafeInputError(f"{directory / CONFIG}: it says what the run is; put it back as it was")
        recipe = read_config(directory / CONFIG)
        check_plugins(manifest, recipe.metric, vocabulary, directory)
        experiment = check_run(recipe, None, vocabulary, say=teller(console))
        check_same(run, manifest, experiment)
        if manifest.finished:
            try:
                _repair_finished(run, manifest, wrong, experiment, console, stop)
            except OSError as error:
                where = error.filename or directory
                raise StorageError(f"{where}: cannot be made again: {error.strerror or error}") from error
        else:
            numbers = sorted(int(finding.name[-6:]) for finding in wrong)
            for number in numbers:
                discard_unit(run.path, number)
            make_units(experiment, run, console, stop, alone=True, only=numbers)
            for number in numbers:
                publish(run.path, unit_record(run.path, number))
    return found


def _repair_finished(
    run: RunDirectory,
    manifest: Manifest,
    wrong: Sequence[Finding],
    experiment: Experiment,
    console: Console,
    stop: Stop,
) -> None:
    names = {finding.name for finding in wrong}
    numbers = _affected(run, names, len(experiment.batches))
    if numbers:
        _splice(run, manifest, numbers, names, experiment, console, stop)
    sealed = manifest.outputs or {}
    if "grid.png" in names:
        write_grid(run, manifest)
    for name in sorted(names):
        if not is_rewritten(name) and digest_of(run.path / name) != sealed[name]:
            raise UnsafeInputError(f"{run.path / name}: made again, it is not as it was sealed")
    if any(name == "evaluation.json" or name.startswith("nearest/") for name in names):
        (run.path / "evaluation.json").unlink(missing_ok=True)
        judge_again(run, experiment, manifest, console, stop)
    sync_folders(run.path, units=True)
    finish(run, manifest)


def _affected(run: RunDirectory, names: set[str], count: int) -> list[int]:
    """The batches that have to be made again so that these files can be."""
    if INDEX in names:
        return list(range(count))
    affected: set[int] = set()
    index = list(read_index(run.path))
    for line in index:
        if line.array in names or any(name in names for name in line.pictures):
            affected.add(line.unit)
    if "images.npy" in names:
        affected |= {line.unit for line in index if not _has_slice(run.path / "images.npy", line)}
    if "metrics.jsonl" in names:
        found = {unit: hashlib.sha256(text).hexdigest() for unit, text in _lines_by_unit(run).items()}
        affected |= {line.unit for line in index if found.get(line.unit) != line.files[LINES]}
    return sorted(affected)


def _has_slice(path: Path, line: IndexLine) -> bool:
    try:
        images = mapped(path)[line.first : line.first + len(line.labels)]
    except StorageError:
        return False
    data = io.BytesIO()
    np.save(data, images)
    return hashlib.sha256(data.getvalue()).hexdigest() == line.files[ARRAY]


def _lines_by_unit(run: RunDirectory) -> dict[int, bytes]:
    """What metrics.jsonl has of each unit, nothing where a line is damaged."""
    found: dict[int, bytes] = {}
    try:
        for unit, lines in groupby(run.iter_metrics(), lambda line: line.batch):
            found[unit] = found.get(unit, b"") + lines_text(lines).encode()
    except JinvError:
        return {}
    return found


def _splice(
    run: RunDirectory,
    manifest: Manifest,
    numbers: Sequence[int],
    names: Iterable[str],
    experiment: Experiment,
    console: Console,
    stop: Stop,
) -> None:
    """Make batches again beside the run, and put what is missing of them where it belongs."""
    scratch = RunDirectory(run.path / SCRATCH)
    scratch.path.mkdir()
    try:
        begin(scratch, experiment, manifest.model_copy(update={"finished": None, "outputs": None}))
        say(console, f"{run.path}: {len(numbers)} batches are made again")
        make_units(experiment, scratch, console, stop, alone=True, only=numbers)
        made = {number: unit_record(scratch.path, number) for number in numbers}
        known = {} if INDEX in names else {line.unit: line for line in read_index(run.path)}
        for number, record in made.items():
            if record.failed:
                raise NumericalError(f"batch {number}: {record.failed.why}")
            before = known.get(number)
            if before is not None and before.files != record.files:
                where = " and ".join(f"{e.processor}, jaxlib {e.jaxlib}, {e.device}" for e in before.environments)
                here = record.environments[-1]
                raise UnsafeInputError(
                    f"{run.path}: batch {number}, made again here ({here.processor}, jaxlib {here.jaxlib}, {here.device}), "
                    f"is not as it was sealed ({where}); repair it there, or make the run anew with --replace"
                )
            for name in (name for name in record.pictures if name in set(names)):
                _move(scratch.path / name, run.path / name)
        _write_joint_files(run, scratch, made.keys(), set(names), experiment)
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)


def _move(made: Path, place: Path) -> None:
    """Put a file that is on the disk, under another name, where it belongs."""
    make_directory(place.parent)
    os.replace(made, place)
    sync_directory(place.parent)


def _write_joint_files(
    run: RunDirectory, scratch: RunDirectory, made: Iterable[int], names: set[str], experiment: Experiment
) -> None:
    made, batches = set(made), experiment.batches
    units = range(len(batches))
    for number in made:
        shard = unit_folder(run.path, number) / ARRAY
        if shard.relative_to(run.path).as_posix() in names:
            _move(unit_folder(scratch.path, number) / ARRAY, shard)
    if "metrics.jsonl" in names:
        own = {number: (unit_folder(scratch.path, number) / LINES).read_bytes() for number in made}
        lines = _lines_by_unit(run) | own
        write_lines(run.path, (lines[number] for number in units))
    if "images.npy" in names:
        path = run.path / "images.npy"
        parts = (unit_images(scratch.path, n) if n in made else mapped(path)[batches[n]] for n in units)
        write_images(run.path, (experiment.recipe.image.count, *experiment.size, 3), parts)
    if INDEX in names:
        records = (unit_record(scratch.path, number) for number in units)
        write_index(run.path, records, sharded=not (run.path / "images.npy").exists())
