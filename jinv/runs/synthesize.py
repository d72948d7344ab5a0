"""Carries a `Recipe` out in a run directory: load, synthesize batch after batch, record, evaluate, report."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from jinv.console import Waiting, make_console, say
from jinv.core.loop import Resume
from jinv.errors import Interrupted, JinvError, UnsafeInputError
from jinv.experiment.devices import sharding
from jinv.experiment.experiment import Experiment, total_work
from jinv.experiment.memory import check_fits
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.judge.evaluate import evaluate_run, is_judged
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.record.unfinished import INSTEAD, Checkpoint
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.batches import batch_images
from jinv.runs.checks import check_run, check_same, judging_network
from jinv.runs.distributed import leading
from jinv.runs.job import Job
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.recorder import Recorder
from jinv.runs.records import new_manifest, record_images
from jinv.runs.stopping import Saving, Stop, stoppable


def run(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    replace: bool = False,
    console: Console | None = None,
    shared: Shared | None = None,
    vocabulary: Vocabulary | None = None,
    job: Job | None = None,
) -> RunDirectory:
    """Carry `recipe` out in `directory`; returns it finished. SIGTERM and Ctrl-C stop it, see `jinv.runs.stopping`.

    Args:
      replace: an earlier run there is removed, once nothing is found to be wrong with this one.
      shared: networks and programs of earlier runs, to be used again.
      job: the processes that compute each batch together, of which this one leads.

    Raises:
      JinvError: anything a user can mend; the exit codes of the command line are the classes of `jinv.errors`.
      Interrupted, one of them: it was stopped; a call with `resume` goes on.
    """
    console = console or make_console(stderr=True)
    keep_freed_memory()
    run_directory = RunDirectory(directory)
    run_directory.check_place()
    with held(directory, teller(console)) as alone:
        replace = replace and not resume
        run_directory.check(resume=resume or replace)
        if alone:
            run_directory.tidy()
        experiment = check_run(recipe, shared, vocabulary, say=teller(console))
        check_fits(experiment)
        if replace or not run_directory.is_finished():
            experiment.check_traces()  # last, because it takes a second or two
        if replace:
            run_directory.remove()
        with stoppable() as stop:
            return _carry_out(experiment, run_directory, console, resume, stop, job)


def _carry_out(
    experiment: Experiment, run_directory: RunDirectory, console: Console, resume: bool, stop: Stop, job: Job | None
) -> RunDirectory:
    """What `run` does once nothing is found to be wrong, in a directory that is held."""
    manifest = _manifest(run_directory, experiment, resume)
    if manifest.finished:
        judge_again(run_directory, experiment, manifest, console, stop)
        say(console, f"{run_directory.path}: already finished")
        return run_directory
    checkpoint = run_directory.load_checkpoint(teller(console))
    spent = max(manifest.wall_seconds or 0.0, checkpoint.seconds if checkpoint else 0.0)
    saving = Saving(experiment.recipe.checkpoint, stop, spent=spent)
    finished = run_directory.finished_batches(range(len(experiment.batches)), teller(console))
    _drop_what_is_repeated(run_directory, finished, checkpoint)
    try:
        with experiment.precision(), leading(job, experiment, stop) as joint:
            images = _synthesize_all(joint, run_directory, console, saving, checkpoint, manifest, finished)
    finally:
        manifest = timed(manifest, saving.seconds)
        with suppress(JinvError):  # what stopped the run says more than that its time is lost
            run_directory.write_unfinished(manifest)
    complete(run_directory, experiment, images, manifest, console, stop)
    return run_directory


def _manifest(run_directory: RunDirectory, experiment: Experiment, resume: bool) -> Manifest:
    """The manifest of the run that is there to be resumed, or of one that begins now in its new directory."""
    if run_directory.prepare(resume=resume):
        manifest = run_directory.manifest()
        assert manifest is not None
        if run_directory.has_begun(manifest):
            check_resumable(run_directory, experiment, manifest)
            if not manifest.finished:
                begin(run_directory, experiment, manifest)  # what decides no image may be another now
            return manifest
    manifest = new_manifest(experiment)
    begin(run_directory, experiment, manifest)
    return manifest


def timed(manifest: Manifest, seconds: float) -> Manifest:
    """The manifest with the seconds that the synthesis took so far, before and after whatever interrupted it."""
    return manifest.model_copy(update={"wall_seconds": round(seconds, 1)})


def check_resumable(run_directory: RunDirectory, experiment: Experiment, manifest: Manifest) -> None:
    """Can a run that is there go on, or be judged again, as this one?

    Raises:
      As `check_same`. UnsafeInputError: what an unfinished run left is damaged.
    """
    if not manifest.finished:
        run_directory.check_unfinished()
    check_same(run_directory, manifest, experiment)


def begin(run_directory: RunDirectory, experiment: Experiment, manifest: Manifest) -> None:
    """Write what a run's directory has from its start, the manifest first: by it a directory is known as a run's."""
    table = resolved_table(experiment.recipe, list(experiment.labels), experiment.size)
    run_directory.write_unfinished(manifest)
    run_directory.write_config(table)


def complete(
    run_directory: RunDirectory,
    experiment: Experiment,
    images: np.ndarray,
    manifest: Manifest,
    console: Console,
    stop: Stop,
) -> None:
    """What is left to do once the images are there: record them, let verifiers judge them, report, seal.

    Raises:
      Interrupted: an end was asked for; the run is not sealed, and goes on here. JinvError: of the evaluation; the run is finished without it then, for it was the images that took the time.
    """
    with Waiting(console) as waiting:
        watch = stop.watched(waiting.watch, run_directory.path)
        record_images(run_directory, experiment, images, experiment.class_names, watch)
    if experiment.recipe.evaluate.verifiers:
        _evaluate(run_directory, experiment, manifest, console, stop)
    else:
        finish(run_directory, manifest)


def judge_again(
    run_directory: RunDirectory, experiment: Experiment, manifest: Manifest, console: Console, stop: Stop
) -> None:
    """Let the verifiers judge a finished run that they, as their files are now, have not judged yet; raises as `complete`.
    Goes what one that was killed just after its seal left."""
    if experiment.recipe.evaluate.verifiers and not is_judged(run_directory, experiment.recipe):
        run_directory.check_sealed(manifest)
        _evaluate(run_directory, experiment, manifest, console, stop)
    run_directory.clean()


def _evaluate(
    run_directory: RunDirectory, experiment: Experiment, manifest: Manifest, console: Console, stop: Stop
) -> None:
    asked = experiment.recipe.evaluate
    say(console, "evaluating with " + ", ".join(asked.verifiers))

    def network(name: str) -> Classifier:
        return judging_network(experiment.shared, name, experiment.vocabulary, teller(console))

    try:
        real = asked.reference, asked.photographs
        with Waiting(console) as waiting:
            watch = stop.watched(waiting.watch, run_directory.path)
            evaluate_run(
                run_directory.path, list(asked.verifiers), *real, network=network, onnx=asked.onnx, watch=watch
            )
    except Interrupted:
        raise
    except JinvError as error:
        finish(run_directory, manifest)
        hint = f"the images are there; then: jinv evaluate {run_directory.path}"
        raise type(error)(f"{error} ({hint})") from error
    finish(run_directory, manifest)


def finish(run_directory: RunDirectory, manifest: Manifest) -> None:
    """Write the report, seal the manifest with the digest of every output, remove what only an unfinished run needs.

    Raises:
      UnsafeInputError, StorageError: as `RunDirectory.check_sealed`; what was sealed before is not sealed anew then.
    """
    from jinv.report.page import write_report

    now = datetime.now(UTC).isoformat(timespec="seconds")
    sealed = manifest.model_copy(update={"finished": manifest.finished or now})
    write_report(run_directory.path, sealed)
    outputs = run_directory.digests()
    run_directory.check_sealed(manifest, outputs)
    run_directory.write_manifest(sealed.model_copy(update={"outputs": outputs}))
    run_directory.clean()


def _synthesize_all(
    experiment: Experiment,
    run_directory: RunDirectory,
    console: Console,
    saving: Saving,
    checkpoint: Checkpoint | None,
    manifest: Manifest,
    finished: Mapping[int, str | None],
) -> np.ndarray:
    recipe = experiment.recipe
    results = []
    with SynthesisProgress(console, total_work([recipe])) as progress:
        spread = sharding(recipe, recipe.image.batch)
        devices = f"{len(spread.device_set)} devices, " if spread else ""
        progress.note(f"compiling {experiment.networks.name} on {devices}{jax.default_backend()}")
        watch = Recorder(experiment, run_directory, progress, saving)
        for number in range(len(experiment.batches)):
            if number in finished:
                results.append(run_directory.batch(number))
                continue
            saving.stop.check(run_directory.path, f"before batch {number}")
            here = checkpoint if checkpoint and checkpoint.batch == number else None
            resume = Resume(here.stage, here.leaves, here.image) if here else None
            watch.begin([line for line in run_directory.metrics() if line.batch == number] if here else [])
            images = batch_images(experiment, number, watch, resume=resume, due=saving.due)
            run_directory.write_batch(number, images, watch.lines.hexdigest())
            run_directory.write_unfinished(timed(manifest, saving.seconds))
            results.append(images)
    in_order(run_directory)
    return np.concatenate(results)


def _drop_what_is_repeated(
    run_directory: RunDirectory, finished: Mapping[int, str | None], checkpoint: Checkpoint | None
) -> None:
    """A resumed run repeats what came after its last checkpoint; those lines are written again, not twice.

    Raises:
      UnsafeInputError: lines that are kept are not as they were written.
    """
    lines = [
        line
        for line in _lines(run_directory)
        if line.batch in finished
        or (checkpoint is not None and line.batch == checkpoint.batch and line.step <= checkpoint.step)
    ]
    check_kept(run_directory, lines, finished)
    if checkpoint is not None and checkpoint.batch not in finished:
        check_kept(run_directory, lines, {checkpoint.batch: checkpoint.lines[0]})
    # Always: what a crash left of a last line would be in the way of the next.
    run_directory.rewrite_metrics(lines)


def _lines(run_directory: RunDirectory) -> list[MetricsLine]:
    try:
        return run_directory.metrics()
    except UnsafeInputError as error:
        raise UnsafeInputError(f"{error}; {INSTEAD}") from error


def check_kept(run_directory: RunDirectory, lines: Sequence[MetricsLine], digests: Mapping[int, str | None]) -> None:
    """Are the lines of these batches those of which the digests were taken? Raises as `RunDirectory.check_lines`."""
    of: dict[int, list[MetricsLine]] = {number: [] for number in digests}
    for line in lines:
        if line.batch in of:
            of[line.batch].append(line)
    for number, digest in digests.items():
        run_directory.check_lines(of[number], number, digest)


def in_order(run_directory: RunDirectory) -> None:
    """Lines as if no batch had been made again after later ones."""
    lines = run_directory.metrics()
    ordered = sorted(lines, key=lambda line: line.batch)
    if [line.batch for line in lines] != [line.batch for line in ordered]:
        run_directory.rewrite_metrics(ordered)
