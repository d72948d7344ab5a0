"""Carries a `Recipe` out in a run directory: load, synthesize batch after batch, record, evaluate, report."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import jax
from rich.console import Console

from jinv.console import Waiting, make_console, say
from jinv.errors import JinvError, RunConflictError
from jinv.experiment.devices import sharding
from jinv.experiment.experiment import Experiment, total_work
from jinv.experiment.memory import check_fits
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.files import atomic_directory
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.record.claims import LEASE_S
from jinv.record.directory import RunDirectory
from jinv.record.durable import sync_folders
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.checks import check_plugins, check_run, check_same
from jinv.runs.completion import complete, judge_again, timed
from jinv.runs.distributed import digest, leading
from jinv.runs.job import Job
from jinv.runs.merge import check_failed, drop_damaged
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import going_on, new_manifest
from jinv.runs.sinks import SILENT, logging
from jinv.runs.stopping import Saving, Stop, stoppable
from jinv.runs.units import Units
from jinv.runs.worker import Worker

ATTEMPTS, PATIENCE_S = 20, 0.25
"""How often, and how long after one another, a worker looks whether the run has been begun by another."""


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
        if resume:
            check_plugins(run_directory.manifest(), recipe.metric, vocabulary, directory)
        experiment = check_run(recipe, shared, vocabulary, say=teller(console))
        check_fits(experiment)
        if replace or not run_directory.is_finished():
            experiment.check_traces()  # last, because it takes a second or two
        if job is not None:
            job.begin(digest(experiment))
        if replace:
            run_directory.remove()
        with stoppable() as stop:
            return _carry_out(experiment, run_directory, console, resume, stop, job)


def work_on(
    recipe: Recipe,
    directory: Path,
    *,
    lease: float = LEASE_S,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
) -> RunDirectory:
    """Make units of the run in `directory`, beside whoever else does so, until all are there; who comes first begins it.

    Nothing is put together: `jinv.runs.completion.merge` does that.

    Args:
      lease: seconds after which a worker that is not heard of is taken for dead.

    Raises:
      JinvError: as `run`. NumericalError: units failed; all others are there.
    """
    console = console or make_console(stderr=True)
    keep_freed_memory()
    run_directory = RunDirectory(directory)
    run_directory.check_place()
    check_plugins(run_directory.manifest(), recipe.metric, vocabulary, directory)
    experiment = check_run(recipe, None, vocabulary, say=teller(console))
    check_fits(experiment)
    experiment.check_traces()
    _begin_for_all(run_directory, experiment)
    with held(directory, teller(console), shared=True):
        manifest = run_directory.manifest()
        if manifest is None:
            raise RunConflictError(f"{directory}: went away")
        check_resumable(run_directory, experiment, manifest)
        if manifest.finished:
            sync_folders(run_directory.path)  # who sealed it may have been killed just then
            say(console, f"{directory}: already finished")
            return run_directory
        with stoppable() as stop:
            make_units(experiment, run_directory, console, stop, alone=False, lease=lease)
        sync_folders(run_directory.path)  # so may be who made the last of the units
        check_failed(run_directory, len(experiment.batches))
    return run_directory


def _begin_for_all(run_directory: RunDirectory, experiment: Experiment) -> None:
    """Begin the run where nobody has; of several who try one does.

    Raises:
      RunConflictError: something else is there, or somebody is at work who does not share.
    """
    for left in reversed(range(ATTEMPTS)):
        if run_directory.path.is_dir() and run_directory.check(resume=True):
            return
        try:
            with atomic_directory(run_directory.path) as temporary:
                begin(RunDirectory(temporary), experiment, new_manifest(experiment))
        except RunConflictError:  # begun in the meantime, or with the lock of somebody in it, living or not
            try:
                with held(run_directory.path):
                    if not run_directory.check(resume=True):
                        begin(run_directory, experiment, new_manifest(experiment))
            except RunConflictError:
                if not left:
                    raise
                time.sleep(PATIENCE_S)


def _carry_out(
    experiment: Experiment, run_directory: RunDirectory, console: Console, resume: bool, stop: Stop, job: Job | None
) -> RunDirectory:
    """What `run` does once nothing is found to be wrong, in a directory that is held."""
    manifest = _manifest(run_directory, experiment, resume)
    if manifest.finished:
        judge_again(run_directory, experiment, manifest, console, stop)
        say(console, f"{run_directory.path}: already finished")
        return run_directory
    count = len(experiment.batches)
    damaged: Sequence[int] | None = None
    with leading(job, experiment, stop) as joint:
        while damaged is None or damaged:
            try:
                make_units(joint, run_directory, console, stop, alone=True)
            except BaseException:
                with suppress(JinvError):  # what stopped the run says more than that its time is lost
                    run_directory.write_unfinished(timed(manifest, run_directory))
                raise
            with Waiting(console) as waiting:
                watch = stop.watched(waiting.watch, run_directory.path)
                damaged = drop_damaged(run_directory, count, teller(console), watch)
    complete(run_directory, experiment, timed(manifest, run_directory), console, stop)
    return run_directory


def make_units(
    experiment: Experiment,
    run_directory: RunDirectory,
    console: Console,
    stop: Stop,
    *,
    alone: bool,
    lease: float = LEASE_S,
    only: Sequence[int] | None = None,
) -> None:
    """Make every unit that is not there, or `only` those; what living others make is waited for.

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
        saving, tell = Saving(experiment.recipe.checkpoint, stop), teller(console)
        with ExitStack() as open_sinks:
            sinks = SILENT
            if only is None:  # what is made again was told when it was made
                part = "" if alone else worker.token
                sinks = open_sinks.enter_context(
                    logging(experiment, run_directory.path, run_directory.manifest(), tell, part)
                )
            Units(experiment, worker, progress, saving, tell, sinks).carry_out(only)


def _manifest(run_directory: RunDirectory, experiment: Experiment, resume: bool) -> Manifest:
    """The manifest of the run that is there to be resumed, or of one that begins now in its new directory."""
    if run_directory.prepare(resume=resume):
        manifest = run_directory.manifest()
        assert manifest is not None
        if run_directory.has_begun(manifest):
            check_resumable(run_directory, experiment, manifest)
            manifest = going_on(manifest, experiment)
            if not manifest.finished:
                begin(run_directory, experiment, manifest)  # what decides no image may be another now
            return manifest
    manifest = new_manifest(experiment)
    begin(run_directory, experiment, manifest)
    return manifest


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
