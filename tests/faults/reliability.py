"""Prints docs/reliability.md: what was made to fail, how often, and what came of it.

`python -m tests.faults.reliability > docs/reliability.md` does all of it, on one core in a quarter of an hour; `--quick` is what
the tests run, `--only PART ...` some of it. Ends with 1 where anything is wrong, and says what.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.faults.disk import KINDS
from tests.faults.enumeration import Tally, Work, enumerate_faults, interleave, random_kills
from tests.faults.fake import fake_synthesizer
from tests.faults.many_units import many_units
from tests.faults.run_work import other_worker, repairing, shared_work, sweeping, synthesis, unstable
from tests.faults.worker_kills import LEASE_S, UNITS, WORKERS, kill_workers

PAGE = Path(__file__).with_name("reliability.md")


class Part(NamedTuple):
    """Rows of the page's table (what, how often, what was compared), and what was wrong."""

    rows: list[tuple[str, str, str]]
    wrong: list[str]


def operations(
    what: str, work: Callable[[], Work], strides: tuple[int, int, int], folder: Path, quick: bool, *, every: int = 1
) -> Part:
    """Faults of every operation, or `every` so many; in a hurry of one of more: of kills, of power losses, of all else."""
    tallies = []
    with fake_synthesizer():
        for kind in KINDS:
            step = {"killed": strides[0], "power loss": strides[1]}.get(kind, strides[2]) if quick else every
            tallies.append(enumerate_faults(work(), folder, [kind], step))
    first = tallies[0]
    changes, bytes_ = first.changes, sum(tally.compared for tally in tallies)
    rows = [
        (f"{what}: {len(first.operations)} operations, {changes} of them change something", "", f"{bytes_:,} bytes")
    ]
    rows += [(f"- {kind}", f"{tally.trials[kind]:,}", "") for kind, tally in zip(KINDS, tallies, strict=True)]
    return Part(rows, [words for tally in tallies for words in tally.wrong])


def between(folder: Path, quick: bool) -> Part:
    """Another worker at every operation of the first."""
    rows, wrong = [], []
    for takes_over in (False, True):
        name = (
            "it takes the first for dead, which then goes on" if takes_over else "it does what the first has not begun"
        )
        other = partial(other_worker, takes_over=takes_over)
        with fake_synthesizer():
            tally = interleave(shared_work(), other, folder, name, 32 if quick else 1)
        count = sum(tally.trials.values())
        rows.append((f"a second worker in between two operations of a first: {name}", f"{count:,}", _bytes(tally)))
        wrong += tally.wrong + ([] if len(tally.trials) > 1 else [f"{name}: {tally.trials}"])
    return Part(rows, wrong)


def again(folder: Path, quick: bool) -> Part:
    """Kills and power losses of what goes on after kills and power losses."""
    rows, wrong = [], []
    for what, work in (
        ("jinv synthesize", synthesis),
        ("jinv worker, jinv merge", shared_work),
        ("jinv sweep", sweeping),
    ):
        with fake_synthesizer(beside=True):
            tally = random_kills(work(), folder, 15 if quick else 400)
        rows.append((f"{what}, killed again and again", f"{sum(tally.trials.values()):,}", _bytes(tally)))
        wrong += [f"{what}: {one}" for one in tally.wrong]
    return Part(rows, wrong)


def kills(folder: Path, quick: bool) -> Part:
    """Real processes."""
    soak = kill_workers(folder, 10 if quick else 100)
    what = f"SIGKILL of one of {WORKERS} processes that make {UNITS} batches ({soak.runs} runs)"
    stops = f"SIGSTOP of one, for up to {4 * LEASE_S:g} s where {LEASE_S:g} s is taken for death"
    return Part([(what, f"{soak.killed:,}", f"{soak.compared:,} bytes"), (stops, f"{soak.stopped:,}", "")], soak.wrong)


def full(folder: Path, quick: bool) -> Part:
    """A real file system."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        return Part([("a file system that is really full: none can be mounted here", "0", "")], [])
    command = [*alone, sys.executable, "-m", "tests.faults.full_disk", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return Part([], [done.stderr])
    pages, inodes = done.stdout.split()
    return Part(
        [("a file system without a free page", pages, ""), ("a file system without a free inode", inodes, "")], []
    )


def many(folder: Path, quick: bool) -> Part:
    """Memory and descriptors."""
    count = 1500 if quick else 10_000
    tenth, most, files = many_units(folder, count)
    held = f"{tenth.memory / 1e6:.0f} MB and {tenth.files} descriptors after a tenth, then at most {most.memory / 1e6:.0f} MB and {most.files}"
    good = most.memory < 1.2 * tenth.memory and most.files == tenth.files
    return Part([(f"batches of one run: {held}", f"{count:,}", f"{files:,} files")], [] if good else [held])


PARTS: dict[str, Callable[[Path, bool], Part]] = {
    "run": partial(operations, "jinv synthesize", synthesis, (1, 12, 40)),
    "unstable": partial(
        operations,
        "jinv synthesize, where a batch diverges and is made anew, every fifth operation",
        unstable,
        (32, 80, 160),
        every=5,
    ),
    "workers": partial(
        operations, "jinv worker, jinv merge, every third operation", shared_work, (24, 48, 96), every=3
    ),
    "repair": partial(operations, "jinv verify --repair, every fifth operation", repairing, (40, 80, 160), every=5),
    "sweep": partial(operations, "jinv sweep, two settings, every fifth operation", sweeping, (16, 48, 96), every=5),
    "between": between,
    "again": again,
    "kills": kills,
    "full": full,
    "many": many,
}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of each")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    asked = parser.parse_args()
    table, wrong = ["| what fails | times | compared |", "| --- | --- | --- |"], []
    for name in asked.only:
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="jinv-faults-") as folder:
            part = PARTS[name](Path(os.path.realpath(folder)), asked.quick)
        table += [f"| {' | '.join(row)} |" for row in part.rows]
        wrong += part.wrong
    # The page says that nothing was wrong: it is not printed where something was.
    whole = len(asked.only) == len(PARTS) and not wrong
    print(PAGE.read_text().replace("TABLE", "\n".join(table)) if whole else "\n".join(table))
    print("\n".join(wrong[:100]) or "nothing is wrong", file=sys.stderr)
    return 1 if wrong else 0


def _bytes(tally: Tally) -> str:
    return f"{tally.compared:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
