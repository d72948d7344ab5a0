"""Carries a sweep out: group by group in one program each, a run directory per setting, and what compares them."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jinv.console import make_console, say
from jinv.errors import Interrupted, JinvError, NumericalError, RunConflictError, UsageError
from jinv.experiment.experiment import total_work, work_until
from jinv.experiment.numbers import groups, varied_numbers
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.images.folder import unwatched
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import SweepSetting
from jinv.record.units import unit_record
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.checks import check_plugins, check_run
from jinv.runs.completion import complete, judge_again, timed
from jinv.runs.merge import drop_damaged, join_lines
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import new_manifest
from jinv.runs.sinks import logging
from jinv.runs.stopping import Saving, Stop, stoppable
from jinv.runs.sweep_batch import synthesize_batch
from jinv.runs.sweep_part import Part, SettingRun
from jinv.runs.sweep_summary import SettingResult, summarize
from jinv.runs.synthesize import begin, check_resumable
from jinv.runs.worker import Worker


def run_sweep(
    variations: Sequence[Variation],
    directory: Path,
    *,
    at_once: int | None = None,
    resume: bool = False,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> dict[str, Any]:
    """Carry every variation out in `directory`; returns what `sweep.json` holds, the best setting first.

    Args:
      at_once: at most so many settings in one program at a time, where all would need too much memory.
      resume: go on with a sweep that was interrupted; settings, batches and checkpoints that are there are kept.

    Raises:
      JinvError: anything a user can mend; an evaluation's, once every setting's images are recorded.
      NumericalError: every setting diverged; where only some do they are marked.
      Interrupted: it was stopped; a call with `resume` goes on.
    """
    console = console or make_console(stderr=True)
    keep_freed_memory()
    RunDirectory(directory).check_place()
    names = [variation.name for variation in variations]
    with held(directory, teller(console), inside=names) as alone:
        _check_directory(directory, variations, resume)
        for name in ("", *names) if alone else ():
            RunDirectory(directory / name).tidy()
        runs = _prepare(variations, directory, vocabulary, console)
        parts = _parts(variations, runs, at_once)
        for part in parts:
            if not part.finished:
                part.check_traces()
        return _carry_out(directory, runs, parts, console)


def _carry_out(directory: Path, runs: Sequence[SettingRun], parts: Sequence[Part], console: Console) -> dict[str, Any]:
    """What `run_sweep` does once nothing is found to be wrong, in a directory that is held."""
    started = time.monotonic()
    failed: JinvError | None = None
    work = total_work([run.experiment.recipe for run in runs])
    try:
        with stoppable() as stop, SynthesisProgress(console, work) as progress:
            for number, part in enumerate(parts):
                where = f"part {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
                _synthesize_part(part, progress, f"{where}{len(part.members)} settings", stop)
                with progress.paused():
                    failed = _complete_part(part, console, stop) or failed
    except Interrupted as error:
        raise Interrupted(f"{error}; {_done_text(runs)}") from None
    programs = [[run.variation.name for run in part.members] for part in parts]
    summary = summarize([_result(run) for run in runs], programs, runs[0].manifest)
    summary["wall_seconds"] = round(time.monotonic() - started, 1)
    RunDirectory(directory).write_json("sweep.json", summary)
    finished = [run.directory.path for run in runs if run.diverged_at is None]
    if len(finished) > 1:
        from jinv.report.page import write_comparison

        write_comparison(finished, directory / "comparison.html")
    if not finished:
        raise NumericalError(f"{directory}: the loss of every setting stopped being finite; lower the learning rates")
    if failed is not None:
        raise failed
    return summary


def _check_directory(directory: Path, variations: Sequence[Variation], resume: bool) -> None:
    """Can the sweep begin, or go on, there?

    Raises:
      RunConflictError: something is there, or what is to be continued is not this sweep. StorageError: as `RunDirectory`.
    """
    place = RunDirectory(directory)
    if not place.entries():
        return
    if not resume:
        raise RunConflictError(f"{directory}: already exists; choose another --out, or continue it with --resume")
    known = {variation.name for variation in variations} | {"sweep.json", "comparison.html"}
    found = (path.name for path in directory.iterdir() if not path.name.startswith("."))
    strange = sorted(name for name in found if name not in known)
    if strange:
        raise RunConflictError(f"{directory}: {strange[0]} is no setting of this sweep; choose another --out")
    for variation in variations:
        RunDirectory(directory / variation.name).check(resume=True)


def _prepare(
    variations: Sequence[Variation], directory: Path, vocabulary: Vocabulary | None, console: Console
) -> list[SettingRun]:
    """Load what every setting needs, each network once, so that mistakes show before any synthesis."""
    shared = Shared()
    runs = []
    for variation in variations:
        if variation.recipe.output.frames is not None:
            raise UsageError(
                "output.frames: a sweep makes no animations; leave it out, and ask a run of its own for it"
            )
        place = RunDirectory(directory / variation.name)
        manifest = place.manifest()
        check_plugins(manifest, vocabulary, place.path)
        experiment = check_run(variation.recipe, shared, vocabulary, say=teller(console))
        if manifest is None or not place.has_begun(manifest):
            sweep = SweepSetting(name=variation.name, changes=variation.changes)
            manifest = new_manifest(experiment).model_copy(update={"sweep": sweep})
        else:
            check_resumable(place, experiment, manifest)
        runs.append(SettingRun(variation, place, experiment, manifest))
    return runs


def _parts(variations: Sequence[Variation], runs: Sequence[SettingRun], at_once: int | None) -> list[Part]:
    """What runs in one program at a time."""
    parts = []
    vocabulary = runs[0].experiment.vocabulary
    for group in groups(variations, vocabulary):
        numbers = varied_numbers(group, vocabulary)
        for start in range(0, len(group), at_once or len(group)):
            chosen = slice(start, start + (at_once or len(group)))
            slices = {place: values[chosen] for place, values in numbers.items()}
            parts.append(Part([runs[variation.index] for variation in group[chosen]], slices))
    return parts


def _done_text(runs: Sequence[SettingRun], shown: int = 8) -> str:
    """Which settings need nothing any more."""
    done = [run.directory.path.name for run in runs if run.directory.is_finished()]
    names = done if len(done) <= shown else [*done[:shown], f"and {len(done) - shown} more"]
    return f"finished are {len(done)} of {len(runs)} settings" + (f": {', '.join(names)}" if names else "")


def _synthesize_part(part: Part, progress: SynthesisProgress, where: str, stop: Stop) -> None:
    """Each setting's images of all batches; nothing for a part whose settings are all finished."""
    recipe, done_before = part.experiment.recipe, progress.done
    if part.finished:
        everything = len(part.members) * work_until(recipe) * recipe.image.count
        progress.update(f"{where} already finished", done_before + everything, {})
        return
    tell, count = teller(progress.console), len(part.experiment.batches)
    for run in part.members:
        if run.directory.prepare(resume=True) and run.manifest.finished:
            run.directory.check_sealed(run.manifest)
        else:
            begin(run.directory, run.experiment, run.manifest)
            drop_damaged(run.directory, count, tell, unwatched)
    progress.note(f"compiling {part.experiment.networks.name} for {where} on {jax.default_backend()}")
    saving = Saving(recipe.checkpoint, stop)
    with ExitStack() as workers:
        for run in part.members:
            if not run.manifest.finished:
                path = run.directory.path
                run.worker = workers.enter_context(Worker(path, alone=True, share=len(part.members)))
                run.sinks = workers.enter_context(logging(run.experiment, path, run.manifest, tell))
        try:
            with part.experiment.precision():
                for number in range(count):
                    stop.check(part.members[0].directory.path.parent, f"before batch {number} of {where}")
                    if not all(run.has(number) for run in part.members):
                        synthesize_batch(part, number, progress, (where, done_before), saving)
                    _mark_diverged(part, number)
        finally:
            for run in part.members:
                if run.work is not None:
                    run.work.close()
            with suppress(JinvError):  # what stopped the sweep says more than that its time is lost
                _note_time(part)


def _note_time(part: Part) -> None:
    for run in part.members:
        if run.worker is not None:
            run.worker.log.say("end")
            run.manifest = timed(run.manifest, run.directory)
            run.directory.write_unfinished(run.manifest)


def _mark_diverged(part: Part, number: int) -> None:
    """Say of every setting whether, and at which step, its loss or its images stopped being finite."""
    for run in part.members:
        if run.diverged_at is None and run.manifest.finished is None:
            failed = unit_record(run.directory.path, number).failed
            if failed is not None:
                run.diverged_at = failed.step


def _complete_part(part: Part, console: Console, stop: Stop) -> JinvError | None:
    """Record, judge and seal the settings of a part; an evaluation's error is returned: the others' images are there too."""
    failed: JinvError | None = None
    for run in part.members:
        try:
            if run.manifest.finished:
                judge_again(run.directory, run.experiment, run.manifest, console, stop)
            elif run.diverged_at is not None:
                join_lines(run.directory, len(run.experiment.batches))
            else:
                drop_damaged(run.directory, len(run.experiment.batches), teller(console), unwatched)
                complete(run.directory, run.experiment, run.manifest, console, stop)
        except Interrupted:
            raise
        except JinvError as error:
            failed = failed or error
        if run.diverged_at is None:
            say(console, f"{run.directory.path.name}: recorded")
    return failed


def _result(run: SettingRun) -> SettingResult:
    evaluation = None if run.diverged_at is not None else run.directory.evaluation()
    return SettingResult(
        run.variation.name, run.variation.changes, run.directory.metrics(), evaluation, run.diverged_at
    )
