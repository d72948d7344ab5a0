"""How a run is stopped from outside, and when its state is saved: between two steps, two pictures, two judgements.

SIGTERM, SIGUSR1 (SLURM's, before its time is up) and the first Ctrl-C ask for an end that `--resume` goes on from; the second Ctrl-C is one at once.
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
from jinv.signals import heard

ASKED = b"\njinv: stopping at the next step; Ctrl-C once more stops at once\n"


_listening: list["Stop"] = []
"""Those that are told now: of a whole search or distillation, and inside it of the run or training that is under way."""


class Stop:
    """Whether somebody asked for an end, true once it was; and whether for the state to be saved, true until it is."""

    def __init__(self) -> None:
        self.asked: bool = any(outer.asked for outer in _listening)
        self.save = False

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
    """Signals ask for a stop, of what is around too: who is asked just as one part ends does not begin the next.

    Elsewhere than in the main thread, and where they are to be ignored, nothing is installed.

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
        for one in _listening:
            one.asked = True

    def ask_to_save(number: int, _: Any) -> None:
        stop.save = True  # stopped for a while and going on, who knows for how long

    asking = {signal.SIGTERM: ask, signal.SIGUSR1: ask, signal.SIGINT: ask, signal.SIGCONT: ask_to_save}
    _listening.append(stop)
    try:
        with heard(asking):
            yield stop
    finally:
        _listening.remove(stop)
        sys.stdout.flush()


class Saving:
    """When a state is saved, by `[checkpoint]` and by whoever asks for an end."""

    def __init__(self, asked: CheckpointRecipe, stop: Stop, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked, self.stop, self.clock = asked, stop, clock
        self.last = clock()

    def due(self) -> bool:
        """Whether the state is wanted at once."""
        every = self.asked.every_seconds
        return self.stop.asked or self.stop.save or (every is not None and self.clock() - self.last >= every)

    def wanted(self, snapshot: Snapshot) -> bool:
        """Whether the state of a snapshot is to be saved; time counts anew from here where it is."""
        every = self.asked.every_steps
        wanted = self.due() or (every is not None and snapshot.step % every == 0)
        if wanted:
            self.last, self.stop.save = self.clock(), False
        return wanted
