"""Eight processes work on one run; they are killed and stopped at random, and others come in their place.

A process that is stopped for longer than the lease comes back when its batch is somebody else's by now. Whatever happens,
the run ends as one that a single process made, every image once.
"""

import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import jinv.runs.synthesize
import jinv.runs.units
from jinv.errors import JinvError
from jinv.record.units import final_units
from tests.faults.fake import fake_synthesizer, merge, quiet, recipe, synthesize
from tests.runs.kill_runs import left_by

WORKERS = 8
LEASE_S = 0.3
LONGEST_S = 300.0
UNITS = 40
CHANGES = {"image": {"count": 2 * UNITS, "batch": 2}}


@dataclass
class Soak:
    """What was done to how many runs, and what came of it."""

    killed: int = 0
    stopped: int = 0
    runs: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)


def kill_workers(folder: Path, count: int, seed: int = 0) -> Soak:
    """Kills workers `count` times, of as many runs as that takes."""
    soak, draws = Soak(), random.Random(seed)
    with (
        fake_synthesizer(beside=True),
        mock.patch.object(jinv.runs.units, "LONGEST_WAIT_S", 0.1),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # jax warns of forks: nothing is computed in them
        synthesize(folder / "alone", **CHANGES)
        expected = left_by(folder / "alone")
        while soak.killed < count:
            run = folder / f"run{soak.runs}"
            _soak(run, soak, draws)
            if code := _ended(_forked(lambda run=run: merge(run))):
                soak.wrong.append(f"{run.name}: jinv merge: {code}")
                continue
            found = left_by(run)
            soak.compared += sum(map(len, found.values()))
            differing = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
            soak.wrong += [f"{run.name}: {name} differs" for name in differing]
            soak.wrong += [f"{run.name}: {path.name} is left over" for path in run.rglob(".*")]
            shutil.rmtree(run)
    return soak


def _soak(run: Path, soak: Soak, draws: random.Random) -> None:
    """One run until all its units are there."""
    soak.runs += 1
    living: set[int] = set()
    stopped: dict[int, float] = {}
    began = time.monotonic()
    while len(list(final_units(run))) < UNITS:
        while len(living) < WORKERS:
            living.add(_forked(lambda: _work(run)))
        time.sleep(draws.uniform(0, 0.1))
        for pid in [pid for pid, until in stopped.items() if until < time.monotonic()]:
            os.kill(pid, signal.SIGCONT)
            del stopped[pid]
        if over := time.monotonic() - began > LONGEST_S:
            soak.wrong.append(f"{run.name}: not done after {LONGEST_S:g} s")
        victim = draws.choice(sorted(living))
        if draws.random() < 0.3 and victim not in stopped and not over:
            os.kill(victim, signal.SIGSTOP)
            stopped[victim] = time.monotonic() + draws.uniform(0, 4 * LEASE_S)
            soak.stopped += 1
            continue
        os.kill(victim, signal.SIGKILL)
        code = _ended(victim)
        soak.killed += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            soak.wrong.append(f"{run.name}: a worker ended with {code}")
        living.discard(victim)
        stopped.pop(victim, None)
        if over:
            break
    for pid in living:
        os.kill(pid, signal.SIGCONT)
        if code := _ended(pid):
            soak.wrong.append(f"{run.name}: a worker ended with {code}")


def _work(run: Path) -> None:
    jinv.runs.synthesize.work_on(recipe(**CHANGES), run, lease=LEASE_S, console=quiet())


def _forked(action: Callable[[], None]) -> int:
    """A process that does it, and ends with the exit code of the command line."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        action()
        code = 0
    except JinvError as error:
        code = error.exit_code
        print(error, file=sys.stderr, flush=True)  # what a number alone does not say, where it was one too many
    finally:
        os._exit(code)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
