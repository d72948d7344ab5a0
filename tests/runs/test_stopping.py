"""Stopped by a signal, or killed, a run or a sweep goes on to the same bytes; both say so, and in time."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import jinv.core.loop
import jinv.judge.evaluate
import jinv.runs.merge
import jinv.runs.synthesize
from jinv.cli import main
from jinv.core.program import StageProgram
from jinv.models.registry import ARCHITECTURES
from jinv.record.directory import RunDirectory
from jinv.record.unfinished import Checkpoint, Work, load_checkpoint, save_checkpoint
from jinv.record.workers import seconds_spent
from jinv.runs.stopping import Saving, stoppable
from tests.runs.kill_runs import no_block
from tests.small_runs import save_tiny, under_way

SMALL = """
model = "tiny.safetensors"
[image]
size = 16
labels = ["cat", "ship", 1, 2]
batch = 2
[[stages]]
size = 8
steps = 4
[[stages]]
size = 16
steps = 4
[augment.flip]
[terms.cross_entropy]
"""
ONE_STAGE = SMALL.replace("[[stages]]\nsize = 8\nsteps = 4\n", "")
JUDGED = SMALL + '[evaluate]\nverifiers = ["other.safetensors"]\n'
RARELY = ["--set", "log_every=100000"]
"""Nothing is logged but the end of each stage: two batches of eight steps in two stages."""


@pytest.fixture(autouse=True)
def _a_terminals_signals():
    """A shell's background, as some CI's, has Ctrl-C ignored, and jinv leaves that so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "no_block", no_block())
        yield with_runs(tmp_path_factory.mktemp("stopping"))


def with_runs(folder):
    """Networks, configs, and what runs leave that nobody stops."""
    save_tiny(folder / "tiny.safetensors", 1, name="no_block")
    save_tiny(folder / "other.safetensors", 2, name="no_block")
    (folder / "small.toml").write_text(SMALL)
    (folder / "judged.toml").write_text(JUDGED)
    (folder / "one_stage.toml").write_text(ONE_STAGE)
    for name, more in (("plain", []), ("scanned", ["keep=best", "log_gradients=true"])):
        with pytest.MonkeyPatch.context() as patch:
            scanned(patch, name == "scanned")
            assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / name), *RARELY, *more]) == 0
    return folder


def scanned(patch, wanted):
    patch.setattr(jinv.core.loop, "scan_by_default", lambda: wanted)
    patch.setattr(jinv.core.loop, "LONGEST_SCAN", 3)


class Counted:
    """A stage's compiled function that does something when it is called for the n-th time, whichever stage's it is."""

    def __init__(self, function, calls, at, action):
        self.function, self.calls, self.at, self.action = function, calls, at, action

    def __call__(self, *arguments):
        self.calls.append(1)
        if len(self.calls) == self.at:
            self.action()
        return self.function(*arguments)

    def __getattr__(self, name):
        return getattr(self.function, name)


def at_call(patch, number, action):
    """Does `action` in the middle of that call of a step, or of many in one program."""
    calls, make = [], StageProgram.__init__

    def made(self, *arguments, **options):
        make(self, *arguments, **options)
        self.step = Counted(self.step, calls, number, action)
        self.steps = Counted(self.steps, calls, number, action)

    patch.setattr(StageProgram, "__init__", made)


def same(run, expected):
    for name in ("images.npy", "metrics.jsonl", "config.toml"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (run, expected)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("number", "whole", "call", "where"),
    [
        (signal.SIGTERM, "plain", 1, "step 1 of batch 0"),
        (signal.SIGINT, "plain", 6, "step 6 of batch 0"),
        (signal.SIGTERM, "plain", 8, "step 8 of batch 0"),
        (signal.SIGINT, "plain", 11, "step 3 of batch 1"),
        (
            signal.SIGTERM,
            "scanned",
            1,
            "step 3 of batch 0",
        ),  # each stage's four steps are three in one program, and one
        (signal.SIGTERM, "scanned", 7, "step 7 of batch 1"),
    ],
)
def test_a_signal_between_logged_steps_is_heard_at_the_next(number, whole, call, where, folder, tmp_path, capsys):
    more = ["keep=best", "log_gradients=true"] if whole == "scanned" else []
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY, *more]
    with pytest.MonkeyPatch.context() as patch:
        scanned(patch, whole == "scanned")
        before = signal.getsignal(number)
        with pytest.MonkeyPatch.context() as inner:
            at_call(inner, call, lambda: signal.raise_signal(number))
            assert main(command) == 75
        assert signal.getsignal(number) is before
        error = capsys.readouterr().err
        assert f"stopped at {where}; continue with --resume" in error, error
        assert main([*command, "--resume"]) == 0
    same(tmp_path / "run", folder / whole)


def test_ctrl_c_twice_is_an_end_at_once(folder, tmp_path, monkeypatch, capsys):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    at_call(monkeypatch, 2, twice)
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    assert main(command) == 130 and not list((tmp_path / "run").rglob("checkpoint.npz"))
    monkeypatch.undo()
    assert main([*command, "--resume"]) == 0
    same(tmp_path / "run", folder / "plain")


def test_what_is_to_be_ignored_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.asked and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_is_asked_just_as_one_part_ends_does_not_begin_the_next():
    with stoppable() as whole:
        with stoppable() as part:
            os.kill(os.getpid(), signal.SIGTERM)  # at its last step, behind its last look
            assert part.asked and whole.asked
        with stoppable() as following:
            assert following.asked
    with stoppable() as other:
        assert not other.asked


def test_recording_and_judging_stop_between_two_pictures_and_are_done_again(folder, tmp_path, monkeypatch, capsys):
    command = ["synthesize", str(folder / "judged.toml"), "--out", str(tmp_path / "run"), *RARELY]
    assert main([*command[:2], "--out", str(tmp_path / "whole"), *RARELY]) == 0
    check, looked = jinv.runs.merge.check_unit, []

    def checks(run, number):
        looked.append(number)
        signal.raise_signal(signal.SIGTERM)
        return check(run, number)

    monkeypatch.setattr(jinv.runs.merge, "check_unit", checks)
    capsys.readouterr()
    assert main(command) == 75 and looked == [0]
    assert "stopped (looking through the batches); continue with --resume" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["finished"] is None
    monkeypatch.undo()
    judge = jinv.judge.evaluate.judge_run
    monkeypatch.setattr(jinv.judge.evaluate, "judge_run", lambda *a: signal.raise_signal(signal.SIGTERM) or judge(*a))
    assert main([*command, "--resume"]) == 75
    assert "judges the images); continue with --resume" in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation.json").exists()
    monkeypatch.undo()
    assert main([*command, "--resume"]) == 0
    same(tmp_path / "run", tmp_path / "whole")
    assert RunDirectory(tmp_path / "run").evaluation() == RunDirectory(tmp_path / "whole").evaluation()


def test_every_so_many_seconds_the_state_is_saved_and_no_line_more_is_written(folder, tmp_path, monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 0.3
        return now[0]

    save, saved = Work.save, []
    monkeypatch.setattr(jinv.runs.synthesize, "Saving", partial(Saving, clock=clock))
    monkeypatch.setattr(Work, "save", lambda self, c: saved.append((c.batch, c.step)) or save(self, c))
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    assert main([*command, "checkpoint.every_seconds=2"]) == 0
    assert saved and saved == sorted(set(saved)) and any(step % 4 for _, step in saved)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (folder / "plain" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "run" / "images.npy").read_bytes() == (folder / "plain" / "images.npy").read_bytes()
    assert "every_seconds = 2" in (tmp_path / "run" / "config.toml").read_text()


def dies_at(patch, number):
    save, calls = Work.save, []

    def dies(self, checkpoint):
        save(self, checkpoint)
        calls.append(checkpoint.step)
        if len(calls) == number:
            raise KeyboardInterrupt

    patch.setattr(Work, "save", dies)


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def emptied(data):
    return b""


@pytest.mark.parametrize(("damage", "both"), [(cut, False), (flipped, False), (emptied, False), (flipped, True)])
def test_a_damaged_checkpoint_makes_way_for_the_one_before_it(damage, both, folder, tmp_path, monkeypatch, capsys):
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    command += ["checkpoint.every_steps=2"]
    dies_at(monkeypatch, 3)
    assert main(command) == 130
    monkeypatch.undo()
    newest, before = (under_way(tmp_path / "run") / name for name in ("checkpoint.npz", "checkpoint_before.npz"))
    for path in (newest, before)[: 1 + both]:
        path.write_bytes(damage(path.read_bytes()))
    resumed = []
    run = jinv.core.loop.Synthesis.run
    monkeypatch.setattr(
        jinv.core.loop.Synthesis,
        "run",
        lambda self, *a, resume=None, **k: resumed.append(resume) or run(self, *a, resume=resume, **k),
    )
    capsys.readouterr()
    assert main([*command, "--resume"]) == 0
    warning = capsys.readouterr().err
    assert f"/{newest.name}: " in warning and before.name in warning
    assert (resumed[0] is None) == both and (both or resumed[0].leaves is None)  # the one at step 4 is between stages
    assert (tmp_path / "run" / "images.npy").read_bytes() == (folder / "plain" / "images.npy").read_bytes()
    assert not newest.exists() and not before.exists()


def test_a_kill_between_two_checkpoints_names_loses_neither(tmp_path, monkeypatch):
    replace_ = os.replace
    for step in (1, 2):
        save_checkpoint(tmp_path, Checkpoint(0, 0, step, [np.zeros(3)]))

    def killed(source, target):
        if Path(target).name == "checkpoint.npz":
            raise KeyboardInterrupt
        replace_(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, Checkpoint(0, 0, 3, [np.zeros(3)]))
    monkeypatch.undo()
    warned = []
    assert load_checkpoint(tmp_path, warned.append).step == 2 and not warned


def test_a_run_that_was_killed_before_its_first_files_can_begin(folder, tmp_path, monkeypatch, capsys):
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".writable.tmp.0123abcd.tmp").touch()
    monkeypatch.setattr(RunDirectory, "write_config", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(command) == 130
    monkeypatch.undo()
    assert main(command) == 6
    assert main([*command, "--resume"]) == 0
    (tmp_path / "run" / "config.toml").unlink()  # gone from a finished run it is missed
    assert main([*command, "--resume"]) == 5
    assert "config.toml: cannot be read" in capsys.readouterr().err


def test_a_run_that_was_killed_just_after_its_seal_leaves_nothing(folder, tmp_path, monkeypatch):
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    monkeypatch.setattr(RunDirectory, "clean", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(command) == 130
    monkeypatch.undo()
    assert (tmp_path / "run" / "units").exists() and main([*command, "--resume"]) == 0
    same(tmp_path / "run", folder / "plain")


def took_longer(run, seconds):
    """The one worker of a run says so."""
    (log,) = run.glob("workers/*.jsonl")
    *before, last = log.read_text().splitlines()
    log.write_text("\n".join([*before, json.dumps(json.loads(last) | {"seconds": seconds})]) + "\n")


def test_the_time_before_a_kill_counts(folder, tmp_path, monkeypatch):
    command = ["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run"), *RARELY]
    run = RunDirectory(tmp_path / "run")
    dies_at(monkeypatch, 1)
    assert main([*command, "checkpoint.every_steps=3"]) == 130
    monkeypatch.undo()
    manifest = run.manifest()
    assert 0 < seconds_spent(run.path) <= manifest.wall_seconds + 0.1
    # As SIGKILL leaves it: nothing in the manifest, all in the worker's log.
    run.write_manifest(manifest.model_copy(update={"wall_seconds": None}))
    took_longer(run.path, 1000.0)
    assert main([*command, "checkpoint.every_steps=3", "--resume"]) == 0
    assert 1000 < run.manifest().wall_seconds < 1100


def test_a_sweep_that_is_stopped_in_its_second_program_keeps_the_first(folder, tmp_path, capsys):
    command = ["sweep", str(folder / "one_stage.toml"), "--vary", "stages.0.steps=[2,3]", "seed=[0,1]", *RARELY]
    command += ["image.batch=4"]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        at_call(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))  # the first program has two calls
        capsys.readouterr()
        assert main([*command, "--out", str(tmp_path / "parts")]) == 75
    error = capsys.readouterr().err
    assert "stopped at step 2 of batch 0 of part 2 of 2, 2 settings; continue with --resume" in error
    done = sorted(path.parent.name for path in (tmp_path / "parts").rglob("images.npy"))
    assert len(done) == 2 and f"finished are 2 of 4 settings: {', '.join(done)}" in error
    assert all(RunDirectory(tmp_path / "parts" / name).is_finished() for name in done)
    assert main([*command, "--out", str(tmp_path / "parts"), "--resume"]) == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_dir())
    assert len(names) == 4
    for name in names:
        same(tmp_path / "parts" / name, tmp_path / "whole" / name)
        seconds = RunDirectory(tmp_path / "parts" / name).manifest().wall_seconds
        assert seconds is not None and seconds >= 0


def test_a_sweeps_time_before_a_kill_counts(folder, tmp_path, monkeypatch):
    command = ["sweep", str(folder / "one_stage.toml"), "--vary", "seed=[0,1]", "--out", str(tmp_path / "sweep")]
    command += ["--set", "checkpoint.every_steps=3"]
    dies_at(monkeypatch, 2)
    assert main(command) == 130
    monkeypatch.undo()
    first, second = (RunDirectory(tmp_path / "sweep" / f"{k}_seed={k}") for k in (0, 1))
    for run in (first, second):
        took_longer(run.path, 500.0)
        run.write_manifest(run.manifest().model_copy(update={"wall_seconds": None}))
    assert main([*command, "--resume"]) == 0
    assert all(run.manifest().wall_seconds > 500 for run in (first, second))


def test_runs_that_are_killed_end_as_if_nobody_had(tmp_path):
    """20 SIGKILLs at seeded moments, in processes of their own; `--count 200` in the module's own command."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.runs.kill_runs", "--count", "20", "--seed", "1"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout and ", 0 runs differ" in done.stdout
