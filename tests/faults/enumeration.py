"""Every operation of a piece of work fails once, in every way; then the disk is healthy and the work goes on.

Four things must hold: what fails ends in an error of jinv's with exit code 5, nothing partial has a final name, nobody
keeps a descriptor, and whoever goes on ends as if nothing had happened, with nothing left over.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jinv.errors import JinvError
from tests.faults.disk import KINDS, Disk, Fault, Killed, Kind

NO_FAULT = Fault(Kind(frozenset()), 0)
AFTERWARDS = Kind(frozenset(), power=True)
"""Nothing happens while the work is done; but then the power goes."""
SEEDS = 8


def nothing(folder: Path) -> None:
    """Nothing has to be there before."""


class Work(NamedTuple):
    """carry_out(folder, resume): the work, in a new folder or where it was left. left(folder): its results, by name.
    partial(folder): the files that have a final name and are not whole, at any moment. prepare(folder): what is there before.
    """

    carry_out: Callable[[Path, bool], None]
    left: Callable[[Path], Mapping[str, bytes]]
    partial: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = nothing


@dataclass
class Tally:
    """What was tried: `trials` by kind, operations of the undisturbed work, bytes compared, and what was found wrong."""

    operations: list[tuple[str, str]]
    expected: Mapping[str, bytes]
    trials: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    wrong: list[str] = field(default_factory=list)


def undisturbed(work: Work, folder: Path) -> Tally:
    """The work alone: its operations, and what must come out; a power loss just after its end takes nothing."""
    tally = None
    for seed in range(SEEDS):
        _prepared(work, folder)
        with Disk(folder, Fault(AFTERWARDS, 0, seed)) as disk:
            work.carry_out(folder, False)
        if tally is None:
            tally = Tally(disk.operations, work.left(folder))
        disk.lose()
        _compare(tally, work, folder, "power loss after the end", more=True)
        shutil.rmtree(folder)
    assert tally is not None
    return tally


def enumerate_faults(work: Work, folder: Path, kinds: Iterable[str] = KINDS, stride: int = 1, seeds: int = 1) -> Tally:
    """Each kind at each operation at which it can be, or at every `stride`-th; power losses of several seeds."""
    tally = undisturbed(work, folder / "alone")
    for name in kinds:
        kind = KINDS[name]
        places = [n for n, (operation, _) in enumerate(tally.operations, 1) if operation in kind.at]
        for number in places[:: stride if name != "killed" else 1]:
            for seed in range(seeds if kind.power else 1):
                trial(tally, work, folder / "trial", name, Fault(kind, number, 1000 * seed + number))
    return tally


def random_kills(work: Work, folder: Path, count: int, seed: int = 0) -> Tally:
    """Work that is killed again and again, by a power loss now and then, until nothing is left to be killed."""
    draws = random.Random(seed)
    tally = undisturbed(work, folder / "alone")
    changes, trial = len(tally.operations), folder / "trial"
    while tally.trials["killed again and again"] < count:
        _prepared(work, trial)
        killed, times = True, 0
        while killed:
            kind = KINDS[draws.choice(["killed", "killed in a write", "power loss", "power loss in a write"])]
            at, story = draws.randint(1, max(changes // 2, 1)), f"killed the {times + 1}. time"
            killed = _carry_out(tally, work, trial, Fault(kind, at, draws.randrange(1 << 30)), story, resume=True)[1]
            times += killed
            tally.trials["killed again and again"] += killed
        _go_on(tally, work, trial, f"killed {times} times")
        shutil.rmtree(trial)
    return tally


def trial(tally: Tally, work: Work, folder: Path, name: str, fault: Fault) -> None:
    """The work with a fault in it, and what must hold after it."""
    operation, path = tally.operations[fault.at - 1]
    story = f"{name} at operation {fault.at}, {operation} {path}" + (f", seed {fault.seed}" if fault.kind.power else "")
    _prepared(work, folder)
    tally.trials[name] += 1
    error, killed = _carry_out(tally, work, folder, fault, story, resume=False)
    if error is None and not killed:
        if operation == "sync" and (folder / path).exists():  # what was dropped for it is no matter
            tally.wrong.append(f"{story}: a sync that failed was passed over")
        _compare(tally, work, folder, f"{story}: it ended as if nothing had happened", more=True)
    _go_on(tally, work, folder, story)
    shutil.rmtree(folder)


def _prepared(work: Work, folder: Path) -> None:
    folder.mkdir()
    work.prepare(folder)


def _carry_out(
    tally: Tally, work: Work, folder: Path, fault: Fault, story: str, *, resume: bool
) -> tuple[Exception | None, bool]:
    """The work with a fault: its error, and whether it was killed."""
    error, disk = None, Disk(folder, fault)
    try:
        with disk:
            work.carry_out(folder, resume)
    except Killed:
        pass
    except JinvError as caught:
        error = caught
        if caught.exit_code != 5 or "\n" in str(caught):
            tally.wrong.append(f"{story}: exit code {caught.exit_code}: {caught}")
    except Exception as caught:
        error = caught
        tally.wrong.append(f"{story}: {type(caught).__name__}: {caught}")
    if disk.open:
        tally.wrong.append(f"{story}: left open: {', '.join(disk.open.values())}")
    tally.wrong += [f"{story}: not whole: {name}" for name in work.partial(folder)]
    return error, disk.dead


def _go_on(tally: Tally, work: Work, folder: Path, story: str) -> None:
    """The disk is healthy again, the work goes on to its end, and it is as it had to be."""
    if _carry_out(tally, work, folder, NO_FAULT, f"{story}: then", resume=True)[0] is None:
        _compare(tally, work, folder, f"{story}: then")
        tally.wrong += [f"{story}: {name} is left over" for name in _hidden(folder)]


def _compare(tally: Tally, work: Work, folder: Path, story: str, *, more: bool = False) -> None:
    """Are the results what they had to be? `more`: and maybe things that were to be cleared away."""
    try:
        found = work.left(folder)
    except Exception as error:
        tally.wrong.append(f"{story}: nothing is to be seen of it ({type(error).__name__}: {error})")
        return
    tally.compared += sum(map(len, found.values()))
    asked = tally.expected.keys() | (() if more else found.keys())
    differing = sorted(key for key in asked if found.get(key) != tally.expected.get(key))
    if differing:
        tally.wrong.append(f"{story}: {', '.join(differing)} differ")


def _hidden(folder: Path) -> Iterator[str]:
    return (str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith("."))
