"""What a waiting person sees: a live bar on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def teller(console: Console) -> Callable[[str], None]:
    """Says a line on `console`, as it is."""
    return lambda text: console.print(text, highlight=False, soft_wrap=True, markup=False)


class SynthesisProgress:
    """Shows stage, step, losses and time left; work is counted in steps times pixels, so the estimate knows the stages."""

    LINE_EVERY_S = 10.0

    def __init__(self, console: Console, total_work: float) -> None:
        self.console = console
        self.live = console.is_terminal
        self.total = max(total_work, 1.0)
        self.done = 0.0
        self.started = self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[losses]}"),
            console=console,
            disable=not self.live,
        )

    def __enter__(self) -> "SynthesisProgress":
        self.bar.start()
        self.task = self.bar.add_task("compiling", total=self.total, losses="")
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def note(self, text: str) -> None:
        """Say what is going on where no step has been taken yet."""
        self.bar.update(self.task, description=text)
        if not self.live:
            self.console.print(text, highlight=False)

    def update(self, where: str, work: float, losses: dict[str, float]) -> None:
        """`work` of the total is done; `losses` are the weighted terms by name."""
        self.done = work
        text = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self.bar.update(self.task, completed=work, description=where, losses=text)
        now = time.monotonic()
        finished = work >= self.total
        if not self.live and (now - self.last_line >= self.LINE_EVERY_S or finished):
            self.last_line = now
            left = (now - self.started) * (self.total - work) / max(work, 1e-9)
            self.console.print(
                f"{where}  {100 * work / self.total:3.0f}%  {left:4.0f} s left  {text}", highlight=False, soft_wrap=True
            )
