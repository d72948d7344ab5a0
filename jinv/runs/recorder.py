"""Writes a batch's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections.abc import Callable

import numpy as np

from jinv.errors import Interrupted
from jinv.experiment.experiment import Experiment
from jinv.record.directory import RunDirectory
from jinv.runs.batches import Moment, checkpoint_of, show
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
        show(self.progress, self.experiment, moment)
        every, stop = recipe.checkpoint.every_steps, self.stop()
        # A state that is no longer finite is nothing to go on with.
        if np.isfinite(moment.line.total) and ((every and snapshot.step % every == 0) or stop):
            self.directory.save_checkpoint(checkpoint_of(moment.batch, snapshot))
        if stop:
            where = f"step {snapshot.step} of batch {moment.batch}"
            raise Interrupted(f"{self.directory.path}: stopped at {where}; continue with --resume")
