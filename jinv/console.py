"""What is said to a person: as it is, for names of files are no markup; and whole, for a pipe has no width.

Whatever console the text goes to, one that `make_console` makes or a user's own: `say` and `table` take texts literally, brackets,
colons and all; what is to be coloured is a `rich.text.Text`.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from jinv.errors import legible

UNLIMITED = 100_000

T = TypeVar("T")


class Legible:
    """A text stream that gets names of files which are no UTF-8 as `legible` shows them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes."""
        self._stream.write(legible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_console(*, stderr: bool = False) -> Console:
    """Standard output, or standard error, for people: as wide as their terminal, elsewhere as wide as what is said."""
    stream = sys.stderr if stderr else sys.stdout
    file: Any = Legible(stream)
    console = Console(file=file, markup=False, emoji=False, highlight=False)
    if not (console.is_jupyter or stream.isatty()):
        console.width = UNLIMITED
    return console


def say(console: Console, text: str | Text, **options: Any) -> None:
    """A line, as it is: not cut or broken at the terminal's width either, so that a path can be taken from it."""
    options = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False} | options
    console.print(plain(text), **options)


def table(*headers: str | Column, title: str | None = None, caption: str | None = None) -> Table:
    """A table with its title and caption at the left; rows are added by `add`."""
    columns = [Column(header, overflow="fold") if isinstance(header, str) else header for header in headers]
    for column in columns:
        column.header = plain(column.header)
    return Table(
        *columns,
        title=None if title is None else Text(legible(title)),
        caption=None if caption is None else Text(legible(caption)),
        title_justify="left",
        caption_justify="left",
    )


def add(table: Table, *cells: str | Text) -> None:
    """A row."""
    table.add_row(*map(plain, cells))


def plain(text: Any) -> Any:
    """A text that is taken literally; what is no text as it is."""
    return Text(legible(text)) if isinstance(text, str) else text


class Waiting:
    """Says what is going on where nothing else is seen for long: live on a terminal, elsewhere every few seconds."""

    LINE_EVERY_S = 10.0

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._live = Status("", console=console) if console.is_terminal else None
        self._last = clock()

    def __enter__(self) -> "Waiting":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, text: str) -> None:
        """What goes on now."""
        if self._live:
            self._live.update(Text(legible(text), no_wrap=True, overflow="ellipsis"))
        elif self._clock() - self._last >= self.LINE_EVERY_S:
            self._last = self._clock()
            say(self._console, text)

    def watch(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """The items, one by one; how many of the `total` are through, and how long the rest takes, is said of each."""
        self(f"{what}: 0 of {total:,}")
        first = None
        for number, item in enumerate(items, 1):
            yield item
            now = self._clock()
            first = first or (number, now)  # the first one compiles
            left = (now - first[1]) * (total - number) / (number - first[0]) if number > first[0] else None
            self(f"{what}: {number:,} of {total:,}" + ("" if left is None else f", {clock_text(left)} left"))


def clock_text(seconds: float) -> str:
    """0:05, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
