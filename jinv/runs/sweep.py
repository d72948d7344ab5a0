"""Carries a sweep out: group by group in one program each, a run directory per setting, and what compares them."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jinv.console import make_console, say
from jinv.core.loop import Resume, Snapshot
from jinv.core.sweep import snapshot_of
from jinv.errors import Interrupted, JinvError, NumericalError, RunConflictError
from jinv.experiment.experiment import total_work, work_until
from jinv.experiment.numbers import groups, varied_numbers
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import SweepSetting
from jinv.record.metrics import add_line, lines_digest
from jinv.record.unfinished import Checkpoint
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.batches import checkpoint_of, place_text, work_done
from jinv.runs.checks import check_run
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import metrics_line, new_manifest
from jinv.runs.stopping import Saving, Stop, stoppable
from jinv.runs.sweep_part import Part, SettingRun
from jinv.runs.sweep_summary import SettingResult, summarize
from jinv.runs.synthesize import begin, check_kept, check_resumable, complete, in_order, judge_again, timed


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
                images = _synthesize_part(part, progress, f"{where}{len(part.members)} settings", stop)
                with progress.paused():
                    failed = _complete_part(part, images, console, stop) or failed
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
        experiment = check_run(variation.recipe, shared, vocabulary, say=teller(console))
        place = RunDirectory(directory / variation.name)
        manifest = place.manifest()
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


def _synthesize_part(part: Part, progress: SynthesisProgress, where: str, stop: Stop) -> list[np.ndarray]:
    """Each setting's images of all batches; nothing for a part whose settings are all finished."""
    recipe, done_before = part.experiment.recipe, progress.done
    if part.finished:
        everything = len(part.members) * work_until(recipe) * recipe.image.count
        progress.update(f"{where} already finished", done_before + everything, {})
        return []
    tell = teller(progress.console)
    for run in part.members:
        if run.directory.prepare(resume=True) and run.manifest.finished:
            run.directory.check_sealed(run.manifest)
        else:
            begin(run.directory, run.experiment, run.manifest)
            run.batches = run.directory.finished_batches(range(len(part.experiment.batches)), tell)
            check_kept(run.directory, run.directory.metrics(), run.batches)
    progress.note(f"compiling {part.experiment.networks.name} for {where} on {jax.default_backend()}")
    checkpoint = _checkpoint_of(part, progress.console)
    for run in part.members:
        run.spent = max(run.manifest.wall_seconds or 0.0, checkpoint.seconds if checkpoint else 0.0)
    # A program's time is shared by its settings; the sum over the runs is what the sweep took.
    saving = Saving(recipe.checkpoint, stop, spent=part.members[0].spent, share=len(part.members))
    batches = []
    try:
        with part.experiment.precision():
            for number in range(len(part.experiment.batches)):
                stop.check(part.members[0].directory.path.parent, f"before batch {number} of {where}")
                batch = _batch_that_is_there(part, number)
                if batch is None:
                    batch = _synthesize_batch(part, number, progress, (where, done_before), saving, checkpoint)
                _mark_diverged(part, batch)
                batches.append(batch)
    finally:
        with suppress(JinvError):  # what stopped the sweep says more than that its time is lost
            _note_time(part, saving)
    for run in part.members:
        if not run.manifest.finished:
            in_order(run.directory)
    return [np.concatenate([batch[k] for batch in batches]) for k in range(len(part.members))]


def _note_time(part: Part, saving: Saving) -> None:
    for run in part.members:
        if not run.manifest.finished:
            run.manifest = timed(run.manifest, run.spent + saving.passed)
            run.directory.write_unfinished(run.manifest)


def _batch_that_is_there(part: Part, number: int) -> np.ndarray | None:
    """What an interrupted sweep finished of a batch, (K, n, height, width, 3); None where a setting lacks it."""
    kept = [images for run in part.members if (images := run.batch(number)) is not None]
    return np.stack(kept) if len(kept) == len(part.members) else None


def _synthesize_batch(
    part: Part,
    number: int,
    progress: SynthesisProgress,
    place: tuple[str, float],
    saving: Saving,
    checkpoint: Checkpoint | None,
) -> np.ndarray:
    """One batch of every setting, (K, n, height, width, 3). `place`: in words, and the work before it."""
    recipe, chosen, (where, done_before) = part.experiment.recipe, part.experiment.batches[number], place
    first = part.members[0].directory
    resume = _resume_of(part, number, checkpoint)
    image: Any = None
    for snapshot in part.snapshots(number, resume=resume, due=saving.due):
        image, stop = snapshot.image, saving.stop.asked
        if snapshot.logged:
            totals = _record(part, number, snapshot)
            work = done_before + len(part.members) * work_done(recipe, chosen, snapshot)
            losses = {"lowest total": min(totals), "highest": max(totals)}
            text = f"{where}  {place_text(recipe, number, snapshot)}"
            progress.update(text, work, losses, (where, number, snapshot.stage))
        if saving.wanted(snapshot):
            # The states of all settings are one: they lie in the first one's directory.
            digests = tuple(run.lines.hexdigest() for run in part.members)
            first.save_checkpoint(checkpoint_of(number, snapshot, part.names, lines=digests, seconds=saving.seconds))
        if stop:
            saving.stop.check(first.path.parent, f"at step {snapshot.step} of batch {number} of {where}")
    if image is None:  # no stage has a step left: the result is the start
        image = part.start(number) if resume is None or resume.image is None else resume.image
    result = np.asarray(image)
    for run, images in zip(part.members, result, strict=True):
        if not run.manifest.finished:
            run.directory.write_batch(number, images, run.lines.hexdigest())
    _note_time(part, saving)
    return result


def _record(part: Part, number: int, snapshot: Snapshot) -> list[float]:
    """A line for each setting; returns their totals."""
    metrics, norms = jax.device_get((snapshot.metrics, snapshot.gradient_norms))
    on_host = snapshot._replace(metrics=metrics, gradient_norms=norms)
    totals = []
    for position, run in enumerate(part.members):
        line = metrics_line(snapshot_of(on_host, position), run.experiment.recipe, number)
        if not run.manifest.finished:
            run.directory.append_metrics([line])
            add_line(run.lines, line)
        totals.append(line.total)
    return totals


def _checkpoint_of(part: Part, console: Console) -> Checkpoint | None:
    checkpoint = part.members[0].directory.load_checkpoint(teller(console))
    # One of other settings side by side (another --at-once) is of no use here.
    return checkpoint if checkpoint and checkpoint.owners == part.names else None


def _resume_of(part: Part, number: int, checkpoint: Checkpoint | None) -> Resume | None:
    """Where a batch goes on; lines of what is repeated are dropped from every setting's metrics."""
    here = checkpoint if checkpoint and checkpoint.batch == number else None
    for place, run in enumerate(part.members):
        if not run.manifest.finished:
            lines = [
                line for line in run.directory.metrics() if line.batch != number or (here and line.step <= here.step)
            ]
            own = [line for line in lines if line.batch == number]
            run.lines = lines_digest(own)
            if here:
                run.directory.check_lines(own, number, here.lines[place])
            # A damaged batch that is made again comes before later ones, and before the one that goes on at a checkpoint.
            later = {*run.batches, checkpoint.batch} if checkpoint else set(run.batches)
            kept = [line for line in lines if line.batch <= number or line.batch in later]
            run.directory.rewrite_metrics(kept)
    return Resume(here.stage, here.leaves, here.image) if here else None


def _mark_diverged(part: Part, images: np.ndarray) -> None:
    """Say of every setting whether, and at which step, its loss or its images stopped being finite."""
    for run, result in zip(part.members, images, strict=True):
        if run.diverged_at is None:
            lines = run.directory.metrics()
            lost = [line.step for line in lines if not np.isfinite(line.total)]
            if lost or not np.isfinite(result).all():
                run.diverged_at = (lost or [line.step for line in lines[-1:]] or [0])[0]


def _complete_part(part: Part, images: Sequence[np.ndarray], console: Console, stop: Stop) -> JinvError | None:
    """Record, judge and seal the settings of a part; an evaluation's error is returned: the others' images are there too."""
    failed: JinvError | None = None
    for position, run in enumerate(part.members):
        try:
            if run.manifest.finished:
                judge_again(run.directory, run.experiment, run.manifest, console, stop)
            elif run.diverged_at is None:
                complete(run.directory, run.experiment, images[position], run.manifest, console, stop)
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
