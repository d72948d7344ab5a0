"""Every operation of a piece of work fails once, in every way; then the disk is healthy and the work goes on.

Five things must hold: what fails ends in an error of jinv's with exit code 5, nothing partial has a final name, nobody
keeps a descriptor, whoever goes on ends as if nothing had happened, with nothing left over, and then a power loss takes
nothing.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jinv.errors import JinvError
from tests.faults.disk import CHANGES, KINDS, Disk, Fault, Killed, Kind
from tests.faults.journal import Journal

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

    @property
    def changes(self) -> int:
        """How many operations change something."""
        return sum(name in CHANGES for name, _ in self.operations)


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
    """Each kind at each operation at which it can be, or at one of `stride` of them; power losses of several seeds."""
    tally = undisturbed(work, folder / "alone")
    for name in kinds:
        kind = KINDS[name]
        places = [n for n, (operation, _) in enumerate(tally.operations, 1) if operation in kind.at]
        for number in places[len(tally.trials) % stride :: stride]:
            for seed in range(seeds if kind.power else 1):
                trial(tally, work, folder / "trial", name, Fault(kind, number, 1000 * seed + number))
    return tally


def interleave(work: Work, other: Callable[[Path], str], folder: Path, name: str, stride: int = 1) -> Tally:
    """At every `stride`-th operation of the work another process does its own from beginning to end; then the work goes on.

    `other` says in a word what came of it.
    """
    tally = undisturbed(work, folder / "alone")
    for at in range(1, len(tally.operations) + 1, stride):
        story = f"{name} at operation {at}, {' '.join(tally.operations[at - 1])}"
        _prepared(work, folder / "trial")
        between = partial(_at, at, other, folder / "trial", tally, name, story)
        if _carry_out(tally, work, folder / "trial", NO_FAULT, story, resume=False, before=between)[0] is None:
            _compare(tally, work, folder / "trial", story)
            tally.wrong += [f"{story}: {name} is left over" for name in _hidden(folder / "trial")]
        shutil.rmtree(folder / "trial")
    return tally


def _at(at: int, other: Callable[[Path], str], folder: Path, tally: Tally, name: str, story: str, number: int) -> None:
    if number == at:
        try:
            tally.trials[f"{name}, {other(folder)}"] += 1
        except Exception as error:
            tally.wrong.append(f"{story}: the other: {type(error).__name__}: {error}")


def random_kills(work: Work, folder: Path, count: int, seed: int = 0) -> Tally:
    """Work that is killed, or loses its power, again and again until it is through; then the power goes once more."""
    draws = random.Random(seed)
    tally = undisturbed(work, folder / "alone")
    trial, name = folder / "trial", "killed again and again"
    while tally.trials[name] < count:
        _prepared(work, trial)
        killed, times, journal = True, 0, Journal(str(trial))
        while killed:
            kind = KINDS[draws.choice([name for name in KINDS if KINDS[name].error is None])]
            fault = Fault(kind, draws.randint(1, max(len(tally.operations) // 2, 1)), draws.randrange(1 << 30))
            story = f"{name}, the {times + 1}. time"
            killed = _carry_out(tally, work, trial, fault, story, resume=True, journal=journal)[1]
            times += killed
            if kind.power and killed:
                journal = Journal(str(trial))
        journal.lose(draws.randrange(1 << 30))
        _compare(tally, work, trial, f"{times} times {name}, power loss after the end", more=True)
        _go_on(tally, work, trial, f"{times} times {name}")
        tally.trials[name] += times
        shutil.rmtree(trial)
    return tally


def trial(tally: Tally, work: Work, folder: Path, name: str, fault: Fault) -> None:
    """The work with a fault in it, and what must hold after it."""
    operation, path = tally.operations[fault.at - 1]
    story = f"{name} at operation {fault.at}, {operation} {path}" + (f", seed {fault.seed}" if fault.kind.power else "")
    _prepared(work, folder)
    tally.trials[name] += 1
    journal = None if fault.kind.power else Journal(str(folder))
    error, killed = _carry_out(tally, work, folder, fault, story, resume=False, journal=journal)
    if error is None and not killed:
        if operation == "sync" and (folder / path).exists():  # what was dropped for it is no matter
            tally.wrong.append(f"{story}: a sync that failed was passed over")
        _compare(tally, work, folder, f"{story}: it ended as if nothing had happened", more=True)
    journal = journal or Journal(str(folder))
    _go_on(tally, work, folder, story, journal)
    journal.lose(fault.seed, kept=0)
    _compare(tally, work, folder, f"{story}: then, power loss after the end", more=True)
    shutil.rmtree(folder)


def _prepared(work: Work, folder: Path) -> None:
    folder.mkdir()
    work.prepare(folder)


def _carry_out(
    tally: Tally,
    work: Work,
    folder: Path,
    fault: Fault,
    story: str,
    *,
    resume: bool,
    before: Callable[[int], None] = lambda number: None,
    journal: Journal | None = None,
) -> tuple[Exception | None, bool]:
    """The work with a fault: its error, and whether it was killed."""
    error, disk = None, Disk(folder, fault, before, journal)
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


def _go_on(tally: Tally, work: Work, folder: Path, story: str, journal: Journal | None = None) -> None:
    """The disk is healthy again, the work goes on to its end, and it is as it had to be."""
    if _carry_out(tally, work, folder, NO_FAULT, f"{story}: then", resume=True, journal=journal)[0] is None:
        _compare(tally, work, folder, f"{story}: then")
        tally.wrong += [f"{story}: {name} is left over" for name in _hidden(folder)]
    else:
        tally.wrong.append(f"{story}: then: an error, of a healthy disk")


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
