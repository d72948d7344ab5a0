"""One batch of an experiment from its start to its images, told step by step to whoever watches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jinv.core.loop import Resume, Snapshot
from jinv.errors import NumericalError
from jinv.experiment.experiment import Experiment, work_until
from jinv.recipe.recipe import Recipe
from jinv.record.metrics import MetricsLine
from jinv.record.unfinished import Checkpoint
from jinv.record.units import Environment
from jinv.runs.progress import SynthesisProgress
from jinv.runs.records import metrics_line


class Moment(NamedTuple):
    """What is known at a logged step of a batch: the snapshot and its line of `metrics.jsonl`."""

    batch: int
    snapshot: Snapshot
    line: MetricsLine


def batch_images(
    experiment: Experiment,
    number: int,
    watch: Callable[[Moment], None],
    *,
    resume: Resume | None = None,
    due: Callable[[], bool] | None = None,
) -> np.ndarray:
    """The images (n, height, width, 3) of a batch, in network units; within `experiment.precision()`.

    `watch` is told of every logged step, and of steps between where `due` says so.

    Raises:
      NumericalError: a loss or an image that is no longer finite; `watch` was told of the step before.
    """
    image: Any = None
    for snapshot in experiment.snapshots(number, resume=resume, due=due):
        image = snapshot.image
        moment = Moment(number, snapshot, metrics_line(snapshot, experiment.recipe, number))
        watch(moment)
        total = moment.line.total
        if snapshot.logged and not np.isfinite(total):
            bad = [name for name, term in moment.line.terms.items() if not np.isfinite(term.value)]
            raise NumericalError(
                f"step {snapshot.step}: the loss is {total} ({', '.join(bad) or 'total'}); lower the learning rate"
            )
    if image is None:  # no stage has a step left: the result is the start
        image = experiment.start(number) if resume is None or resume.image is None else resume.image
    result = np.asarray(image)
    if not np.isfinite(result).all():
        raise NumericalError(f"batch {number}: the images are no longer finite; lower the learning rate")
    return result


def show(progress: SynthesisProgress, experiment: Experiment, moment: Moment, before: int | None = None) -> None:
    """Tell a waiting person of a moment: where it is, and the weighted terms.

    `before`: the images that are done besides the batch's; all those of earlier batches where it is not said.
    """
    losses = {name: term.weighted for name, term in moment.line.terms.items()}
    work = work_done(experiment.recipe, experiment.batches[moment.batch], moment.snapshot, before)
    part = moment.batch, moment.snapshot.stage
    progress.update(place_text(experiment.recipe, moment.batch, moment.snapshot), work, losses, part)


def checkpoint_of(
    batch: int,
    snapshot: Snapshot,
    owners: tuple[str, ...] = (),
    *,
    lines: tuple[str, ...],
    rate_scale: float = 1.0,
    where: tuple[Environment, ...] = (),
) -> Checkpoint:
    """What goes on from a snapshot: its state within a stage, its image at the end of one."""
    done = snapshot.stage_done
    leaves, image = (None, snapshot.image) if done else (jax.tree.leaves(snapshot.state), None)
    return Checkpoint(batch, snapshot.stage + done, snapshot.step, leaves, image, owners, lines, rate_scale, where)


def place_text(recipe: Recipe, batch: int, snapshot: Snapshot) -> str:
    """Where a synthesis is, in words."""
    stage = recipe.stages[snapshot.stage]
    where = f"step {snapshot.stage_step}/{stage.steps}  stage {snapshot.stage + 1}/{len(recipe.stages)}"
    if recipe.image.count > recipe.image.batch:
        where += f"  batch {batch + 1}/{len(recipe.image.batches)}"
    return f"{where}  ({stage.size[0]} px)"


def work_done(recipe: Recipe, chosen: slice, snapshot: Snapshot, before: int | None = None) -> float:
    """Steps times pixels of all images so far, `chosen` being those of the batch at hand; `before` as `show` has it."""
    stage = recipe.stages[snapshot.stage]
    own = work_until(recipe, snapshot.stage) + snapshot.stage_step * stage.size[0] * stage.size[1]
    done = chosen.start if before is None else before
    return float(done * work_until(recipe) + (chosen.stop - chosen.start) * own)
