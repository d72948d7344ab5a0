"""Jobs of several processes, each forked from this one, which has read jinv and jax but started no device.

`python -m tests.runs.gang FOLDER` carries out what `tests/runs/test_distributed.py` looks at, and prints it as JSON. CPUs stand
for machines: two processes with two virtual devices each.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from jinv.models.registry import ARCHITECTURES
from tests.runs.kill_runs import no_block

CONFIG = """
model = "tiny.safetensors"
log_every = 4
[image]
size = 16
labels = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
batch = 8
[[stages]]
size = 16
steps = 9
optimizer = "sgd"  # Adam makes rounding of a gradient near zero as large as a step
[augment.roll]
[augment.flip]
[terms.cross_entropy]
[terms.feature_statistics]
weight = 1e-2
[checkpoint]
every_steps = 3
"""
HUNG = 240
"""Seconds after which a process counts as hung."""


def start(folder: Path, words: str, arguments: list[str], before=lambda: None) -> int:
    """A process that does `before()` and carries a command line out; its words go to a file."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        file = os.open(folder / words, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(file, 1)
        os.dup2(file, 2)
        signal.alarm(HUNG)
        before()
        from jinv.cli import main

        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """The exit code, minus the signal's number where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_alone(folder: Path, name: str, *more: str) -> tuple[int, str]:
    """The run in one process: its exit code and words."""
    pid = start(folder, "alone.txt", ["synthesize", str(folder / "small.toml"), "--out", str(folder / name), *more])
    return ended(pid), (folder / "alone.txt").read_text()


def run_together(folder: Path, name: str, *more: str, before=lambda index: None, apart=False, present=2):
    """The run in two processes, of which `present` are started: each one's exit code and words. `apart`: the second has
    another seed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    pids = []
    for index in range(present):
        gang = ["--distributed", "--coordinator", where, "--processes", "2", "--process", str(index)]
        own = ["--set", "seed=7"] if apart and index else []
        arguments = ["synthesize", str(folder / "small.toml"), "--out", str(folder / name), *gang, *more, *own]
        pids.append(start(folder, f"words{index}.txt", arguments, lambda index=index: before(index)))
    codes = [ended(pid) for pid in pids]
    return [(code, (folder / f"words{index}.txt").read_text()) for index, code in enumerate(codes)]


def at_moment(which: int, moment: int, do):
    """For `run_together`: process `which` does something before the `moment`-th thing that is said there."""

    def before(index: int) -> None:
        from jinv.runs.job import Job

        exchange, said = Job.exchange, []

        def counted(self, word):
            said.append(word)
            if index == which and len(said) == moment:
                do(self)
            return exchange(self, word)

        Job.exchange = counted

    return before


def killed(job) -> None:
    """As the machine's end: what watches the process is killed; it goes with it."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(HUNG)


def asked_to_stop(job) -> None:
    """SIGTERM, as a scheduler sends it to the process that it started."""
    os.kill(os.getppid(), signal.SIGTERM)
    while not job.stop.asked:
        time.sleep(0.01)


def network(folder: Path) -> None:
    """The network's file, by a process of its own, since that starts a device."""
    pid = os.fork()
    if not pid:
        from tests.small_runs import save_tiny

        save_tiny(folder / "tiny.safetensors", 1, name="no_block")
        os._exit(0)
    assert ended(pid) == 0


def main(folder: Path) -> None:
    """Everything, in turn."""
    ARCHITECTURES["no_block"] = no_block()
    (folder / "small.toml").write_text(CONFIG)
    network(folder)
    said = {
        "alone": [run_alone(folder, "one")],
        "together": run_together(folder, "two", "--set", "devices='all'"),
        "another config": run_together(folder, "none", apart=True),
        "late": run_together(folder, "none", "--distributed-timeout", "1", present=1),
        "follower killed": run_together(folder, "lost", before=at_moment(1, 6, killed)),
        "leader killed": run_together(folder, "lost", "--resume", before=at_moment(0, 6, killed)),
        "stopped": run_together(folder, "lost", "--resume", before=at_moment(1, 3, asked_to_stop)),
        "resumed": [run_alone(folder, "lost", "--resume")],
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
