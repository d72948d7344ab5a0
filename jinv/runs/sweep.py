"""Carries a sweep out: group by group in one program each, a run directory per setting, and what compares them."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jinv.core import synthesis
from jinv.core.sweep import Bound, snapshot_of, synthesize_sweep
from jinv.errors import JinvError, NumericalError, RunConflictError, UsageError
from jinv.experiment import bind
from jinv.experiment.inputs import load_inputs, network_cache
from jinv.experiment.numbers import Place, groups, replace_numbers, varied_numbers
from jinv.experiment.start_images import measured_spectrum
from jinv.runs.allocator import keep_freed_memory
from jinv.models.classifier import Classifier
from jinv.models.precision import matmul_precision
from jinv.runs.progress import SynthesisProgress
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest, SweepSetting
from jinv.record.metrics import MetricsLine
from jinv.runs.records import metrics_line, new_manifest
from jinv.runs.sweep_summary import SettingResult, summarize
from jinv.runs.synthesize import complete


@dataclass
class SettingRun:
    """One setting with what it needs and what becomes of it; `diverged_at` is the first step whose loss is not finite."""

    variation: Variation
    directory: RunDirectory
    classifier: Classifier
    labels: list[int]
    size: tuple[int, int]
    init: np.ndarray | None
    manifest: Manifest
    lines: list[MetricsLine]
    images: list[np.ndarray]
    diverged_at: int | None = None


def run_sweep(
    variations: Sequence[Variation], directory: Path, *, at_once: int | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Carry every variation out in `directory`; returns what `sweep.json` holds, the best setting first.

    Args:
      at_once: at most so many settings in one program at a time, where all would need too much memory.

    Raises:
      JinvError: anything a user can mend; an evaluation's, once every setting's images are recorded.
      NumericalError: every setting diverged; where only some do they are marked.
    """
    console = console or Console(stderr=True)
    keep_freed_memory()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunConflictError(f"{directory}: already exists; choose another --out (a sweep is not resumed)")
    for variation in variations:
        bind.check_recipe(variation.recipe)
        if variation.recipe.log_gradients:
            raise UsageError("log_gradients: not recorded in a sweep; leave it out, or run the setting alone")
        if variation.recipe.devices:
            raise UsageError("devices: a sweep runs on one device; leave it out, or run the setting alone")
    sweep_directory = RunDirectory(directory)
    sweep_directory.prepare(resume=False)
    try:
        runs = _prepare(variations, directory)
    except BaseException:
        sweep_directory.discard()
        raise
    started = time.monotonic()
    parts: list[tuple[list[SettingRun], dict[Place, list[float | int]]]] = []
    for group in groups(variations):
        numbers = varied_numbers(group)
        for start in range(0, len(group), at_once or len(group)):
            chosen = slice(start, start + (at_once or len(group)))
            slices = {place: values[chosen] for place, values in numbers.items()}
            parts.append(([runs[variation.index] for variation in group[chosen]], slices))
    work = sum(_work(run.variation.recipe) * run.variation.recipe.image.count for run in runs)
    with SynthesisProgress(console, work) as progress:
        for number, (members, slices) in enumerate(parts):
            part = f"part {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
            where = f"{part}{len(members)} settings"
            _synthesize_part(members, slices, progress, where)
    failed: JinvError | None = None
    for run in runs:
        if run.diverged_at is None:
            images = np.concatenate(run.images)
            try:
                complete(run.directory, run.variation.recipe, run.classifier, images, run.labels, run.manifest, console)
            except JinvError as error:  # of its evaluation; the other settings' images are there too
                failed = failed or error
            console.print(f"{run.directory.path.name}: recorded", highlight=False)
    programs = [[run.variation.name for run in members] for members, _ in parts]
    summary = summarize([_result(run) for run in runs], programs, runs[0].manifest)
    summary["wall_seconds"] = round(time.monotonic() - started, 1)
    sweep_directory.write_json("sweep.json", summary)
    finished = [run.directory.path for run in runs if run.diverged_at is None]
    if len(finished) > 1:
        from jinv.report.page import write_comparison

        write_comparison(finished, directory / "comparison.html")
    if not finished:
        raise NumericalError(f"{directory}: the loss of every setting stopped being finite; lower the learning rates")
    if failed is not None:
        raise failed
    return summary


def _result(run: SettingRun) -> SettingResult:
    evaluation = run.directory.evaluation()
    return SettingResult(run.variation.name, run.variation.changes, run.lines, evaluation, run.diverged_at)


def _prepare(variations: Sequence[Variation], directory: Path) -> list[SettingRun]:
    """Load what every setting needs, each network once, so that mistakes show before any synthesis."""
    network = network_cache()
    checked = [load_inputs(variation.recipe, network) for variation in variations]
    bound: dict[Any, Classifier] = {}
    runs = []
    for variation, (loaded, labels, size, init) in zip(variations, checked, strict=True):
        recipe = variation.recipe
        kind = recipe.model, recipe.student, recipe.precision, recipe.remat
        if kind not in bound:
            bound[kind] = bind.bind_classifier(recipe, loaded)
        classifier = bound[kind]
        manifest = new_manifest(variation.recipe, classifier, labels, size)
        setting = SweepSetting(name=variation.name, changes=variation.changes)
        manifest = manifest.model_copy(update={"sweep": setting})
        place = RunDirectory(directory / variation.name)
        runs.append(SettingRun(variation, place, classifier, labels, size, init, manifest, [], []))
    return runs


def _work(recipe: Recipe) -> int:
    """Steps times pixels of one image."""
    return sum(stage.steps * stage.size[0] * stage.size[1] for stage in recipe.stages)


def _synthesize_part(
    runs: list[SettingRun], numbers: dict[Place, list[float | int]], progress: SynthesisProgress, where: str
) -> None:
    """Some settings of one group, batch after batch, side by side."""
    for run in runs:
        run.directory.prepare(resume=False)
        run.directory.write_config(resolved_table(run.variation.recipe, run.labels, run.size))
        run.directory.write_manifest(run.manifest)
        run.directory.rewrite_metrics([])
    recipe, started = runs[0].variation.recipe, time.monotonic()
    progress.note(f"compiling {runs[0].classifier.architecture} for {where} on {jax.default_backend()}")
    done_before = progress.done
    for first in range(0, recipe.image.count, recipe.image.batch):
        chosen = slice(first, min(first + recipe.image.batch, recipe.image.count))
        with matmul_precision(recipe.precision):
            _synthesize_batch(runs, numbers, first // recipe.image.batch, chosen, progress, where, done_before)
    for run in runs:
        # A program's time is shared by its settings; the sum over the runs is what the sweep took.
        seconds = round((time.monotonic() - started) / len(runs), 1)
        run.manifest = run.manifest.model_copy(update={"wall_seconds": seconds})


def _synthesize_batch(
    runs: list[SettingRun],
    numbers: dict[Place, list[float | int]],
    batch: int,
    chosen: slice,
    progress: SynthesisProgress,
    where: str,
    done_before: float,
) -> None:
    recipe, classifier = runs[0].variation.recipe, runs[0].classifier
    count = chosen.stop - chosen.start
    spectra = functools.cache(measured_spectrum)  # measured when first bound, outside the program

    def bound(index: int, setting: dict[str, Any]) -> Bound:
        mine = replace_numbers(recipe, lambda place, value: setting.get(_key(place), value))
        stage = bind.bind_stage(mine.stages[index], index, count, spectra=spectra)
        terms = bind.bind_terms(mine, stage.steps)
        return Bound(stage, terms, bind.bind_augmentations(mine, stage.size, stage.steps))

    images: Any = None
    work_before = [_work_until(recipe, index) for index in range(len(recipe.stages))]
    for snapshot in synthesize_sweep(
        bind.bind_forward(recipe, classifier),
        classifier.variables,
        jnp.asarray([run.labels[chosen] for run in runs], jnp.int32),
        bind=bound,
        num_stages=len(recipe.stages),
        settings={_key(place): jnp.asarray(values, jnp.float32) for place, values in numbers.items()},
        seeds=[run.variation.recipe.seed for run in runs],
        image_size=runs[0].size,
        image_ids=jnp.arange(chosen.start, chosen.stop, dtype=jnp.uint32),
        # With start images, each setting's own: a draw for its seed and labels, for one.
        init=None if runs[0].init is None else np.stack([run.init[chosen] for run in runs if run.init is not None]),
        bounds=bind.pixel_bounds(recipe, classifier),
        keep=recipe.keep,
        copies=recipe.copies,
        log_every=recipe.log_every,
    ):
        images = snapshot.images
        on_host = snapshot._replace(metrics=jax.device_get(snapshot.metrics))
        totals = []
        for position, run in enumerate(runs):
            line = metrics_line(snapshot_of(on_host, position), run.variation.recipe, batch)
            run.lines.append(line)
            run.directory.append_metrics([line])
            totals.append(line.total)
            if run.diverged_at is None and not np.isfinite(line.total):
                run.diverged_at = snapshot.step
        stage = recipe.stages[snapshot.stage]
        done = work_before[snapshot.stage] + snapshot.stage_step * stage.size[0] * stage.size[1]
        text = f"{where}  stage {snapshot.stage + 1}/{len(recipe.stages)} ({stage.size[0]} px)  step {snapshot.stage_step}/{stage.steps}"
        if recipe.image.count > recipe.image.batch:
            text = f"batch {batch + 1}/{-(-recipe.image.count // recipe.image.batch)}  {text}"
        work = done_before + len(runs) * (chosen.start * _work(recipe) + count * done)
        progress.update(text, work, {"lowest total": min(totals), "highest": max(totals)})
    if images is None:  # no stage has a step: the result is the start
        keys = [jax.random.key(run.variation.recipe.seed) for run in runs]
        ids = jnp.arange(chosen.start, chosen.stop, dtype=jnp.uint32)
        images = [
            synthesis.initial_noise(key, ids, run.size) if run.init is None else run.init[chosen]
            for key, run in zip(keys, runs, strict=True)
        ]
    for run, result in zip(runs, np.asarray(images), strict=True):
        run.images.append(result)
        if run.diverged_at is None and not np.isfinite(result).all():
            run.diverged_at = run.lines[-1].step if run.lines else 0


def _work_until(recipe: Recipe, index: int) -> int:
    return sum(stage.steps * stage.size[0] * stage.size[1] for stage in recipe.stages[:index])


def _key(place: Place) -> str:
    return ".".join(map(str, place))
