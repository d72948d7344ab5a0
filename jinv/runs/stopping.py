"""How a run is stopped from outside, and when its state is saved: between two steps, two pictures, two judgements.

SIGTERM and the first Ctrl-C ask for an end that `--resume` goes on from; the second Ctrl-C is one at once.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jinv.core.loop import Snapshot
from jinv.errors import Interrupted
from jinv.images.folder import Watch
from jinv.recipe.recipe import CheckpointRecipe

ASKED = b"\njinv: stopping at the next step; Ctrl-C once more stops at once\n"


class Stop:
    """Whether somebody asked for an end; true once it was."""

    def __init__(self) -> None:
        self.asked = False

    def check(self, path: Path, where: str) -> None:
        """Go no further where an end was asked for.

        Raises:
          Interrupted: it was. What a resumption needs has to be written already.
        """
        if self.asked:
            raise Interrupted(f"{path}: stopped {where}; continue with --resume")

    def watched(self, watch: Watch, path: Path) -> Watch:
        """As `watch`, but ends between two items where an end was asked for: no file of a run is left half-written."""

        def checked(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
            for item in watch(items, what, total):
                self.check(path, f"({what})")
                yield item

        return checked


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Signals ask for a stop; elsewhere than in the main thread, and where they are to be ignored, nothing is installed.

    Raises:
      KeyboardInterrupt: at the second Ctrl-C, wherever the program is.
    """
    stop = Stop()

    def ask(number: int, _: Any) -> None:
        if number == signal.SIGINT:
            if stop.asked:
                raise KeyboardInterrupt
            # Not by print: the signal may have come in the middle of one.
            with suppress(OSError, ValueError):
                os.write(sys.stderr.fileno(), ASKED)
        stop.asked = True

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's & want it
                with suppress(ValueError):
                    before[number] = signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        sys.stdout.flush()


class Saving:
    """When a state is saved, by `[checkpoint]` and by whoever asks for an end, and how much time was spent on it.

    share: how many runs share the time that passes.
    """

    def __init__(
        self,
        asked: CheckpointRecipe,
        stop: Stop,
        *,
        spent: float = 0.0,
        share: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.asked, self.stop, self.spent, self.share, self.clock = asked, stop, spent, share, clock
        self.started = self.last = clock()

    @property
    def passed(self) -> float:
        """Seconds of this process, of one run."""
        return (self.clock() - self.started) / self.share

    @property
    def seconds(self) -> float:
        """Seconds, with those before this process."""
        return self.spent + self.passed

    def due(self) -> bool:
        """Whether the state is wanted at once."""
        every = self.asked.every_seconds
        return self.stop.asked or (every is not None and self.clock() - self.last >= every)

    def wanted(self, snapshot: Snapshot) -> bool:
        """Whether the state of a snapshot is to be saved; time counts anew from here where it is."""
        every = self.asked.every_steps
        wanted = self.due() or (every is not None and snapshot.step % every == 0)
        if wanted:
            self.last = self.clock()
        return wanted
