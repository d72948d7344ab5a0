"""Standard output and error that cannot take a run down with them."""

import os
import sys
from contextlib import suppress
from typing import Any

from jinv.errors import legible


class Forgiving:
    """A text stream that is written to as long as it takes anything: a closed terminal, a reader that has left or a full
    disk loses words, not the work. What its encoding lacks is shown as `?`, and names of
    files that are no UTF-8 as `legible` does."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lost = False
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Writes, or does nothing."""
        self._try(lambda: self._stream.write(legible(text)))
        return len(text)

    def flush(self) -> None:
        """Flushes, or does nothing."""
        self._try(lambda: self._stream.flush())

    def isatty(self) -> bool:
        """Whether somebody looks."""
        return not self.lost and self._stream.isatty()

    def _try(self, action: Any) -> None:
        if self.lost:
            return
        try:
            action()
        except (OSError, ValueError):
            self.lost = True
            # Python flushes its streams once more when it ends, and would say so and fail.
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgive() -> None:
    """Makes both standard streams of this process forgiving."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # It would go to the next file that is opened, into which whatever writes to it would write.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Forgiving):
            # Open as long as the process is.
            setattr(sys, name, Forgiving(stream or open(os.devnull, "w", encoding="utf-8")))  # noqa: SIM115
