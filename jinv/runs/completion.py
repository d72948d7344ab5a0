"""What is left to do once a run's units are there: put them together, let verifiers judge them, report, seal."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.console import Console

from jinv.console import Waiting, say
from jinv.errors import Interrupted, JinvError, RunConflictError
from jinv.experiment.metrics import bind_metrics
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.judge.evaluate import evaluate_run, is_judged
from jinv.judge.judges import find_judge
from jinv.models.classifier import Classifier
from jinv.recipe.read import read_config
from jinv.recipe.recipe import Recipe
from jinv.record.config import CONFIG
from jinv.record.directory import RunDirectory
from jinv.record.durable import sync_folders
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.record.timing import join_times
from jinv.record.units import missing_units
from jinv.record.workers import WORKERS, seconds_spent
from jinv.runs.checks import check_metrics, judging_network
from jinv.runs.merge import assemble, check_failed, drop_damaged, join_lines
from jinv.runs.progress import teller
from jinv.runs.stopping import Stop, stoppable


@runtime_checkable
class Carried(Protocol):
    """What is carried out: an `Experiment`, or as much of one as its completion needs."""

    @property
    def recipe(self) -> Recipe:
        """What its config says."""

    @property
    def shared(self) -> Shared:
        """Networks that were read already."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What the config's names stand for."""


@dataclass(frozen=True)
class Recorded:
    """A run as its directory has it: no network is loaded for it but those that judge."""

    recipe: Recipe
    shared: Shared
    vocabulary: Vocabulary


def merge(directory: Path, *, console: Console, vocabulary: Vocabulary | None = None) -> RunDirectory:
    """Complete a run whose units were made by workers; needs its directory alone.

    Raises:
      RunConflictError: somebody is at work there, or units are missing: names them. NumericalError: units failed.
      UsageError: a metric's plugin is not here. StorageError, UnsafeInputError: no run, or a damaged one.
      Interrupted: it was stopped.
    """
    run_directory = RunDirectory(directory)
    run_directory.known_manifest()
    with held(directory, teller(console)) as alone:
        if alone:
            run_directory.tidy()
        manifest = run_directory.known_manifest()
        if manifest.finished:
            run_directory.clean()  # what one left that was killed just after its seal
            say(console, f"{directory}: already finished")
            return run_directory
        run_directory.check_unfinished()
        recipe = read_config(directory / CONFIG)
        check_metrics(manifest, recipe.metric, vocabulary, directory)
        carried = Recorded(recipe, Shared(), vocabulary or standard_vocabulary())
        count = len(carried.recipe.image.batches)
        with stoppable() as stop:
            with Waiting(console) as waiting:
                drop_damaged(run_directory, count, teller(console), stop.watched(waiting.watch, directory))
            if missing := missing_units(run_directory.path, range(count)):
                named = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
                raise RunConflictError(
                    f"{directory}: {len(missing)} of {count} batches are not there: {named}; make them with jinv worker"
                )
            complete(run_directory, carried, timed(manifest, run_directory), console, stop)
    return run_directory


def timed(manifest: Manifest, run_directory: RunDirectory) -> Manifest:
    """The manifest with the seconds that the synthesis took so far, of all who worked on it."""
    return manifest.model_copy(update={"wall_seconds": round(seconds_spent(run_directory.path), 1)})


def complete(run_directory: RunDirectory, carried: Carried, manifest: Manifest, console: Console, stop: Stop) -> None:
    """What is left to do once the units are there: put them together, let verifiers judge them, report, seal.

    Raises:
      NumericalError: a unit failed; nothing is put together. Interrupted: an end was asked for; the run is not sealed, and
        goes on here. JinvError: of the evaluation; the run is finished without it then, for it was the images that took the time.
    """
    count = len(carried.recipe.image.batches)
    sync_folders(run_directory.path)
    join_lines(run_directory, count)
    join_times(run_directory.path, run_directory.path / WORKERS)
    check_failed(run_directory, count)
    with Waiting(console) as waiting:
        watch = stop.watched(waiting.watch, run_directory.path)
        assemble(run_directory, manifest, count, carried.recipe.output.arrays, watch)
    if carried.recipe.evaluate.verifiers or carried.recipe.metric:
        _evaluate(run_directory, carried, manifest, console, stop)
    else:
        finish(run_directory, manifest)


def judge_again(
    run_directory: RunDirectory, carried: Carried, manifest: Manifest, console: Console, stop: Stop
) -> None:
    """Let the verifiers judge a finished run that they, as their files are now, have not judged yet, or of which a metric has
    not been taken; raises as `complete`. Goes what one that was killed just after its seal left."""
    recipe, metrics = carried.recipe, bind_metrics(carried.recipe.metric, carried.vocabulary)
    if (recipe.evaluate.verifiers or metrics) and not is_judged(run_directory, recipe, metrics):
        run_directory.check_sealed(manifest)
        _evaluate(run_directory, carried, manifest, console, stop)
    run_directory.clean()


def _evaluate(run_directory: RunDirectory, carried: Carried, manifest: Manifest, console: Console, stop: Stop) -> None:
    asked = carried.recipe.evaluate
    metrics = bind_metrics(carried.recipe.metric, carried.vocabulary)
    say(console, "evaluating with " + ", ".join((*asked.verifiers, *metrics)))

    def network(name: str) -> Classifier:
        return judging_network(carried.shared, name, carried.vocabulary, teller(console))

    find = partial(find_judge, tables=asked.onnx, network=network)
    try:
        real = asked.reference, asked.photographs
        with Waiting(console) as waiting:
            watch = stop.watched(waiting.watch, run_directory.path)
            evaluate_run(run_directory.path, asked.verifiers, *real, find=find, metrics=metrics, watch=watch)
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
