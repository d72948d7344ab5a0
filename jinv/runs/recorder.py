"""Writes a batch's moments down as they come: a line each, checkpoints, what a waiting person sees."""

import numpy as np

from jinv.experiment.experiment import Experiment
from jinv.record.directory import RunDirectory
from jinv.runs.batches import Moment, checkpoint_of, show
from jinv.runs.progress import SynthesisProgress
from jinv.runs.stopping import Saving


class Recorder:
    """What a run in a directory does at every moment; `saving` says when its state is kept, and whether it is to end."""

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, progress: SynthesisProgress, saving: Saving
    ) -> None:
        self.experiment, self.directory, self.progress, self.saving = experiment, directory, progress, saving

    def __call__(self, moment: Moment) -> None:
        """Record a moment.

        Raises:
          Interrupted: a stop was asked for; what a resumption needs is written.
        """
        snapshot, stop = moment.snapshot, self.saving.stop.asked
        if snapshot.logged:
            self.directory.append_metrics([moment.line])
            show(self.progress, self.experiment, moment)
        # A state that is no longer finite is nothing to go on with.
        if self.saving.wanted(snapshot) and np.isfinite(moment.line.total):
            self.directory.save_checkpoint(checkpoint_of(moment.batch, snapshot, seconds=self.saving.seconds))
        if stop:
            self.saving.stop.check(self.directory.path, f"at step {snapshot.step} of batch {moment.batch}")
