"""Whoever finds work done may rely on it: the names that another gave, and was killed before it synced, are safe then."""

import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import jinv.runs.submit
from tests.faults.disk import Disk
from tests.faults.fake import HOPELESS, fake_synthesizer, merge, recipe, repair, sweep, synthesize, work_on
from tests.faults.journal import Journal
from tests.faults.run_work import units_left_by
from tests.runs.kill_runs import left_by


@contextmanager
def no_folder_synced(monkeypatch) -> Iterator[None]:
    """Bytes become safe, names do not, but for those in a folder that has no final name itself yet."""
    fsync = os.fsync

    def of_files_alone(descriptor: int) -> None:
        hidden = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.startswith(".")
        if hidden or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", of_files_alone)
        yield


diverging_sweep = functools.partial(sweep, seeds=(0, 1, HOPELESS))
"""Of three settings, the last of which diverges whatever its rate."""


def settings_left(sweep: Path) -> dict[str, bytes]:
    """Of the finished settings all that `left_by` has, of the one that diverged its units and lines."""
    *finished, diverged = sorted(path for path in sweep.iterdir() if path.is_dir())
    found = {f"{run.name}/{file}": data for run in finished for file, data in left_by(run).items()}
    found |= {f"diverged/{file}": data for file, data in units_left_by(diverged).items()}
    return found | {"diverged/metrics.jsonl": (diverged / "metrics.jsonl").read_bytes()}


def submitted(run: Path) -> None:
    assert not jinv.runs.submit.check_directory(run, recipe()), "something is left to do"


def finds_all_made(run: Path) -> None:
    work_on(run, "second")


FINDERS: dict[str, tuple[Callable, Callable, Callable]] = {
    "synthesize": (synthesize, lambda run: synthesize(run, resume=True), left_by),
    "worker": (synthesize, finds_all_made, left_by),
    "worker of an unfinished run": (work_on, finds_all_made, units_left_by),
    "merge": (synthesize, merge, left_by),
    "submit": (synthesize, submitted, left_by),
    "repair": (synthesize, repair, left_by),
    "sweep": (diverging_sweep, lambda run: diverging_sweep(run, resume=True), settings_left),
}


@pytest.mark.parametrize("finder", FINDERS)
def test_what_is_found_done_is_safe(finder, tmp_path, monkeypatch):
    make, find, left = FINDERS[finder]
    with fake_synthesizer():
        for finds in (False, True):
            folder = tmp_path / f"{finds}"
            folder.mkdir()
            journal = Journal(str(folder))
            with Disk(folder, journal=journal), no_folder_synced(monkeypatch):
                make(folder / "run")
            expected = left(folder / "run")
            if finds:
                with Disk(folder, journal=journal):
                    find(folder / "run")
            journal.lose(0, kept=0)
            # The first time nobody finds it, and nothing is there: else this test would see nothing.
            assert (folder / "run").exists() == finds
            assert not finds or left(folder / "run") == expected
