"""Writes a batch's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections.abc import Iterable

import numpy as np

from jinv.experiment.experiment import Experiment
from jinv.record.directory import RunDirectory
from jinv.record.metrics import MetricsLine, add_line, lines_digest
from jinv.runs.batches import Moment, checkpoint_of, show
from jinv.runs.progress import SynthesisProgress
from jinv.runs.stopping import Saving


class Recorder:
    """What a run in a directory does at every moment; `saving` says when its state is kept, and whether it is to end."""

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, progress: SynthesisProgress, saving: Saving
    ) -> None:
        self.experiment, self.directory, self.progress, self.saving = experiment, directory, progress, saving
        self.lines = lines_digest([])

    def begin(self, lines: Iterable[MetricsLine]) -> None:
        """A batch begins, of which these lines are there already; `lines` is their digest, and that of those to come."""
        self.lines = lines_digest(lines)

    def __call__(self, moment: Moment) -> None:
        """Record a moment.

        Raises:
          Interrupted: a stop was asked for; what a resumption needs is written.
        """
        snapshot, stop = moment.snapshot, self.saving.stop.asked
        if snapshot.logged:
            self.directory.append_metrics([moment.line])
            add_line(self.lines, moment.line)
            show(self.progress, self.experiment, moment)
        # A state that is no longer finite is nothing to go on with.
        if self.saving.wanted(snapshot) and np.isfinite(moment.line.total):
            lines = (self.lines.hexdigest(),)
            self.directory.save_checkpoint(
                checkpoint_of(moment.batch, snapshot, lines=lines, seconds=self.saving.seconds)
            )
        if stop:
            self.saving.stop.check(self.directory.path, f"at step {snapshot.step} of batch {moment.batch}")
