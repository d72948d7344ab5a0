"""One batch of every setting of a sweep's part, from where it begins or goes on until it is final."""

from typing import Any

import jax
import numpy as np
from rich.console import Console

from jinv.core.loop import Resume, Snapshot
from jinv.core.sweep import snapshot_of
from jinv.record.unfinished import Checkpoint, environments_of, load_checkpoint
from jinv.record.units import Environment, Failure, UnitRecord
from jinv.runs.batches import checkpoint_of, place_text, work_done
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import environment, metrics_line
from jinv.runs.stopping import Saving
from jinv.runs.sweep_part import Part, SettingRun
from jinv.runs.timing import Stopwatch
from jinv.runs.units import make_final


def synthesize_batch(
    part: Part, number: int, progress: SynthesisProgress, place: tuple[str, float], saving: Saving
) -> None:
    """One batch of every setting, made final. `place`: in words, and the work before it."""
    recipe, chosen, (where, done_before) = part.experiment.recipe, part.experiment.batches[number], place
    first = part.members[0].directory
    checkpoint = _begin_batch(part, number, progress.console)
    resume = Resume(checkpoint.stage, checkpoint.leaves, checkpoint.image) if checkpoint else None
    environments = environments_of(checkpoint, environment())
    image: Any = None
    stopwatch = Stopwatch()
    for snapshot in part.snapshots(number, resume=resume, due=saving.due):
        image, stop = snapshot.image, saving.stop.asked
        if snapshot.logged:
            totals = _record(part, number, snapshot, stopwatch)
            work = done_before + len(part.members) * work_done(recipe, chosen, snapshot)
            losses = {"lowest total": min(totals), "highest": max(totals)}
            text = f"{where}  {place_text(recipe, number, snapshot)}"
            progress.update(text, work, losses, (where, number, snapshot.stage))
        if saving.wanted(snapshot):
            _save(part, number, snapshot, environments)
        if stop:
            saving.stop.check(first.path.parent, f"at step {snapshot.step} of batch {number} of {where}")
    if image is None:  # no stage has a step left: the result is the start
        image = part.start(number) if resume is None or resume.image is None else resume.image
    for run, images in zip(part.members, np.asarray(image), strict=True):
        if run.work is not None and run.worker is not None:
            _end_batch(run, number, images, environments)


def _begin_batch(part: Part, number: int, console: Console) -> Checkpoint | None:
    """Open the batch's work of every setting that lacks it; where it goes on, which is the same for all, None at its start."""
    for run in part.members:
        # With `alone` a claim is never refused.
        run.work = None if run.worker is None or run.has(number) else run.worker.take(number)
    states = [(place, run.work) for place, run in enumerate(part.members) if run.work is not None]
    say = teller(console)
    found = load_checkpoint(states[0][1].folder, say)
    # One of other settings side by side (another --at-once) is of no use here.
    usable = found is not None and found.batch == number and found.owners == part.names
    if not (usable and all(work.has_lines_of(found, say, place) for place, work in states)):  # type: ignore[arg-type]
        found = None
    for _, work in states:
        work.begin(found)
    for run in part.members:
        run.times.clear()
    return found


def _save(part: Part, number: int, snapshot: Snapshot, environments: tuple[Environment, ...]) -> None:
    """The states of all settings are one: they lie with the first one's batch that is not there yet."""
    works = [run.work for run in part.members if run.work is not None]
    for work in works[1:]:
        work.sync()
    for run in part.members:
        run.keep_times()
    digests = tuple(run.work.digest.hexdigest() if run.work else "" for run in part.members)
    works[0].save(checkpoint_of(number, snapshot, part.names, lines=digests, where=environments))
    for run in part.members:
        if run.worker is not None:
            run.worker.log.say("checkpoint", number)


def _end_batch(run: SettingRun, number: int, images: np.ndarray, environments: tuple[Environment, ...]) -> None:
    assert run.work is not None and run.worker is not None
    run.work.close()
    run.keep_times()
    chosen, lines = run.experiment.batches[number], run.work.logged()
    lost = [line for line in lines if not np.isfinite(line.total)]
    failed = None
    if lost or not np.isfinite(images).all():
        failed = Failure(step=(lost or lines)[0 if lost else -1].step if lines else 0, why="the loss is not finite")
    record = UnitRecord(
        unit=number,
        first=chosen.start,
        labels=run.experiment.labels[chosen],
        environments=environments,
        failed=failed,
    )
    if failed is None:
        run.sinks.images(number, images)
    make_final(run.worker, run.work, record, images, run.pictures)
    run.work = None


def _record(part: Part, number: int, snapshot: Snapshot, stopwatch: Stopwatch) -> list[float]:
    """A line for each setting; returns their totals."""
    metrics, seen = jax.device_get((snapshot.metrics, snapshot.seen))
    on_host = snapshot._replace(metrics=metrics, seen=seen)
    totals, time = [], stopwatch.read(number, snapshot)
    for position, run in enumerate(part.members):
        line = metrics_line(snapshot_of(on_host, position), run.experiment.recipe, number)
        if run.work is not None:
            run.work.append(line)
            run.times.append(time)
            run.sinks.line(line, time)
        totals.append(line.total)
    return totals
