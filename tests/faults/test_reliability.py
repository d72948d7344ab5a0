"""What docs/reliability.md says, a part of it each time: all kills of a run, some of all else; and what has no row there."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import jinv.runs.units
from jinv.errors import JinvError, NumericalError, StorageError
from jinv.record.claims import Claims, claim_path
from jinv.record.units import final_units, unit_images, unit_record
from jinv.record.workers import WorkerLog
from tests.faults.disk import KINDS, Disk, Fault, Killed
from tests.faults.enumeration import trial, undisturbed
from tests.faults.fake import HOPELESS, UNSTABLE, fake_synthesizer, sweep, synthesize, work_on
from tests.faults.run_work import repairing, shared_work, sweeping, synthesis, worker_alone
from tests.runs.kill_runs import left_by

ROOT = Path(__file__).resolve().parents[2]
YEAR = 365 * 24 * 3600


@pytest.mark.parametrize("parts", ["run", "unstable workers repair between", "sweep", "again kills", "full", "many"])
def test_what_fails_costs_nothing_that_was_done(parts, tmp_path):
    command = [sys.executable, "-m", "tests.faults.reliability", "--quick", "--only", *parts.split()]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    if "none can be mounted" in done.stdout:
        pytest.skip("no file system can be mounted here")
    counts = [row.split("|")[2].strip() for row in done.stdout.splitlines()[2:]]
    assert counts and "0" not in counts, done.stdout


MOVED = re.compile(r"manifest\.json$|images\.npy$|units/\d+/\d+$")


@pytest.mark.parametrize(
    "make", [synthesis, worker_alone, shared_work, sweeping, repairing, partial(repairing, "shards")]
)
def test_who_finds_a_run_whole_makes_that_safe(make, tmp_path):
    """Who made it may have been killed between a file's new name and its folder's sync: a power loss takes the name back."""
    work, folder = make(), Path(os.path.realpath(tmp_path))
    with fake_synthesizer():
        tally = undisturbed(work, folder / "alone")
        names = list(enumerate(tally.operations, 1))
        renamed = [n for n, (name, path) in names if name == "rename" and MOVED.search(path)]
        for number in renamed:
            sync = next(n for n, (name, _) in names if name == "sync" and n > number)
            trial(tally, work, folder / "trial", "killed", Fault(KINDS["killed"], sync))
    assert renamed and not tally.wrong, tally.wrong


def test_a_sweep_whose_time_cannot_be_written_says_so(tmp_path, monkeypatch):
    """It was passed over, and the settings were sealed without their seconds."""
    say = WorkerLog.say

    def full(self, event, *arguments, **named):
        if event == "end":
            raise StorageError(f"{self.path}: cannot be written: No space left on device")
        say(self, event, *arguments, **named)

    with fake_synthesizer(beside=True):
        with monkeypatch.context() as patch, pytest.raises(StorageError, match="No space left"):
            patch.setattr(WorkerLog, "say", full)
            sweep(tmp_path / "sweep")
        sweep(tmp_path / "sweep", resume=True)
    for run in (path for path in (tmp_path / "sweep").iterdir() if path.is_dir()):
        assert json.loads((run / "manifest.json").read_text())["wall_seconds"] >= 0


@pytest.mark.parametrize("seed", [UNSTABLE, HOPELESS])
def test_a_batch_that_diverges_costs_the_others_nothing(tmp_path, seed):
    """Nor does one that was stopped in the middle of it, nor whoever makes it."""
    with fake_synthesizer():
        for run, make in (
            ("alone", lambda run: synthesize(run, seed=seed)),
            ("worker", lambda run: work_on(run, seed=seed)),
        ):
            for _ in range(2):
                try:
                    make(tmp_path / run) if not (tmp_path / run).exists() else synthesize(
                        tmp_path / run, resume=True, seed=seed
                    )
                except NumericalError as error:
                    assert seed == HOPELESS and "batch 1 failed" in str(error), error
                else:
                    assert seed == UNSTABLE
    if seed == UNSTABLE:
        assert left_by(tmp_path / "alone") == left_by(tmp_path / "worker")
        return
    assert sorted(final_units(tmp_path / "alone")) == [0, 1, 2]
    record = unit_record(tmp_path / "alone", 1)
    assert record.failed is not None and record.failed.step == 4 and record.learning_rate_scale == 0.5
    assert np.isfinite(unit_images(tmp_path / "alone", 1)).all() and not record.pictures
    assert len(list((tmp_path / "alone" / "images").iterdir())) == 3
    assert record == unit_record(tmp_path / "worker", 1)


def test_clocks_that_jump_take_no_batch_from_who_has_it(tmp_path):
    """What counts is whether a claim was touched while the other looked on, by the other's own clock that only goes on."""
    now = [0.0]
    owner = Claims(tmp_path, "owner", alone=False)
    other = Claims(tmp_path, "other", alone=False, lease=10.0, clock=lambda: now[0])
    assert owner.take(0)
    path = claim_path(tmp_path, 0)
    for jump in (YEAR, -YEAR, 0, -50 * YEAR, 1, -1):
        now[0] += 9.0
        os.utime(path, (time.time() + jump,) * 2)
        assert not other.take(0)
    now[0] += 9.0
    assert not other.take(0) and owner.has(0)
    now[0] += 1.0
    assert other.take(0) and not owner.has(0)
    owner.touch()
    owner.release(0, done=False)
    assert other.has(0)


def test_a_run_whose_clock_jumps_ends_as_any(tmp_path, monkeypatch):
    with fake_synthesizer():
        synthesize(tmp_path / "alone")
        real, calls = time.time, iter(range(1_000_000))
        monkeypatch.setattr(time, "time", lambda: real() + (-1) ** next(calls) * YEAR)
        monkeypatch.setattr(jinv.runs.units, "LONGEST_WAIT_S", 0.01)
        synthesize(tmp_path / "jumping")
    assert left_by(tmp_path / "jumping") == left_by(tmp_path / "alone")


def test_what_replacing_had_half_removed_is_no_finished_run(tmp_path):
    """Killed at any operation of a replacement; then the run goes on to what it has to be, or says why not."""
    with fake_synthesizer():
        synthesize(tmp_path / "whole")
        expected, refused, ended = left_by(tmp_path / "whole"), 0, 0
        for at in range(1, 1000, 7):
            folder = tmp_path / f"{at}"
            shutil.copytree(tmp_path / "whole", folder / "run")
            try:
                with Disk(folder, Fault(KINDS["killed"], at)) as disk:
                    synthesize(folder / "run", replace=True)
            except Killed:
                pass
            if not any((folder / "run" / "units").glob("*/*")) and disk.dead:
                try:
                    synthesize(folder / "run", resume=True)
                    ended += 1
                    assert left_by(folder / "run") == expected, at
                except JinvError as error:
                    refused += 1
                    assert error.exit_code in (3, 5, 6)
                    synthesize(folder / "run", replace=True)
                    assert left_by(folder / "run") == expected
            elif at > 50:
                break
        assert refused and ended
