"""Settings of a sweep or of a search carried out: what each needs is loaded, some share a program, each ends as a run does."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import jax
from rich.console import Console

from jinv.console import say
from jinv.errors import Interrupted, JinvError, UsageError
from jinv.experiment.devices import sweep_sharding
from jinv.experiment.experiment import total_work, work_until
from jinv.experiment.numbers import Place, groups, varied_numbers
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.images.folder import unwatched
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.durable import sync_folders
from jinv.record.manifest import SweepSetting
from jinv.record.units import unit_record
from jinv.runs.checks import check_plugins, check_run
from jinv.runs.completion import complete, judge_again, timed
from jinv.runs.merge import drop_damaged, join_lines
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import going_on, new_manifest
from jinv.runs.sinks import logging
from jinv.runs.stopping import Saving, Stop
from jinv.runs.sweep_batch import synthesize_batch
from jinv.runs.sweep_part import Part, SettingRun
from jinv.runs.sweep_summary import SettingResult
from jinv.runs.synthesize import begin, check_resumable
from jinv.runs.worker import Worker


def prepare_settings(
    variations: Sequence[Variation],
    directory: Path,
    *,
    shared: Shared,
    vocabulary: Vocabulary | None,
    console: Console,
) -> list[SettingRun]:
    """Load what every setting needs, each network once, so that mistakes show before any synthesis."""
    runs = []
    for variation in variations:
        if variation.recipe.output.frames is not None:
            raise UsageError.of(
                "output.frames",
                "settings side by side make no animations; leave it out, and ask a run of its own for it",
            )
        place = RunDirectory(directory / variation.name)
        manifest = place.manifest()
        check_plugins(manifest, variation.recipe.metric, vocabulary, place.path)
        experiment = check_run(variation.recipe, shared, vocabulary, say=teller(console), alone=False)
        if manifest is None or not place.has_begun(manifest):
            sweep = SweepSetting(name=variation.name, changes=variation.changes)
            manifest = new_manifest(experiment).model_copy(update={"sweep": sweep})
        else:
            check_resumable(place, experiment, manifest)
            manifest = going_on(manifest, experiment)
        runs.append(SettingRun(variation, place, experiment, manifest))
    return runs


def parts_of(
    runs: Sequence[SettingRun], at_once: int | None = None, varied: Collection[Place] | None = None
) -> list[Part]:
    """What runs in one program at a time, at most `at_once` settings.

    varied: the numbers that programs take as arguments; by default those in which the settings of a group differ.
    """
    parts = []
    vocabulary = runs[0].experiment.vocabulary
    for group in groups([run.variation for run in runs], vocabulary):
        members = [run for run in runs if run.variation in group]
        numbers = varied_numbers(group, vocabulary, varied)
        for start in range(0, len(group), at_once or len(group)):
            chosen = slice(start, start + (at_once or len(group)))
            parts.append(Part(members[chosen], {place: values[chosen] for place, values in numbers.items()}))
    return parts


def carry_out_parts(parts: Sequence[Part], console: Console, stop: Stop, *, before: str = "") -> JinvError | None:
    """Synthesize, judge and seal every setting; returns the first error of an evaluation: the images are all there then.

    before: what is said in front of where it is.

    Raises:
      Interrupted: an end was asked for; a call that resumes goes on. NumericalError, StorageError: as a run's.
    """
    failed: JinvError | None = None
    work = total_work([run.experiment.recipe for part in parts for run in part.members])
    with SynthesisProgress(console, work) as progress:
        for number, part in enumerate(parts):
            where = f"part {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
            _synthesize_part(part, progress, f"{before}{where}{_settings_text(len(part.members))}", stop)
            with progress.paused():
                failed = _complete_part(part, console, stop) or failed
    return failed


def done_text(runs: Sequence[SettingRun], shown: int = 8) -> str:
    """Which settings need nothing any more."""
    done = [run.directory.path.name for run in runs if run.directory.is_finished()]
    names = done if len(done) <= shown else [*done[:shown], f"and {len(done) - shown} more"]
    return f"finished are {len(done)} of {len(runs)} settings" + (f": {', '.join(names)}" if names else "")


def result_of(run: SettingRun) -> SettingResult:
    """What became of a setting, as its directory has it."""
    evaluation = None if run.diverged_at is not None else run.directory.evaluation()
    return SettingResult(
        run.variation.name, run.variation.changes, run.directory.metrics(), evaluation, run.diverged_at
    )


def _settings_text(count: int) -> str:
    return f"{count} settings" if count > 1 else "1 setting"


def _synthesize_part(part: Part, progress: SynthesisProgress, where: str, stop: Stop) -> None:
    """Each setting's images of all batches; nothing for a part whose settings are all finished."""
    recipe, done_before = part.experiment.recipe, progress.done
    if part.finished:
        everything = len(part.members) * work_until(recipe) * recipe.image.count
        progress.update(f"{where} already finished", done_before + everything, {})
        return
    for run in part.members:
        if run.directory.prepare(resume=True) and run.manifest.finished:
            run.directory.check_sealed(run.manifest)
        else:
            begin(run.directory, run.experiment, run.manifest)
    progress.note(f"compiling {part.experiment.networks.name} for {where} on {_devices_text(part)}")
    tell, count = teller(progress.console), len(part.experiment.batches)
    damaged = True
    while damaged:
        _make_batches(part, progress, (where, done_before), stop)
        looked_at = [run for run in part.members if not run.manifest.finished]
        damaged = any([drop_damaged(run.directory, count, tell, unwatched) for run in looked_at])
    _mark_diverged(part)


def _devices_text(part: Part) -> str:
    """On what a part is computed, and how it lies on several devices."""
    recipe = part.experiment.recipe
    spread = sweep_sharding(recipe, recipe.image.batch, len(part.members))
    if spread is None:
        return jax.default_backend()
    shared = "settings" if spread.over_settings else "images"
    return f"{len(spread.sharding.device_set)} devices, which share the {shared}, {jax.default_backend()}"


def _make_batches(part: Part, progress: SynthesisProgress, place: tuple[str, float], stop: Stop) -> None:
    """Every batch that some setting lacks. `place`: in words, and the work before it."""
    saving = Saving(part.experiment.recipe.checkpoint, stop)
    with ExitStack() as workers:
        for run in part.members:
            if not run.manifest.finished:
                path, tell = run.directory.path, teller(progress.console)
                run.worker = workers.enter_context(Worker(path, alone=True, share=len(part.members)))
                run.sinks = workers.enter_context(logging(run.experiment, path, run.manifest, tell))
        try:
            with part.experiment.precision():
                for number in range(len(part.experiment.batches)):
                    stop.check(part.members[0].directory.path.parent, f"before batch {number} of {place[0]}")
                    if not all(run.has(number) for run in part.members):
                        synthesize_batch(part, number, progress, place, saving)
        except BaseException:
            _close_batch(part)
            with suppress(JinvError):  # what stopped the sweep says more than that its time is lost
                _note_time(part)
            raise
        _close_batch(part)
        _note_time(part)


def _close_batch(part: Part) -> None:
    for run in part.members:
        if run.work is not None:
            run.work.close()


def _note_time(part: Part) -> None:
    for run in part.members:
        if run.worker is not None:
            run.worker.log.say("end")
            run.manifest = timed(run.manifest, run.directory)
            run.directory.write_unfinished(run.manifest)


def _mark_diverged(part: Part) -> None:
    """Say of every setting whether, and at which step, its loss or its images stopped being finite."""
    for run in part.members:
        for number in range(len(run.experiment.batches)) if run.manifest.finished is None else ():
            failed = unit_record(run.directory.path, number).failed
            if failed is not None and run.diverged_at is None:
                run.diverged_at = failed.step


def _complete_part(part: Part, console: Console, stop: Stop) -> JinvError | None:
    """Record, judge and seal the settings of a part; an evaluation's error is returned: the others' images are there too."""
    failed: JinvError | None = None
    for run in part.members:
        try:
            if run.manifest.finished:
                judge_again(run.directory, run.experiment, run.manifest, console, stop)
            elif run.diverged_at is not None:
                sync_folders(run.directory.path)
                join_lines(run.directory, len(run.experiment.batches))
            else:
                complete(run.directory, run.experiment, run.manifest, console, stop)
        except Interrupted:
            raise
        except JinvError as error:
            failed = failed or error
        if run.diverged_at is None:
            say(console, f"{run.directory.path.name}: recorded")
    return failed
