"""Writes a unit's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections import deque
from typing import Any

import numpy as np

from jinv.experiment.experiment import Experiment
from jinv.record.unfinished import Work
from jinv.record.units import Environment
from jinv.runs.batches import Moment, checkpoint_of, show
from jinv.runs.progress import SynthesisProgress
from jinv.runs.stopping import Saving
from jinv.runs.worker import Worker


class Recorder:
    """What a worker does at every moment of a unit; `saving` says when its state is kept, and whether it is to end.

    before: the images that are done besides this unit's. rate_scale, environments: as a checkpoint has them.
    """

    def __init__(
        self,
        experiment: Experiment,
        worker: Worker,
        work: Work,
        progress: SynthesisProgress,
        saving: Saving,
        before: int,
    ) -> None:
        self.experiment, self.worker, self.work, self.progress = experiment, worker, work, progress
        self.saving, self.before = saving, before
        self.rate_scale, self.environments = 1.0, tuple[Environment, ...]()
        self.step = 0
        self._images: deque[Any] = deque(maxlen=2)

    def begin(self, rate_scale: float, environments: tuple[Environment, ...]) -> None:
        """The unit begins, or goes on, with what its checkpoints are to say of it."""
        self.rate_scale, self.environments = rate_scale, environments
        self._images.clear()

    def last_finite(self, number: int) -> np.ndarray:
        """The last images that were finite, of a unit that no longer is: of the logged steps, or its start."""
        for image in reversed(self._images):
            if np.isfinite(found := np.asarray(image)).all():
                return found
        return self.experiment.start(number)

    def __call__(self, moment: Moment) -> None:
        """Record a moment.

        Raises:
          Interrupted: a stop was asked for; what a resumption needs is written. TakenOverError: the unit is another's now.
        """
        snapshot, stop, number = moment.snapshot, self.saving.stop.asked, moment.batch
        self.step = snapshot.step
        if snapshot.logged:
            self.worker.guarded(number, lambda: self.work.append(moment.line))
            self._images.append(snapshot.image)
            show(self.progress, self.experiment, moment, self.before)
            self.worker.check(number)
        # A state that is no longer finite is nothing to go on with.
        if self.saving.wanted(snapshot) and np.isfinite(moment.line.total):
            state = checkpoint_of(
                number,
                snapshot,
                lines=(self.work.digest.hexdigest(),),
                rate_scale=self.rate_scale,
                where=self.environments,
            )
            self.worker.guarded(number, lambda: self.work.save(state))
            self.worker.log.say("checkpoint", number)
        if stop:
            self.saving.stop.check(self.worker.run, f"at step {snapshot.step} of batch {number}")
