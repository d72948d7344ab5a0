"""Writes a batch's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections.abc import Callable

import jax
import numpy as np

from jinv.errors import Interrupted
from jinv.experiment.experiment import Experiment
from jinv.record.directory import Checkpoint, RunDirectory
from jinv.runs.batches import Moment, place_text, work_done
from jinv.runs.progress import SynthesisProgress


class Recorder:
    """What a run in a directory does at every moment; `stop` says whether somebody asked for an end."""

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, progress: SynthesisProgress, stop: Callable[[], bool]
    ) -> None:
        self.experiment, self.directory, self.progress, self.stop = experiment, directory, progress, stop

    def __call__(self, moment: Moment) -> None:
        """Record a moment.

        Raises:
          Interrupted: a stop was asked for; what a resumption needs is written.
        """
        recipe, snapshot = self.experiment.recipe, moment.snapshot
        self.directory.append_metrics([moment.line])
        losses = {name: term.weighted for name, term in moment.line.terms.items()}
        work = work_done(recipe, self.experiment.batches[moment.batch], snapshot)
        self.progress.update(place_text(recipe, moment.batch, snapshot), work, losses)
        every, stop = recipe.checkpoint.every_steps, self.stop()
        # A state that is no longer finite is nothing to go on with.
        if np.isfinite(moment.line.total) and ((every and snapshot.step % every == 0) or stop):
            done = snapshot.stage_done
            leaves = None if done else jax.tree.leaves(snapshot.state)
            image = snapshot.image if done else None
            place = moment.batch, snapshot.stage + done, snapshot.step
            self.directory.save_checkpoint(Checkpoint(*place, leaves, image))
        if stop:
            where = f"step {snapshot.step} of batch {moment.batch}"
            raise Interrupted(f"{self.directory.path}: stopped at {where}; continue with --resume")
