"""Carries the units of a run out, one after another, each written while the next one is computed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from jinv.core.loop import Resume
from jinv.errors import NumericalError
from jinv.experiment.experiment import Experiment
from jinv.images.codec import picture_bytes
from jinv.record.pictures import SUFFIXES
from jinv.record.unfinished import Checkpoint, Work, environments_of
from jinv.record.units import Failure, UnitRecord, missing_units, publish, unit_folder, write_unit
from jinv.runs.batches import batch_images
from jinv.runs.frames import Frames
from jinv.runs.progress import SynthesisProgress
from jinv.runs.recorder import Recorder, Watchers
from jinv.runs.records import environment
from jinv.runs.sinks import SILENT, Sinks
from jinv.runs.stopping import Saving
from jinv.runs.timing import Stopwatch
from jinv.runs.worker import TakenOverError, Worker
from jinv.weights.labels import class_folders, slug

LOWER_RATE = 0.5
"""What learning rates are multiplied by where a unit is made anew because its loss was no longer finite."""

LONGEST_WAIT_S = 5.0


class Writing:
    """What is written in the background: one thing at a time, and nothing before the one before it is there."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "jinv-writing")
        self._last: Future[None] | None = None

    def begin(self, write: Callable[[], None]) -> None:
        """Write, once what was begun before is written; raises what that raised."""
        self.wait()
        self._last = self._pool.submit(write)

    def wait(self) -> None:
        """Wait for what was begun; raises what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is None:
                self.wait()
            else:  # what ended the work says more
                with suppress(Exception):
                    self.wait()
        finally:
            self._pool.shutdown()


class Pictures:
    """A run's images as the files that `[output]` asks for."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.output = experiment, experiment.recipe.output
        classes = dict(zip(experiment.labels, experiment.class_names, strict=True))
        self._folders = class_folders(classes) if self.output.layout == "imagefolder" else ()
        self._names = {label: slug(name) for label, name in classes.items()}

    def of(self, number: int, images: np.ndarray) -> dict[str, bytes]:
        """The files of a unit's images, by their names relative to the run."""
        first, found = self.experiment.batches[number].start, {}
        for place, pixels in enumerate(self.experiment.classifier.to_uint8(images)):
            label = self.experiment.labels[first + place]
            folder = f"images/{self._folders[label]}" if self._folders else "images"
            name = f"{folder}/{first + place:06d}_{self._names[label]}{SUFFIXES[self.output.format]}"
            found[name] = picture_bytes(pixels, self.output.format, self.output.quality)
        return found


def make_final(
    worker: Worker,
    work: Work,
    record: UnitRecord,
    images: np.ndarray,
    pictures: Pictures,
    frames: Frames | None = None,
) -> None:
    """Write a unit that is computed, where it is still one's own, and give it back. One that failed has no pictures.

    Raises:
      StorageError: it cannot be written.
    """
    run, number = worker.run, record.unit
    files = {} if record.failed else pictures.of(number, images) | (frames.files() if frames else {})

    def write() -> None:
        if write_unit(run, record, images.astype(np.float32, copy=False), work.lines, files):
            publish(run, record.model_copy(update={"files": dict.fromkeys(files, "")}))

    try:
        worker.guarded(number, write)
    except TakenOverError:
        worker.log.say("lost", number)
    else:
        worker.log.say("unit", number, images=len(images), failed=True if record.failed else None)
    worker.claims.release(number, done=True)


class Units:
    """A worker's way through the units of a run."""

    def __init__(
        self,
        experiment: Experiment,
        worker: Worker,
        progress: SynthesisProgress,
        saving: Saving,
        say: Callable[[str], None],
        sinks: Sinks = SILENT,
    ) -> None:
        self.experiment, self.worker, self.progress, self.saving, self.say = experiment, worker, progress, saving, say
        self.watchers = Watchers(progress, saving, sinks, Stopwatch())
        self.environment = environment()
        self.pictures = Pictures(experiment)
        self.writing = Writing()
        self.here = 0

    def carry_out(self, only: Sequence[int] | None = None) -> None:
        """Make every unit that is not there, or `only` those; returns when all are. What living others make is waited for.

        Raises:
          Interrupted: a stop was asked for. StorageError: a unit cannot be written.
        """
        wanted = range(len(self.experiment.batches)) if only is None else only
        with self.writing, self.experiment.precision():
            while remaining := missing_units(self.worker.run, wanted):
                self._note_images(remaining)
                began = [number for number in self._in_turn(remaining) if self._take(number)]
                self.writing.wait()
                if not began and (left := missing_units(self.worker.run, wanted)):
                    self.progress.note(f"waiting for {len(left)} batches that others make")
                    self._pause()

    def _in_turn(self, remaining: list[int]) -> list[int]:
        """Where several work each begins elsewhere, so that they seldom want the same."""
        if self.worker.claims.alone:
            return remaining
        first = hash(self.worker.token) % len(remaining)
        return remaining[first:] + remaining[:first]

    def _take(self, number: int) -> bool:
        self.saving.stop.check(self.worker.run, f"before batch {number}")
        if unit_folder(self.worker.run, number).is_dir():
            return False
        work = self.worker.take(number)
        if work is None:
            return False
        if unit_folder(self.worker.run, number).is_dir():  # made between the two looks
            self.worker.claims.release(number, done=True)
            return False
        try:
            self._make(number, work)
        except TakenOverError:
            self.say(f"{self.worker.run}: batch {number} is somebody else's by now; going on with the next")
            self.worker.leave(number)
        finally:
            work.close()
        return True

    def _make(self, number: int, work: Work) -> None:
        """Compute a unit, and have it written."""
        chosen = self.experiment.batches[number]
        recorder = Recorder(self.experiment, self.worker, work, number, self.here, self.watchers)
        checkpoint = work.checkpoint(number, self.say)
        scale = checkpoint.rate_scale if checkpoint else 1.0
        failed: Failure | None = None
        while True:
            try:
                images = self._images(number, recorder, checkpoint, scale)
                break
            except NumericalError as error:
                if scale < 1.0:
                    images, failed = recorder.last_finite(number), Failure(step=recorder.step, why=str(error))
                    break
                scale, checkpoint = LOWER_RATE, None
                self.say(f"batch {number}: {error}; it is made anew with {scale:g} times the learning rate")
        record = UnitRecord(
            unit=number,
            first=chosen.start,
            labels=self.experiment.labels[chosen],
            environments=recorder.environments,
            learning_rate_scale=scale,
            failed=failed,
        )
        recorder.end(images, failed)
        self.writing.begin(lambda: make_final(self.worker, work, record, images, self.pictures, recorder.frames))
        self.here += len(images)

    def _images(self, number: int, recorder: Recorder, checkpoint: Checkpoint | None, scale: float) -> np.ndarray:
        recorder.begin(scale, environments_of(checkpoint, self.environment), checkpoint)
        self.worker.guarded(number, lambda: recorder.work.begin(checkpoint))
        experiment = self.experiment if scale == 1.0 else replace(self.experiment, rate_scale=scale)
        resume = Resume(checkpoint.stage, checkpoint.leaves, checkpoint.image) if checkpoint else None
        return batch_images(experiment, number, recorder, resume=resume, due=self.saving.due)

    def _note_images(self, remaining: list[int]) -> None:
        batches = self.experiment.batches
        left = sum(batches[number].stop - batches[number].start for number in remaining)
        self.here = self.experiment.recipe.image.count - left

    def _pause(self) -> None:
        for _ in range(10):
            self.saving.stop.check(self.worker.run, "while others were at work")
            time.sleep(min(LONGEST_WAIT_S, self.worker.claims.lease / 4) / 10)
