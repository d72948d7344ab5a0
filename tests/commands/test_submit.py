"""`jinv submit`: what it hands to SLURM, by programs that stand in for SLURM's (tests/slurm has the real ones), and tasks here."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from jinv.cli import main, make_parser
from jinv.errors import UsageError
from jinv.recipe.packaged import find_config, packaged_names
from jinv.recipe.read import read_config
from jinv.recipe.resolved import resolved_table
from jinv.record.status import submitted
from jinv.runs import submit
from jinv.runs.jobs_folder import keep_config
from tests.commands.test_status import begun

CONFIG = 'model = "net.safetensors"\n[image]\nsize = 8\ncount = 4\nlabels = [1]\n[[stages]]\nsize = 8\nsteps = 1\n[terms.cross_entropy]\n'
SBATCH = """#!/bin/sh
[ -e refuses ] && { echo "sbatch: error: invalid partition specified: nope" >&2; exit 1; }
echo >> submissions; cp "$1" script$(wc -l < submissions)
echo "Submitted batch job $((11 + $(wc -l < submissions)))"
"""
ROOT = Path(__file__).resolve().parents[2]
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason='submitit is not here (pip install "jinv[slurm]")'
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in, with a config and stand-ins for SLURM's programs on the path."""
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def said(capsys, *arguments):
    code = main(["submit", *arguments])
    return code, capsys.readouterr()


def flags(script):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script.read_text(), re.MULTILINE))


@needs_submitit
def test_an_array_of_workers_and_a_merge_after_them_are_submitted(place, capsys):
    options = ["--array", "3", "--out", "runs/a b", "--partition", "gpu", "--time", "2:00:00", "--set", "image.count=6"]
    code, words = said(capsys, "config.toml", *options, "--slurm", "gres=gpu:1", "exclusive=true", "cpus_per_task=4")
    assert code == 0, words.err
    assert not logging.getLogger("submitit").handlers and "SUBMITIT_LOG_LEVEL" not in os.environ
    assert words.out.splitlines()[:2] == ["tasks    12_0 to 12_2", "merge    13, once they have ended"]
    assert "jinv status runs/a b" in words.out and str(place / "runs/a b.jobs/12_*_log.out") in words.out
    array, merge = flags(place / "script1"), flags(place / "script2")
    common = {"partition": "gpu", "time": "2:00:00", "gres": "gpu:1", "exclusive": "", "cpus-per-task": "4",
              "requeue": "", "open-mode": "append", "signal": "USR1@120"}  # fmt: skip
    assert common.items() <= array.items() and common.items() <= merge.items()
    assert array["array"] == "0-2%3" and "array" not in merge
    assert merge["dependency"] == "afterany:12" and "dependency" not in array
    script = (place / "script1").read_text()
    assert (
        script.index("srun ") < script.index("code=$?") < script.index("scontrol requeue") < script.index("exit $code")
    )

    from submitit.core.utils import DelayedSubmission  # not before, since its import by itself sets up logging

    folder = submitted(place / "runs/a b")
    (config,) = folder.glob("config-*.toml")
    assert tomllib.loads(config.read_text())["image"]["count"] == 6
    expected = {"12_0": ["worker", str(config), "--out"], "12_2": ["worker", str(config), "--out"], "13": ["merge"]}
    for job, words in expected.items():
        task = DelayedSubmission.load(folder / f"{job}_submitted.pkl")
        assert task.function is os.execv
        program, command = task.args
        assert program == command[0] == sys.executable and command[1:3] == ["-m", "jinv.cli"]
        assert command[3:] == [*words, str(place / "runs/a b")]
        make_parser().parse_args(command[3:])
    assert not (place / "runs/a b").exists()  # whoever comes first begins it


@needs_submitit
def test_the_script_goes_on_after_75_alone(place, capsys):
    assert said(capsys, "config.toml", "--array", "1", "--out", "run")[0] == 0
    teardown = (place / "script1").read_text().partition("# teardown")[2]
    for name, text in (("scontrol", 'echo "$@"'), ("squeue", 'echo "$STATE"')):
        (place / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / "bin" / name).chmod(0o755)
    # The id of an array's last task is the array's: putting that back would stop every other task.
    alone = {"SLURM_JOB_ID": "5"}
    of_array = alone | {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    for code in (0, 7, 75, 138, 137):
        for state in ("RUNNING", "COMPLETING", ""):  # what was cancelled stays so
            for variables, task in ((alone, "5"), (of_array, "5_3")):
                shell = ["bash", "-c", f"(exit {code})\n\n# teardown{teardown}"]
                environment = os.environ | variables | {"STATE": state}
                done = subprocess.run(shell, capture_output=True, text=True, env=environment)
                expected = f"requeue {task}\n" if code in (75, 138) and state == "RUNNING" else ""
                assert (done.returncode, done.stdout) == (code, expected)


@needs_submitit
def test_a_config_that_is_changed_later_changes_no_task(place, capsys):
    said(capsys, "config.toml", "--array", "2", "--out", "run")
    (first,) = submitted(place / "run").glob("config-*.toml")
    text = first.read_text()
    (place / "config.toml").write_text(CONFIG.replace("count = 4", "count = 5"))
    said(capsys, "config.toml", "--array", "2", "--out", "run")
    (other,) = set(submitted(place / "run").glob("config-*.toml")) - {first}
    assert first.read_text() == text and tomllib.loads(other.read_text())["image"]["count"] == 5


@pytest.mark.parametrize("name", packaged_names())
def test_the_config_that_tasks_read_says_what_the_users_does(name, tmp_path):
    recipe = read_config(find_config(name))
    kept = keep_config(recipe, tmp_path)
    assert resolved_table(read_config(kept)) == resolved_table(recipe)


@needs_submitit
def test_what_slurm_refuses_is_said_in_a_line(place, capsys):
    (place / "refuses").touch()
    code, words = said(capsys, "config.toml", "--array", "2", "--out", "run", "--partition", "nope")
    assert code == 2 and words.err == "jinv: error: sbatch: invalid partition specified: nope\n"
    assert not submitted(place / "run").exists()  # where `jinv status` would say that it waits
    (place / "refuses").unlink()
    assert said(capsys, "config.toml", "--array", "2", "--out", "run")[0] == 0
    before = sorted(submitted(place / "run").iterdir())
    (place / "refuses").touch()
    assert said(capsys, "config.toml", "--array", "2", "--out", "run", "--set", "seed=4")[0] == 2
    assert sorted(submitted(place / "run").iterdir()) == before


def test_without_slurm_or_submitit_it_is_said_what_to_do(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, words = said(capsys, "config.toml", "--array", "2", "--out", "run")
    assert code == 2 and 'pip install "jinv[slurm]"' in words.err and words.err.count("\n") == 1
    monkeypatch.undo()
    if find_spec("submitit") is not None:
        monkeypatch.chdir(place)
        monkeypatch.setenv("PATH", "/nowhere")
        code, words = said(capsys, "config.toml", "--array", "2", "--out", "run")
        assert code == 2 and "--cluster local" in words.err and words.err.count("\n") == 1
    assert not (place / "run.jobs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--array", "0"], "--array 0"),
        (["--array", "20000"], "10000"),
        (["--cluster", "slrum"], "did you mean 'slurm'?"),
        (["--cluster", "local", "--partition", "gpu"], "partition"),
        (["--time", "soon"], "--time soon"),
        (["--time", "4"], "at least 5 minutes"),
        (["--time", "4:59"], "at least 5 minutes"),
        (["--time", "0:04:59"], "at least 5 minutes"),
        (["--slurm", "array=0-3"], "array"),
        (["--slurm", "open_mode=truncate"], "open-mode"),
        (["--slurm", "comment=a\nrm -r /"], "comment"),
        (["--slurm", "a b=c"], "a b"),
        (["--slurm", "mem="], "mem"),
        (["--slurm", "signal=KILL@60"], "signal"),
        (["--slurm", "mem=1G", "mem=2G"], "twice"),
        (["--partition", "a", "--slurm", "partition=b"], "twice"),
        (["--set", "image.cuont=3"], "did you mean"),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_anything_is_written(place, capsys, arguments, words):
    code, captured = said(capsys, "config.toml", "--array", "2", "--out", "run", *arguments)
    assert code == 2 and words in captured.err and captured.err.count("\n") == 1
    assert not (place / "run.jobs").exists() and not (place / "submissions").exists()


@pytest.mark.parametrize("text", ["5", "90", "2:00:00", "10:30", "1-0", "1-12", "1-12:30", "0-00:05:00"])
def test_times_as_slurm_takes_them(text):
    assert submit.check_options({"time": text}) == {"time": text}


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "1-", "0-0", "0-00:04", "5.5", "5\n"])
def test_times_that_are_none_or_too_short(text):
    with pytest.raises(UsageError):
        submit.check_options({"time": text})


def test_a_place_that_is_none_is_refused_and_a_finished_run_is_left_alone(place, capsys):
    (place / "foreign").mkdir()
    (place / "foreign" / "thesis.tex").touch()
    code, words = said(capsys, "config.toml", "--array", "2", "--out", "foreign")
    assert code == 6 and words.err.count("\n") == 1
    for name, finished in (("begun", None), ("done", "now")):
        run = begun(place / name, count=4, batch=4, finished=finished)
        (run / "config.toml").write_text(CONFIG.replace("[1]", "[3, 3, 3, 3]"))
    assert said(capsys, "config.toml", "--array", "2", "--out", str(run)) == (0, (f"{run}: already finished\n", ""))
    code, words = said(capsys, "config.toml", "--array", "2", "--out", "begun", "--set", "stages.0.steps=2")
    assert code == 6 and "stages[0].steps: 1 then, 2 now" in words.err and words.err.count("\n") == 1
    assert not list(place.glob("*.jobs"))


KILLED = "mkdir first 2> /dev/null || kill -9 $$"


def here(monkeypatch, worker, merge="true"):
    """Tasks on this machine become these shell lines."""
    monkeypatch.setattr(submit, "worker_command", lambda config, directory: ["sh", "-c", worker])
    monkeypatch.setattr(submit, "merge_command", lambda directory: ["sh", "-c", merge])


@pytest.mark.parametrize(
    ("worker", "merge", "code", "merged"),
    [
        ("exit 0", "exit 0", 0, True),
        ("exit 7", "exit 7", 7, True),  # a unit failed; the others are put together as far as that goes
        ("exit 3", "exit 6", 3, False),
        (KILLED, "exit 0", 0, True),  # one of two was killed: the other did its work
        ("exit 0", "exit 6", 6, True),
    ],
)
def test_tasks_on_this_machine_are_waited_for_and_merged(place, capsys, monkeypatch, worker, merge, code, merged):
    here(monkeypatch, f"echo began; {worker}", f"touch merged; {merge}")
    found, words = said(capsys, "config.toml", "--array", "2", "--out", "run", "--cluster", "local")
    assert found == code and (place / "merged").exists() is merged
    assert (place / "run.jobs" / "local_1_log.out").read_text() == "began\n"
    told = sorted(line[7:] for line in words.err.splitlines() if line.startswith("task "))
    assert told == {"exit 3": ["ended with 3: began"] * 2, KILLED: ["ended with -9: began"]}.get(worker, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_to_the_tasks_here_and_waits_for_them(place, capsys, monkeypatch, number):
    stops = "trap 'touch kept$$; exit 75' TERM; touch began$$; for i in $(seq 600); do sleep 0.05; done"
    here(monkeypatch, stops, "touch merged")

    def ask():
        while len(list(place.glob("began*"))) < 3:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    # A shell's background, as some CI's, has Ctrl-C ignored, and jinv leaves that so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=ask, daemon=True).start()
        code, words = said(capsys, "config.toml", "--array", "3", "--out", "run", "--cluster", "local")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 75 and "3 tasks stopped" in words.err
    assert len(list(place.glob("kept*"))) == 3 and not (place / "merged").exists()


@needs_submitit
def test_submitting_needs_no_jax(place):
    program = (
        "import sys; from jinv.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or str(sys.modules.keys() & {'jax', 'flax', 'torch'} or '') or 0)"
    )
    command = [sys.executable, "-c", program, "submit", "config.toml", "--array", "2", "--out", "run"]
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0 and "12_0 to 12_1" in done.stdout, done.stderr
