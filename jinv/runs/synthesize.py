"""Carries a `Recipe` out in a run directory: load, synthesize batch after batch, record, evaluate, report."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import jax
from rich.console import Console

from jinv.console import Waiting, make_console, say
from jinv.errors import Interrupted, JinvError
from jinv.experiment.devices import sharding
from jinv.experiment.experiment import Experiment, total_work
from jinv.experiment.memory import check_fits
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.judge.evaluate import evaluate_run, is_judged
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.record.claims import LEASE_S
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.record.workers import seconds_spent
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.checks import check_run, check_same, judging_network
from jinv.runs.merge import assemble, check_failed, drop_damaged, join_lines
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import new_manifest
from jinv.runs.stopping import Saving, Stop, stoppable
from jinv.runs.units import Units
from jinv.runs.worker import Worker


def run(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    replace: bool = False,
    console: Console | None = None,
    shared: Shared | None = None,
    vocabulary: Vocabulary | None = None,
) -> RunDirectory:
    """Carry `recipe` out in `directory`; returns it finished. SIGTERM and Ctrl-C stop it, see `jinv.runs.stopping`.

    Args:
      replace: an earlier run there is removed, once nothing is found to be wrong with this one.
      shared: networks and programs of earlier runs, to be used again.

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
            return _carry_out(experiment, run_directory, console, resume, stop)


def _carry_out(
    experiment: Experiment, run_directory: RunDirectory, console: Console, resume: bool, stop: Stop
) -> RunDirectory:
    """What `run` does once nothing is found to be wrong, in a directory that is held."""
    manifest = _manifest(run_directory, experiment, resume)
    if manifest.finished:
        judge_again(run_directory, experiment, manifest, console, stop)
        say(console, f"{run_directory.path}: already finished")
        return run_directory
    count = len(experiment.batches)
    damaged: Sequence[int] | None = None
    while damaged is None or damaged:
        try:
            make_units(experiment, run_directory, console, stop, alone=True)
        finally:
            manifest = timed(manifest, seconds_spent(run_directory.path))
            with suppress(JinvError):  # what stopped the run says more than that its time is lost
                run_directory.write_unfinished(manifest)
        with Waiting(console) as waiting:
            watch = stop.watched(waiting.watch, run_directory.path)
            damaged = drop_damaged(run_directory, count, teller(console), watch)
    complete(run_directory, experiment, manifest, console, stop)
    return run_directory


def make_units(
    experiment: Experiment,
    run_directory: RunDirectory,
    console: Console,
    stop: Stop,
    *,
    alone: bool,
    lease: float = LEASE_S,
) -> None:
    """Make every unit that is not there; what living others make is waited for.

    Raises:
      Interrupted: a stop was asked for. StorageError: a unit cannot be written.
    """
    work = total_work([experiment.recipe])
    with (
        Worker(run_directory.path, alone=alone, lease=lease) as worker,
        SynthesisProgress(console, work) as progress,
    ):
        spread = sharding(experiment.recipe, experiment.recipe.image.batch)
        devices = f"{len(spread.device_set)} devices, " if spread else ""
        progress.note(f"compiling {experiment.networks.name} on {devices}{jax.default_backend()}")
        Units(experiment, worker, progress, Saving(experiment.recipe.checkpoint, stop), teller(console)).carry_out()


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
    run_directory: RunDirectory, experiment: Experiment, manifest: Manifest, console: Console, stop: Stop
) -> None:
    """What is left to do once the units are there: put them together, let verifiers judge them, report, seal.

    Raises:
      NumericalError: a unit failed; nothing is put together. Interrupted: an end was asked for; the run is not sealed, and
        goes on here. JinvError: of the evaluation; the run is finished without it then, for it was the images that took the time.
    """
    count = len(experiment.batches)
    join_lines(run_directory, count)
    check_failed(run_directory, count)
    with Waiting(console) as waiting:
        watch = stop.watched(waiting.watch, run_directory.path)
        assemble(run_directory, manifest, count, experiment.recipe.output.arrays, watch)
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
