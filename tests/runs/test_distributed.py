"""One batch over two processes: the same images as of one, and an end that can be resumed when one of them is lost."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jinv.cli import main
from jinv.commands.supervision import _pass_on
from jinv.errors import UsageError
from jinv.experiment.devices import check_devices, sharding
from jinv.recipe.read import read_config
from tests.runs.gang import CONFIG

COMPILED_QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
MACHINE = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {COMPILED_QUICKLY}", "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def said(folder):
    """What each process ended with, exit code and words, by what was done."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.runs.gang", str(folder)]
    environment = os.environ | MACHINE | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def codes(ends):
    return [code for code, _ in ends]


def errors(ends):
    """The last line of each one's words, without what every error begins with; no traceback is among them."""
    assert not any("Traceback" in words or "@ " in words for _, words in ends), ends
    return [words.strip().rpartition("jinv: error: ")[2] for _, words in ends]


def test_two_processes_end_with_the_images_of_one(said, folder):
    """Statistics are of the whole batch: those of each process' own four images would be far off."""
    assert codes(said["alone"]) == [0] and codes(said["together"]) == [0, 0], said["together"]
    images, expected = (np.load(folder / name / "images.npy") for name in ("two", "one"))
    assert images.shape == expected.shape == (16, 16, 16, 3)
    assert np.abs(images - expected).max() < 1e-5 * np.abs(expected).max()
    lines, alone = ((folder / name / "metrics.jsonl").read_text().splitlines() for name in ("two", "one"))
    assert len(lines) == len(alone)
    np.testing.assert_allclose(*([json.loads(x)["total"] for x in of] for of in (lines, alone)), rtol=1e-5)
    leader, follower = (words for _, words in said["together"])
    assert "process 0 of 2" in leader and "2 of 4 devices (cpu)" in leader and "on 4 devices, cpu" in leader
    assert "process 1 of 2" in follower and follower.count("\n") == 1


def test_a_lost_process_ends_the_job_resumably(said, folder):
    """Whichever it is: the other one says so in a line, at once, and does not go on alone."""
    for survivor, what in ((0, "follower killed"), (1, "leader killed")):
        ends = said[what]
        assert codes(ends) == ([75, -9] if survivor == 0 else [-9, 75]), ends
        assert errors(ends)[survivor] == "a process of the job was lost; start all of them again with --resume"
        assert "batch 2/2" not in ends[0][1]


def test_a_stop_asked_of_one_process_is_one_of_all(said):
    ends = said["stopped"]
    assert codes(ends) == [75, 75], ends
    leader, follower = errors(ends)
    assert "stopped at step" in leader and "of batch 0; continue with --resume" in leader
    assert follower == "process 0 ended the job (exit 75); it says why"


def test_one_process_goes_on_where_two_were(said, folder):
    assert codes(said["resumed"]) == [0], said["resumed"]
    images, expected = (np.load(folder / name / "images.npy") for name in ("lost", "one"))
    assert np.abs(images - expected).max() < 1e-5 * np.abs(expected).max()
    unit = json.loads((folder / "lost" / "units.jsonl").read_text().splitlines()[0])
    assert len(unit["environments"]) == 2  # bits are not those of either


def test_processes_that_would_compute_something_else_are_refused(said, folder):
    ends = said["another config"]
    assert codes(ends) == [2, 2] and all("process 1 of the job would compute something else" in e for e in errors(ends))
    assert not (folder / "none").exists()


def test_a_process_that_does_not_come_is_waited_for_no_longer_than_asked(said):
    ends = said["late"]
    assert codes(ends) == [2], ends
    assert errors(ends)[0].startswith("the processes of the job were not together within 1 s (--distributed-timeout)")
    assert ends[0][1].count("\n") == 1


TOGETHER = ["--distributed", "--coordinator", "here:1234", "--processes", "2", "--process"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--process", "0"], "--process: only with --distributed"),
        (["--distributed-timeout", "9"], "--distributed-timeout: only with --distributed"),
        (["--distributed", "--process", "0"], "--process: also say --coordinator and --processes"),
        ([*TOGETHER, "2"], "--process 2: must be from 0 to 1 of --processes 2"),
        ([*TOGETHER, "0", "--processes", "0"], "--processes 0: must be at least 1"),
        ([*TOGETHER, "0", "--coordinator", "here"], "--coordinator here: not HOST:PORT"),
        ([*TOGETHER, "0", "--coordinator", "here:70000"], "--coordinator here:70000: not HOST:PORT"),
        ([*TOGETHER, "0", "--distributed-timeout", "0"], "--distributed-timeout 0: must be at least 1 second"),
        ([*TOGETHER, "0", "--memory"], "--memory: runs nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(arguments, message, tmp_path, capsys):
    (tmp_path / "small.toml").write_text(CONFIG)
    assert main(["synthesize", str(tmp_path / "small.toml"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["image.batch=7"], "image.batch: 7 images can't be shared evenly by 2 processes; 6 can"),
        (["image.count=13"], "image.count: the last batch: 5 images can't be shared evenly by 2 processes; 4 can"),
        (["devices=3"], "devices: 3 are not as many in each of 2 processes; 4 are"),
    ],
)
def test_batches_that_processes_cannot_share_are_refused(changes, message, tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(CONFIG)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match=f"^{message}"):
        check_devices(read_config(tmp_path / "small.toml", changes))


def test_every_process_has_as_many_devices_of_a_batch(tmp_path, monkeypatch):
    """A mesh that left a process out would be none that it can take part in."""

    class Device(NamedTuple):
        id: int
        process_index: int

    there = [Device(number, number // 4) for number in range(8)]
    (tmp_path / "small.toml").write_text(CONFIG)
    recipe = read_config(tmp_path / "small.toml", ["devices='all'"])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: there)
    taken = []
    monkeypatch.setattr("jinv.experiment.devices.batch_sharding", lambda devices: taken.append([d.id for d in devices]))
    for count in (8, 6, 2):
        sharding(recipe, count)
    assert taken == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 4, 5, 6], [0, 4]]


def test_what_the_runtime_says_is_passed_on_but_for_its_greetings(capfd):
    """gloo's come in pieces, with those of another thread between them."""
    greeting = b"[Gloo] Rank %d is connected to 3 peer ranks. Expected number of connected peer ranks is : 3\n"
    between = b"[Gloo] Rank [Gloo] Rank 23 is connected to  is connected to 3 peer ranks. "
    broken = b"Expected number of connected peer ranks is : 3\n2 is connected to 3 peer ranks. \n"
    warning = b"W0000 00:00 3 is connected to nothing\n"
    reading, writing = os.pipe()
    os.write(writing, greeting % 2 + between + broken + warning + greeting % 1)
    os.close(writing)
    assert len(_pass_on(reading)) == 5
    assert capfd.readouterr().err == warning.decode()
