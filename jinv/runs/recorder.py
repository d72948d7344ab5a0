"""Writes a batch's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections.abc import Callable, Iterable

import numpy as np

from jinv.errors import Interrupted
from jinv.experiment.experiment import Experiment
from jinv.record.directory import RunDirectory
from jinv.record.metrics import MetricsLine, add_line, lines_digest
from jinv.runs.batches import Moment, checkpoint_of, show
from jinv.runs.progress import SynthesisProgress


class Recorder:
    """What a run in a directory does at every moment; `stop` says whether somebody asked for an end."""

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, progress: SynthesisProgress, stop: Callable[[], bool]
    ) -> None:
        self.experiment, self.directory, self.progress, self.stop = experiment, directory, progress, stop
        self.lines = lines_digest([])

    def begin(self, lines: Iterable[MetricsLine]) -> None:
        """A batch begins, of which these lines are there already; `lines` is their digest, and that of those to come."""
        self.lines = lines_digest(lines)

    def __call__(self, moment: Moment) -> None:
        """Record a moment.

        Raises:
          Interrupted: a stop was asked for; what a resumption needs is written.
        """
        recipe, snapshot = self.experiment.recipe, moment.snapshot
        self.directory.append_metrics([moment.line])
        add_line(self.lines, moment.line)
        show(self.progress, self.experiment, moment)
        every, stop = recipe.checkpoint.every_steps, self.stop()
        # A state that is no longer finite is nothing to go on with.
        if np.isfinite(moment.line.total) and ((every and snapshot.step % every == 0) or stop):
            self.directory.save_checkpoint(checkpoint_of(moment.batch, snapshot, lines=(self.lines.hexdigest(),)))
        if stop:
            where = f"step {snapshot.step} of batch {moment.batch}"
            raise Interrupted(f"{self.directory.path}: stopped at {where}; continue with --resume")
