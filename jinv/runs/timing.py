"""When a step was logged, how fast steps went, in how much memory: for `timing.jsonl` and for sinks."""

import time
from collections.abc import Callable

import jax

from jinv.core.loop import Snapshot
from jinv.experiment.memory import resident_bytes
from jinv.record.timing import EpochTime, StepTime


class Stopwatch:
    """Times the logged steps of one batch after another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.last: tuple[int, int, int, float] | None = None

    def read(self, batch: int, snapshot: Snapshot) -> StepTime:
        """The time of a logged step, whose numbers are there already."""
        now, speed = self.clock(), None
        if self.last is not None and self.last[:2] == (batch, snapshot.stage) and now > self.last[3]:
            taken = snapshot.step - self.last[2]
            speed = float(f"{taken / (now - self.last[3]):.4g}") if taken > 0 else None
        self.last = batch, snapshot.stage, snapshot.step, now
        return StepTime(
            batch=batch,
            step=snapshot.step,
            at=round(time.time(), 3),
            steps_per_second=speed,
            memory=resident_bytes() or None,
            device_memory=_device_memory(),
        )


class EpochWatch:
    """Times a training's epochs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.last: tuple[int, float] | None = None

    def begin(self, step: int) -> None:
        """The process has taken its first update, which it compiled before; later ones change nothing."""
        if self.last is None:
            self.last = step, self.clock()

    def read(self, epoch: int, step: int) -> EpochTime:
        """The time of an epoch whose numbers are there already."""
        now, speed = self.clock(), None
        if self.last is not None and step > self.last[0] and now > self.last[1]:
            speed = float(f"{(step - self.last[0]) / (now - self.last[1]):.4g}")
        self.last = step, now
        return EpochTime(
            epoch=epoch,
            step=step,
            at=round(time.time(), 3),
            updates_per_second=speed,
            memory=resident_bytes() or None,
            device_memory=_device_memory(),
        )


def _device_memory() -> int | None:
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return None
    found = (device.memory_stats() or {}).get("bytes_in_use")
    return None if found is None else int(found)
