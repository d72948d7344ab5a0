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

from jinv import experiment
from jinv.config import Recipe
from jinv.core import synthesis
from jinv.devices import check_devices, sharding
from jinv.errors import Interrupted, NumericalError, RunConflictError, UsageError
from jinv.evaluate import check_judges, evaluate_run
from jinv.labels import resolve_labels
from jinv.memory import keep_freed_memory
from jinv.memory_plan import check_fits
from jinv.models.classifier import Classifier
from jinv.models.precision import matmul_precision
from jinv.progress import SynthesisProgress
from jinv.run_records import metrics_line, new_manifest, record_images
from jinv.runs import RunDirectory, resolved_table
from jinv.start_images import load_init, measured_spectrum
from jinv.weights import load


def run(recipe: Recipe, directory: Path, *, resume: bool = False, console: Console | None = None) -> RunDirectory:
    """Carry `recipe` out in `directory`; returns it finished.

    Raises:
      JinvError: anything a user can mend; the exit codes of the command line are the classes of `jinv.errors`.
    """
    console = console or Console(stderr=True)
    keep_freed_memory()
    run_directory = RunDirectory(directory)
    experiment.check_recipe(recipe)
    check_devices(recipe)
    resuming = run_directory.prepare(resume=resume)
    try:
        classifier = load(recipe.model)
        if recipe.student is not None:
            classifier = classifier.with_student(load(recipe.student))
        labels, size = check_against_model(recipe, classifier)
        # Verifiers and the start image are looked at now: their mistakes should not cost a synthesis first.
        check_judges(recipe, classifier, labels)
        bound = experiment.bind_classifier(recipe, classifier)
        check_fits(recipe, bound)
        init = load_init(recipe, classifier, labels, size)
        spectra = {path: measured_spectrum(path) for path in experiment.spectra_of(recipe)}
    except BaseException:
        run_directory.discard()
        raise
    table = resolved_table(recipe, labels, size)
    manifest = run_directory.manifest() if resuming else None
    if manifest is not None:
        _check_same(run_directory, manifest, table, classifier)
        if manifest["finished"]:
            console.print(f"{directory}: already finished")
            return run_directory
    else:
        manifest = new_manifest(recipe, classifier, labels, size)
        run_directory.write_config(table)
        run_directory.write_json("manifest.json", manifest)
    started = time.monotonic()
    with _graceful_stop() as stop, matmul_precision(recipe.precision):
        images = _synthesize_all(recipe, bound, labels, size, init, spectra, run_directory, console, stop)
    manifest["wall_seconds"] = round(manifest.get("wall_seconds", 0) + time.monotonic() - started, 1)
    if recipe.verifiers:
        console.print("evaluating with " + ", ".join(recipe.verifiers), highlight=False)
    complete(run_directory, recipe, classifier, images, labels, manifest)
    return run_directory


def complete(
    run_directory: RunDirectory,
    recipe: Recipe,
    classifier: Classifier,
    images: np.ndarray,
    labels: list[int],
    manifest: dict[str, Any],
) -> None:
    """What is left to do once the images are there: record them, let verifiers judge them, report, seal."""
    record_images(run_directory, classifier, images, labels, manifest["class_names"])
    if recipe.verifiers:
        evaluate_run(run_directory.path, list(recipe.verifiers), recipe.reference)
    finish(run_directory, manifest)


def finish(run_directory: RunDirectory, manifest: dict[str, Any]) -> None:
    """Write the report and seal the manifest with the digest of every output."""
    from jinv.report import write_report

    run_directory.clean()
    manifest["finished"] = manifest.get("finished") or datetime.now(UTC).isoformat(timespec="seconds")
    run_directory.write_json("manifest.json", manifest)
    write_report(run_directory.path)
    run_directory.write_json("manifest.json", manifest | {"outputs": run_directory.digests()})


def check_against_model(recipe: Recipe, classifier: Classifier) -> tuple[list[int], tuple[int, int]]:
    """What only the model can say: are the labels its classes, are the sizes ones it allows?"""
    experiment.check_layers(recipe, classifier.variables["batch_stats"])
    labels = resolve_labels(recipe.labels, classifier.class_names, recipe.count, recipe.seed)
    size = recipe.image_size or (classifier.input_size, classifier.input_size)
    for name, (height, width) in [("image.size", size)] + [
        (f"stages[{i}].size", s.size) for i, s in enumerate(recipe.stages)
    ]:
        if min(height, width) < classifier.min_size:
            raise UsageError(
                f"{name}: {[height, width]} is smaller than {classifier.architecture} allows, {classifier.min_size} px"
            )
        if height > size[0] or width > size[1]:
            raise UsageError(f"{name}: {[height, width]} is larger than image.size {list(size)}")
    if recipe.stages[-1].size != size and recipe.keep == "best":
        raise UsageError(
            f"keep: 'best' needs a last stage at image.size {list(size)}, not {list(recipe.stages[-1].size)}"
        )
    return labels, size


def _check_same(
    run_directory: RunDirectory, manifest: dict[str, Any], table: dict[str, Any], classifier: Classifier
) -> None:
    import tomllib

    before = tomllib.loads((run_directory.path / "config.toml").read_text(encoding="utf-8"))
    changed = sorted(key for key in {*before, *table} if before.get(key) != table.get(key))
    if changed:
        detail = "; ".join(f"{key}: {before.get(key)!r} then, {table.get(key)!r} now" for key in changed)
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with another config: {detail}")
    if manifest["model"]["sha256"] != classifier.source["source"]["sha256"]:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with other weights than it was started with")
    if classifier.student and manifest.get("student_sha256") != classifier.student.source["source"]["sha256"]:
        raise RunConflictError(f"{run_directory.path}: cannot be resumed with another student than it was started with")


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
    starts = list(range(0, recipe.count, recipe.batch))
    work_per_image = sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages)
    checkpoint = run_directory.load_checkpoint()
    lines = [line for line in run_directory.read_lines("metrics.jsonl") if _kept(line, checkpoint, run_directory)]
    results = []
    with SynthesisProgress(console, work_per_image * recipe.count) as progress:
        spread = sharding(recipe, recipe.batch)
        devices = f"{len(spread.device_set)} devices, " if spread else ""
        progress.note(f"compiling {classifier.architecture} on {devices}{jax.default_backend()}")
        for batch, first in enumerate(starts):
            finished = run_directory.finished_batch(batch)
            if finished is None:
                chosen = slice(first, min(first + recipe.batch, recipe.count))
                finished = _synthesize_batch(
                    recipe, classifier, labels[chosen], size, None if init is None else init[chosen], spectra, batch, first,
                    run_directory, checkpoint if checkpoint and checkpoint[0] == batch else None, lines, progress, stop,
                )  # fmt: skip
                if len(starts) > 1:
                    run_directory.write_array(f"batches/{batch:06d}.npy", finished)
                run_directory.write_lines("metrics.jsonl", lines)
            results.append(finished)
    return np.concatenate(results)


def _kept(line: dict[str, Any], checkpoint: Any, run_directory: RunDirectory) -> bool:
    """A resumed run repeats what came after its last checkpoint; those lines are written again, not twice."""
    if run_directory.finished_batch(line["batch"]) is not None:
        return True
    return checkpoint is not None and line["batch"] == checkpoint[0] and line["step"] <= checkpoint[2]


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
    lines: list[dict[str, Any]],
    progress: SynthesisProgress,
    stop: Callable[[], bool],
) -> np.ndarray:
    ids = jnp.arange(first, first + len(labels), dtype=jnp.uint32)
    stages = [
        experiment.bind_stage(stage, i, len(labels), spectra=spectra.__getitem__)
        for i, stage in enumerate(recipe.stages)
    ]
    resume = synthesis.Resume(checkpoint[1], checkpoint[3], checkpoint[4]) if checkpoint else None
    work_before = [sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages[:i]) for i in range(len(stages))]
    bounds = pixel_bounds(recipe, classifier)
    snapshots = synthesis.synthesize(
        experiment.bind_forward(recipe, classifier),
        classifier.variables,
        jnp.asarray(labels),
        terms=lambda stage: experiment.bind_terms(recipe, stage.steps),
        stages=stages,
        image_size=size,
        seed=recipe.seed,
        image_ids=ids,
        init=init,
        augmentations=lambda stage: experiment.bind_augmentations(recipe, stage.size, stage.steps),
        bounds=bounds,
        keep=recipe.keep,
        copies=recipe.copies,
        log_every=recipe.log_every,
        log_gradients=recipe.log_gradients,
        checkpoint_every=recipe.checkpoint_every,
        resume=resume,
        sharding=sharding(recipe, len(labels)),
    )
    image: Any = None
    for snapshot in snapshots:
        image = snapshot.image
        line = metrics_line(snapshot, recipe, batch)
        lines.append(line)
        if not np.isfinite(line["total"]):
            run_directory.write_lines("metrics.jsonl", lines)
            bad = [name for name, term in line["terms"].items() if not np.isfinite(term["value"])]
            raise NumericalError(
                f"step {snapshot.step}: the loss is {line['total']} ({', '.join(bad) or 'total'}); lower the learning rate"
            )
        stage = recipe.stages[snapshot.stage]
        pixels = stage.size[0] * stage.size[1]
        where = (
            f"stage {snapshot.stage + 1}/{len(stages)} ({stage.size[0]} px)  step {snapshot.stage_step}/{stage.steps}"
        )
        if recipe.count > recipe.batch:
            where = f"batch {batch + 1}/{-(-recipe.count // recipe.batch)}  {where}"
        images_before = first * sum(s.steps * s.size[0] * s.size[1] for s in recipe.stages)
        work = images_before + len(labels) * (work_before[snapshot.stage] + snapshot.stage_step * pixels)
        progress.update(where, work, {name: term["weighted"] for name, term in line["terms"].items()})
        due = recipe.checkpoint_every and snapshot.step % recipe.checkpoint_every == 0
        if due or stop():
            done = snapshot.stage_done
            leaves = None if done else jax.tree.leaves(snapshot.state)
            run_directory.write_lines("metrics.jsonl", lines)
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


def pixel_bounds(recipe: Recipe, classifier: Classifier) -> synthesis.Bounds | None:
    """What the variable is clipped to after every update, in network units."""
    if recipe.clip == "none":
        return None
    if recipe.clip == "variable":
        return synthesis.clip_bounds(classifier.mean, classifier.std)
    low, high = recipe.clip_bounds
    return jnp.full(3, low), jnp.full(3, high)


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
