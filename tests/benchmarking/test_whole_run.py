"""A whole run's parts: each second is counted once, and what a run leaves and says is found. Nothing is timed."""

import json
import sys

import pytest

from benchmarks import whole_run
from benchmarks.whole_run import Moments, Observed, Program, account, observe
from jinv.errors import UsageError
from jinv.record.timing import StepTime

MOMENTS = Moments(
    started=100,
    directory=104,
    begun=110,
    computed=200,
    assembled=201,
    evaluated=211,
    reported=212,
    sealed=212.5,
    ended=214,
)
STAGES = [20, 10]


def line(batch, step, at):
    return StepTime(batch=batch, step=step, at=at)


# Two batches of two stages, logged every five steps: 1 s a step in the first stage, 2 s in the second.
LINES = [
    line(0, 5, 120), line(0, 10, 125), line(0, 15, 130), line(0, 20, 135), line(0, 25, 147), line(0, 30, 157),
    line(1, 5, 163), line(1, 10, 168), line(1, 15, 173), line(1, 20, 178), line(1, 25, 188), line(1, 30, 198),
]  # fmt: skip
PROGRAMS = [Program("jit(derive)", 1, 106), Program("jit(function)", 4, 115), Program("jit(function)", 2, 137),
            Program("jit(forward)", 3, 205), Program("jit(late)", 9, 213)]  # fmt: skip


def run(lines=LINES, checkpoints=(), programs=PROGRAMS):
    return Observed(MOMENTS, list(lines), list(checkpoints), programs, 90.0)


def test_every_second_is_in_one_part():
    parts = account(run(), STAGES)
    assert parts == {
        "start_up": 4, "loading": 5, "compiling": 1 + 6 + 3, "steps": 2 * (20 + 20), "checkpoints": 0, "between": 4,
        "assembling": 1, "evaluating": 7, "report": 1, "sealing": 0.5, "ending": 1.5,
    }  # fmt: skip
    assert list(parts) == list(whole_run.PARTS)
    assert account(run(), [0, 20, 0, 10]) == parts
    assert sum(parts.values()) == MOMENTS.ended - MOMENTS.started


def test_a_checkpoint_costs_by_what_its_steps_took_longer():
    late = [
        entry.model_copy(update={"at": entry.at + (2 if entry.batch or entry.step >= 15 else 0)}) for entry in LINES
    ]
    parts = account(run(late, checkpoints=[127]), STAGES)
    assert parts["checkpoints"] == 2 and parts["steps"] == 80
    assert sum(parts.values()) == MOMENTS.ended - MOMENTS.started
    with pytest.raises(UsageError, match="save more rarely"):
        account(run(checkpoints=range(100, 200)), STAGES)


def test_what_was_logged_too_rarely_cannot_be_told_apart():
    for lines in (LINES[3:], [entry for entry in LINES if entry.step != 20]):
        with pytest.raises(UsageError, match="20 steps has too few lines"):
            account(run(lines), STAGES)


RUN = """
import os, shutil, sys, time
from pathlib import Path
from jinv.record.timing import StepTime, append_times
from jinv.record.workers import WorkerLog
out = Path(sys.argv[1])
out.mkdir()
log = WorkerLog(out, "token")
while os.stat(log.path).st_nlink < 2:  # until it is seen
    time.sleep(0.001)
print("Finished jaxpr to MLIR module conversion jit(function) in 0.25 sec", file=sys.stderr)
print("Finished XLA compilation of jit(function) in 1.5 sec", file=sys.stderr)
print("Finished tracing function for jit in 7.0 sec", file=sys.stderr)
log.say("checkpoint", 0)
log.say("unit", 0, images=2)
append_times(out / "timing.jsonl", [StepTime(batch=0, step=5, at=1.0), StepTime(batch=0, step=10, at=2.0)])
shutil.rmtree(out / "workers")
(out / "report.html").write_text("")
(out / "manifest.json").write_text("")
"""


def test_a_run_is_seen_from_outside_though_it_removes_its_log(tmp_path):
    found = observe([sys.executable, "-c", RUN, str(tmp_path / "run")], tmp_path / "run", tmp_path)
    assert list(found.moments) == sorted(found.moments)
    assert found.moments.assembled == found.moments.evaluated < found.moments.ended  # no verifier was asked
    assert [entry.step for entry in found.lines] == [5, 10] and len(found.checkpoints) == 1
    assert [(program.name, program.seconds) for program in found.programs] == [
        ("jit(function)", 0.25),
        ("jit(function)", 1.5),
    ]
    assert whole_run.compiled(found.programs) == {"jit(function)": {"programs": 1, "seconds": 1.75}}
    assert found.processor_seconds > 0


def test_a_result_is_printed_and_written_and_a_failure_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    asked = []

    def seen(command, out, folder):
        asked.append(command[command.index("--set") + 1 :])
        config = "model = 'net'\nlog_every = 5\n[image]\nlabels = [1]\ncount = 4\nbatch = 2\nsize = 8\n[terms.cross_entropy]\n"
        stages = "".join(f"[[stages]]\nsize = 8\nsteps = {steps}\n" for steps in STAGES)
        out.mkdir()
        (out / "config.toml").write_text(config + stages)
        return run()

    monkeypatch.setattr(whole_run, "observe", seen)
    written = tmp_path / "whole.json"
    assert whole_run.main(["a.toml", "--count", "4", "--set", "log_every=5", "--json", str(written)]) == 0
    result = json.loads(written.read_text())
    assert asked == [["image.count=4", "log_every=5"]]
    assert (result["share_of_steps"], result["beyond_steps_seconds"]) == (pytest.approx(80 / 114), pytest.approx(34))
    assert (result["batches"], result["images"], result["machine"]["cores"] > 0) == (2, 4, True)
    assert "steps            80.00 s  70.18%" in capsys.readouterr().out
    monkeypatch.undo()
    assert whole_run.main(["nowhere.toml"]) == 2
    assert "the run ended with" in (said := capsys.readouterr().err) and said.count("\n") == 1
    for arguments, words in (
        (["--count", "0"], "--count 0: above 0"),
        (["--json", "/nowhere/x"], "no folder /nowhere"),
    ):
        with pytest.raises(SystemExit):
            whole_run.main(arguments)
        assert words in capsys.readouterr().err
