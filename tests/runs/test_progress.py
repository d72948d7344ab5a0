"""What a waiting person sees: on terminals of 80 and 60 columns, and in a pipe."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pytest
from rich.console import Console

from jinv.console import Waiting
from jinv.images.folder import open_image_folder
from jinv.runs.progress import Pace, SynthesisProgress

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds


def test_the_estimate_knows_steps_from_compilation():
    clock = Clock()
    pace = Pace(1000.0, clock)
    assert pace.left() is None
    clock.pass_(60)  # compiling, and 10 steps
    pace.update(10.0, "stage 1")
    assert pace.left() is None
    for work in (20.0, 30.0, 40.0):
        clock.pass_(1)
        pace.update(work, "stage 1")
    assert pace.left() == pytest.approx(96)
    clock.pass_(90)  # the next stage compiles
    pace.update(50.0, "stage 2")
    assert pace.left() == pytest.approx(95)
    clock.pass_(5)
    assert pace.left() == pytest.approx(90)
    pace.update(1000.0, "stage 2")
    assert pace.left() == 0


def test_where_every_stage_is_one_moment_the_fastest_tells():
    clock = Clock()
    pace = Pace(100.0, clock)
    for seconds, work, left in ((60, 10.0, None), (90, 20.0, None), (5, 30.0, 35), (50, 40.0, 30)):
        clock.pass_(seconds)
        pace.update(work, work)
        assert pace.left() == (left if left is None else pytest.approx(left))


def test_a_pipe_is_told_of_no_time_before_it_is_known():
    clock, file = Clock(), io.StringIO()
    with SynthesisProgress(Console(file=file, width=40), 125.0, clock) as progress:
        progress.note("compiling [bold]x[/bold]")
        clock.pass_(110)
        progress.update("step 10/125", 10.0, {"a" * 30: 1.0}, 0)
        clock.pass_(20)
        progress.update("step 20/125", 20.0, {"a" * 30: 1.0}, 0)
    first, second, third = file.getvalue().splitlines()
    assert first == "compiling [bold]x[/bold]"
    assert "step 10/125" in second and "left" not in second and "8%" in second
    assert "step 20/125" in third and " 210 s left" in third and third.endswith(f"{'a' * 30} 1")


SHOWN = """
import sys, time
from jinv.console import make_console
from jinv.runs.progress import SynthesisProgress
with SynthesisProgress(make_console(stderr=True), 2000.0) as progress:
    progress.note("compiling x on cpu")
    where = "stage 2/2  batch 10/12  (1024 px)"
    losses = dict.fromkeys(("cross_entropy", "feature_statistics", "total_variation", "image_norm"), 0.123)
    for step in (1230, 1234):
        time.sleep(0.3)
        progress.update(f"step {step}/2000  {where}", float(step), losses, 0)
    time.sleep(0.4)
"""


def on_terminal(code, columns):
    """What a program writes to a terminal so wide."""
    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    written = []

    def read():
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                return
            if not data:
                return
            written.append(data)

    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    program = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    reader = threading.Thread(target=read)
    reader.start()
    assert program.wait(60) == 0
    reader.join(10)
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(written).decode())


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_terminal_shows_step_percentage_and_time_left(columns):
    lines = re.split(r"[\r\n]+", on_terminal(SHOWN, columns))
    seen = [line for line in lines if "step 1234/2000" in line and " 62%" in line and re.search(r"\d:\d\d left", line)]
    assert seen, lines
    assert all(len(line) <= columns for line in lines)
    assert any(line.startswith("cross_entropy 0.123  feature_statistics 0.123") for line in lines)


WAITED = """
from jinv.console import Waiting, make_console
with Waiting(make_console(stderr=True)) as waiting:
    for _ in waiting.watch(range(3), "a [red]judge[/red] " + "of a long name " * 10, 3):
        import time; time.sleep(0.2)
"""


def test_a_terminal_shows_what_is_waited_for_on_one_line():
    lines = re.split(r"[\r\n]+", on_terminal(WAITED, 60))
    assert any("a [red]judge[/red] of a long name" in line for line in lines) and all(len(x) <= 60 for x in lines)


def test_a_pipe_is_told_every_few_seconds_of_what_is_waited_for():
    clock, file = Clock(), io.StringIO()
    with Waiting(Console(file=file, width=30), clock) as waiting:
        clock.pass_(1)
        for item in waiting.watch("abcdef", "recording [the] images", 6):
            clock.pass_(60 if item == "a" else 4)
    assert file.getvalue().splitlines() == [
        "recording [the] images: 1 of 6",
        "recording [the] images: 4 of 6, 0:08 left",
    ]


def test_whoever_waits_is_told_of_every_image_that_is_read(tmp_path):
    from PIL import Image

    for name in "abc":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    told = []

    def watch(items, what, total):
        for item in items:
            told.append((what, total, item[0]))
            yield item

    assert len(list(open_image_folder(tmp_path).watched(watch, "reading").read())) == 3
    assert told == [("reading", 3, f"{name}.png") for name in "abc"]
