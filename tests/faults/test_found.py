"""Whoever finds work done may rely on it: the names that another gave, and was killed before it synced, are safe then."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import jinv.runs.submit
import jinv.runs.sweep
from jinv.recipe.variations import Variation
from tests.faults.disk import Disk
from tests.faults.fake import HOPELESS, fake_synthesizer, merge, quiet, recipe, repair, synthesize, work_on
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


def diverging_sweep(directory: Path, *, resume: bool = False) -> None:
    """A sweep of three settings, the last of which diverges whatever its rate."""
    recipes = [recipe(seed=seed, image={"labels": [3, 8, 1]}) for seed in (0, 1, HOPELESS)]
    variations = [Variation(k, f"{k}", {"seed": one.seed}, one) for k, one in enumerate(recipes)]
    jinv.runs.sweep.run_sweep(variations, directory, resume=resume, console=quiet())


def settings_left(sweep: Path) -> dict[str, bytes]:
    """Of the finished settings all that `left_by` has, of the one that diverged its units and lines."""
    found = {f"{name}/{file}": data for name in "01" for file, data in left_by(sweep / name).items()}
    found |= {f"2/{file}": data for file, data in units_left_by(sweep / "2").items()}
    return found | {"2/metrics.jsonl": (sweep / "2" / "metrics.jsonl").read_bytes()}


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
