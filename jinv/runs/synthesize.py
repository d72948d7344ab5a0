"""Carries a `Recipe` out in a run directory: load, synthesize batch after batch, record, evaluate, report."""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jinv.core import synthesis
from jinv.errors import Interrupted, JinvError, NumericalError
from jinv.experiment import bind
from jinv.experiment.devices import check_devices, sharding
from jinv.experiment.inputs import load_inputs, measured_spectra
from jinv.runs.checks import check_same
from jinv.experiment.memory import check_fits
from jinv.judge.evaluate import evaluate_run, is_judged
from jinv.runs.allocator import keep_freed_memory
from jinv.models.classifier import Classifier
from jinv.models.precision import matmul_precision
from jinv.runs.progress import SynthesisProgress
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest
from jinv.record.metrics import MetricsLine
from jinv.runs.records import metrics_line, new_manifest, record_images


def run(recipe: Recipe, directory: Path, *, resume: bool = False, console: Console | None = None) -> RunDirectory:
    """Carry `recipe` out in `directory`; returns it finished.

    Raises:
      JinvError: anything a user can mend; the exit codes of the command line are the classes of `jinv.errors`.
    """
    console = console or Console(stderr=True)
    keep_freed_memory()
    run_directory = RunDirectory(directory)
    bind.check_recipe(recipe)
    check_devices(recipe)
    resuming = run_directory.prepare(resume=resume)
    try:
        inputs = load_inputs(recipe)
        classifier, labels, size, init = inputs
        bound = bind.bind_classifier(recipe, classifier)
        check_fits(recipe, bound)
        spectra = measured_spectra(recipe)
    except BaseException:
        run_directory.discard()
        raise
    manifest = run_directory.manifest() if resuming else None
    if manifest is not None:
        check_same(run_directory, manifest, recipe, inputs)
        if manifest.finished:
            if recipe.evaluate.verifiers and not is_judged(run_directory, recipe):
                _evaluate(run_directory, recipe, manifest, console)
            console.print(f"{directory}: already finished")
            return run_directory
    else:
        manifest = new_manifest(recipe, classifier, labels, size)
        run_directory.write_config(resolved_table(recipe, labels, size))
        run_directory.write_manifest(manifest)
    started = time.monotonic()
    with _graceful_stop() as stop, matmul_precision(recipe.precision):
        images = _synthesize_all(recipe, bound, labels, size, init, spectra, run_directory, console, stop)
    seconds = round((manifest.wall_seconds or 0) + time.monotonic() - started, 1)
    manifest = manifest.model_copy(update={"wall_seconds": seconds})
    complete(run_directory, recipe, classifier, images, labels, manifest, console)
    return run_directory


def complete(
    run_directory: RunDirectory,
    recipe: Recipe,
    classifier: Classifier,
    images: np.ndarray,
    labels: list[int],
    manifest: Manifest,
    console: Console,
) -> None:
    """What is left to do once the images are there: record them, let verifiers judge them, report, seal.

    Raises:
      JinvError: of the evaluation; the run is finished without it then, for it was the images that took the time.
    """
    record_images(run_directory, classifier, images, labels, manifest.class_names)
    if recipe.evaluate.verifiers:
        _evaluate(run_directory, recipe, manifest, console)
    else:
        finish(run_directory, manifest)


def _evaluate(run_directory: RunDirectory, recipe: Recipe, manifest: Manifest, console: Console) -> None:
    console.print("evaluating with " + ", ".join(recipe.evaluate.verifiers), highlight=False)
    try:
        evaluate_run(run_directory.path, list(recipe.evaluate.verifiers), recipe.evaluate.reference)
    except JinvError as error:
        finish(run_directory, manifest)
        hint = f"the images are there; then: jinv evaluate {run_directory.path}"
        raise type(error)(f"{error} ({hint})") from error
    finish(run_directory, manifest)


def finish(run_directory: RunDirectory, manifest: Manifest) -> None:
    """Write the report, seal the manifest with the digest of every output, remove what only an unfinished run needs."""
    from jinv.report.page import write_report

    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = manifest.model_copy(update={"finished": manifest.finished or now})
    write_report(run_directory.path, manifest)
    run_directory.write_manifest(manifest.model_copy(update={"outputs": run_directory.digests()}))
    run_directory.clean()


def _synthesize_all(
    recipe: Recipe,
    classifier: Classifier,
    labels: list[int],
    size: tuple[int, int],
    init: np.ndarray | None,
    spectra: dict[str, Callable[..., Any]],
    run_directory: RunDirectory,
    console: Console,
    stop: Callable[[], bool],
) -> np.ndarray:
    starts = list(range(0, recipe.image.count, recipe.image.batch))
    work_per_image = sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages)
    checkpoint = run_directory.load_checkpoint()
    run_directory.rewrite_metrics([line for line in run_directory.metrics() if _kept(line, checkpoint, run_directory)])
    results = []
    with SynthesisProgress(console, work_per_image * recipe.image.count) as progress:
        spread = sharding(recipe, recipe.image.batch)
        devices = f"{len(spread.device_set)} devices, " if spread else ""
        progress.note(f"compiling {classifier.architecture} on {devices}{jax.default_backend()}")
        for batch, first in enumerate(starts):
            finished = run_directory.finished_batch(batch)
            if finished is None:
                chosen = slice(first, min(first + recipe.image.batch, recipe.image.count))
                finished = _synthesize_batch(
                    recipe, classifier, labels[chosen], size, None if init is None else init[chosen], spectra, batch, first,
                    run_directory, checkpoint if checkpoint and checkpoint[0] == batch else None, progress, stop,
                )  # fmt: skip
                run_directory.write_array(f"batches/{batch:06d}.npy", finished)
            results.append(finished)
    return np.concatenate(results)


def _kept(line: MetricsLine, checkpoint: Any, run_directory: RunDirectory) -> bool:
    """A resumed run repeats what came after its last checkpoint; those lines are written again, not twice."""
    if run_directory.finished_batch(line.batch) is not None:
        return True
    return checkpoint is not None and line.batch == checkpoint[0] and line.step <= checkpoint[2]


def _synthesize_batch(
    recipe: Recipe,
    classifier: Classifier,
    labels: list[int],
    size: tuple[int, int],
    init: np.ndarray | None,
    spectra: dict[str, Callable[..., Any]],
    batch: int,
    first: int,
    run_directory: RunDirectory,
    checkpoint: Any,
    progress: SynthesisProgress,
    stop: Callable[[], bool],
) -> np.ndarray:
    ids = jnp.arange(first, first + len(labels), dtype=jnp.uint32)
    stages = [
        bind.bind_stage(stage, i, len(labels), spectra=spectra.__getitem__) for i, stage in enumerate(recipe.stages)
    ]
    resume = synthesis.Resume(checkpoint[1], checkpoint[3], checkpoint[4]) if checkpoint else None
    work_before = [sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages[:i]) for i in range(len(stages))]
    bounds = bind.pixel_bounds(recipe, classifier)
    snapshots = synthesis.synthesize(
        bind.bind_forward(recipe, classifier),
        classifier.variables,
        jnp.asarray(labels),
        terms=lambda stage: bind.bind_terms(recipe, stage.steps),
        stages=stages,
        image_size=size,
        seed=recipe.seed,
        image_ids=ids,
        init=init,
        augmentations=lambda stage: bind.bind_augmentations(recipe, stage.size, stage.steps),
        bounds=bounds,
        keep=recipe.keep,
        copies=recipe.copies,
        log_every=recipe.log_every,
        log_gradients=recipe.log_gradients,
        checkpoint_every=recipe.checkpoint.every_steps,
        resume=resume,
        sharding=sharding(recipe, len(labels)),
    )
    image: Any = None
    for snapshot in snapshots:
        image = snapshot.image
        line = metrics_line(snapshot, recipe, batch)
        run_directory.append_metrics([line])
        if not np.isfinite(line.total):
            bad = [name for name, term in line.terms.items() if not np.isfinite(term.value)]
            raise NumericalError(
                f"step {snapshot.step}: the loss is {line.total} ({', '.join(bad) or 'total'}); lower the learning rate"
            )
        stage = recipe.stages[snapshot.stage]
        pixels = stage.size[0] * stage.size[1]
        where = (
            f"stage {snapshot.stage + 1}/{len(stages)} ({stage.size[0]} px)  step {snapshot.stage_step}/{stage.steps}"
        )
        if recipe.image.count > recipe.image.batch:
            where = f"batch {batch + 1}/{-(-recipe.image.count // recipe.image.batch)}  {where}"
        images_before = first * sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages)
        work = images_before + len(labels) * (work_before[snapshot.stage] + snapshot.stage_step * pixels)
        progress.update(where, work, {name: term.weighted for name, term in line.terms.items()})
        due = recipe.checkpoint.every_steps and snapshot.step % recipe.checkpoint.every_steps == 0
        if due or stop():
            done = snapshot.stage_done
            leaves = None if done else jax.tree.leaves(snapshot.state)
            run_directory.save_checkpoint(batch, snapshot.stage + done, snapshot.step, leaves, image if done else None)
        if stop():
            raise Interrupted(
                f"{run_directory.path}: stopped at step {snapshot.step} of batch {batch}; continue with --resume"
            )
    if image is None:  # no stage has a step left: the result is the start
        start = resume.image if resume and resume.image is not None else init
        image = synthesis.initial_noise(jax.random.key(recipe.seed), ids, size) if start is None else start
    result = np.asarray(image)
    if not np.isfinite(result).all():
        raise NumericalError(f"batch {batch}: the images are no longer finite; lower the learning rate")
    return result


@contextmanager
def _graceful_stop() -> Any:
    """SIGTERM asks for a stop at the next recorded step; elsewhere than in the main thread nothing is installed."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True

    try:
        before = signal.signal(signal.SIGTERM, ask)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        sys.stdout.flush()
