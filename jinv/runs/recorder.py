"""Writes a unit's moments down as they come: a line each, checkpoints, what a waiting person sees."""

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from jinv.experiment.experiment import Experiment
from jinv.record.timing import StepTime
from jinv.record.unfinished import Checkpoint, Work
from jinv.record.units import Environment
from jinv.runs.batches import Moment, checkpoint_of, show
from jinv.runs.frames import Frames
from jinv.runs.progress import SynthesisProgress
from jinv.runs.sinks import Sinks
from jinv.runs.stopping import Saving
from jinv.runs.timing import Stopwatch
from jinv.runs.worker import Worker


class Watchers(NamedTuple):
    """Who is told of a unit's moments besides its files; `saving` says when its state is kept, and whether it is to end."""

    progress: SynthesisProgress
    saving: Saving
    sinks: Sinks
    stopwatch: Stopwatch


class Recorder:
    """What a worker does at every moment of a unit, and at its end.

    before: the images that are done besides this unit's. rate_scale, environments: as a checkpoint has them.
    """

    def __init__(
        self, experiment: Experiment, worker: Worker, work: Work, number: int, before: int, watchers: Watchers
    ) -> None:
        self.experiment, self.worker, self.work, self.number, self.before = experiment, worker, work, number, before
        self.progress, self.saving, self.sinks, self.stopwatch = watchers
        self.frames, self.times = Frames(experiment, number), list[StepTime]()
        self.rate_scale, self.environments = 1.0, tuple[Environment, ...]()
        self.step = 0
        self._images: deque[Any] = deque(maxlen=2)

    def begin(self, rate_scale: float, environments: tuple[Environment, ...], checkpoint: Checkpoint | None) -> None:
        """The unit begins, or goes on at a checkpoint, with what its checkpoints are to say of it."""
        self.rate_scale, self.environments = rate_scale, environments
        self._images.clear()
        self.times.clear()
        self.frames.begin(checkpoint.frames if checkpoint else None)

    def end(self, images: np.ndarray, failed: object) -> None:
        """The unit is computed: its times are kept, and sinks are shown its images."""
        self._keep_times()
        if not failed:
            self.sinks.images(self.number, images)

    def _keep_times(self) -> None:
        self.worker.log.time(self.times)
        self.times.clear()

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
            self.times.append(self.stopwatch.read(number, snapshot))
            self.sinks.line(moment.line, self.times[-1])
            self._images.append(snapshot.image)
            show(self.progress, self.experiment, moment, self.before)
            self.worker.check(number)
        if snapshot.frame:
            self.frames.add(snapshot.image)
        # A state that is no longer finite is nothing to go on with.
        if self.saving.wanted(snapshot) and np.isfinite(moment.line.total):
            state = checkpoint_of(
                number,
                snapshot,
                lines=(self.work.digest.hexdigest(),),
                rate_scale=self.rate_scale,
                where=self.environments,
            )._replace(frames=self.frames.state)
            self._keep_times()  # first: lines of which a kill leaves no times come never again
            self.worker.guarded(number, lambda: self.work.save(state))
            self.worker.log.say("checkpoint", number)
        if stop:
            self.saving.stop.check(self.worker.run, f"at step {snapshot.step} of batch {number}")
