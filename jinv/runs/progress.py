"""What a waiting person sees of a synthesis: a live line on a terminal, one every few seconds elsewhere."""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from jinv.console import clock_text, say

Clock = Callable[[], float]


def teller(console: Console) -> Callable[[str], None]:
    """Says a line on `console`, as it is."""
    return lambda text: say(console, text)


class Pace:
    """How long the rest takes: by the steps that only step. What begins a part compiles its program first."""

    def __init__(self, total: float, clock: Clock) -> None:
        self.total, self.clock = total, clock
        self.last: tuple[float, float] | None = None
        self.part: Hashable = None
        self.begun: list[float] = []
        self.work = self.seconds = 0.0

    def update(self, work: float, part: Hashable) -> None:
        """`work` of the total is done, the last of it in `part`."""
        now = self.clock()
        if self.last is not None:
            done, passed = work - self.last[0], now - self.last[1]
            if part == self.part:
                self.work += done
                self.seconds += passed
            elif done > 0:
                self.begun.append(passed / done)
        self.last, self.part = (work, now), part

    def left(self) -> float | None:
        """Seconds, None before it is known."""
        if self.last is None:
            return None
        if self.last[0] >= self.total:
            return 0.0
        if self.work > 0:
            rate = self.seconds / self.work
        elif len(self.begun) > 1:  # every part is one moment: the fastest one compiled least
            rate = min(self.begun)
        else:
            return None
        return max((self.total - self.last[0]) * rate - (self.clock() - self.last[1]), 0.0)


class SynthesisProgress:
    """Shows stage, step, losses and time left; work is counted in steps times pixels, so the estimate knows the stages."""

    LINE_EVERY_S = 10.0

    def __init__(self, console: Console, total_work: float, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.live = console.is_terminal
        self.total = max(total_work, 1.0)
        self.done = 0.0
        self.clock = clock
        self.last_line = clock()
        self.pace = Pace(self.total, clock)
        self.bar = _Lines(
            _Place(table_column=Column(no_wrap=False)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            _Numbers(self, clock(), table_column=Column(no_wrap=True)),
            console=console,
            disable=not self.live,
            expand=True,
        )

    def __enter__(self) -> "SynthesisProgress":
        self.bar.start()
        self.task = self.bar.add_task("compiling", total=self.total, losses="")
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the terminal to others."""
        self.bar.stop()
        try:
            yield
        finally:
            self.bar.start()

    def note(self, text: str) -> None:
        """Say what is going on where no step has been taken yet."""
        self.bar.update(self.task, description=text)
        if not self.live:
            say(self.console, text)

    def update(self, where: str, work: float, losses: dict[str, float], part: Hashable = None) -> None:
        """`work` of the total is done; `losses` are the weighted terms by name; a new `part` compiles before it steps."""
        self.done = work
        self.pace.update(work, part)
        text = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self.bar.update(self.task, completed=work, description=where, losses=text)
        now = self.clock()
        finished = work >= self.total
        if not self.live and (now - self.last_line >= self.LINE_EVERY_S or finished):
            self.last_line = now
            left = self.pace.left()
            rest = "" if left is None else f"  {left:4.0f} s left"
            say(self.console, f"{where}  {100 * work / self.total:3.0f}%{rest}  {text}")


class _Lines(Progress):
    """The step's line, and below it the losses, as far as the terminal is wide."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["losses"], "dim", no_wrap=True, overflow="ellipsis")


class _Place(ProgressColumn):
    """Where a synthesis is; the end of it is cut where the terminal is narrow, the step stands in front."""

    def render(self, task: Task) -> Text:
        return Text(task.description, "bold", no_wrap=True, overflow="ellipsis")


class _Numbers(ProgressColumn):
    """Percentage, time passed and time left."""

    def __init__(self, progress: SynthesisProgress, started: float, table_column: Column) -> None:
        super().__init__(table_column)
        self.progress, self.started = progress, started

    def render(self, task: Task) -> Text:
        left = self.progress.pace.left()
        rest = "" if left is None else f"  {clock_text(left)} left"
        passed = clock_text(self.progress.clock() - self.started)
        return Text(f"{task.percentage:3.0f}%  {passed}{rest}")
