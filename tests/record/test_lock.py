"""One process at a time on a directory, and none once it is gone, however it ended."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jinv.errors import RunConflictError, StorageError
from jinv.record.lock import LOCK, held

ROOT = Path(__file__).resolve().parents[2]
HOLDS = """
import sys, time
from pathlib import Path
from jinv.record.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts a process that holds a directory until its input ends."""
    started = []

    def holder(path):
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(path)],
            stdin=pipe,
            stdout=pipe,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield holder
    for process in started:
        process.kill()
        process.communicate()


def test_a_directory_that_is_held_is_refused_in_a_line_that_says_by_whom(holder, tmp_path):
    other = holder(tmp_path / "run")
    before = (tmp_path / "run" / LOCK).read_bytes()
    with pytest.raises(RunConflictError) as error, held(tmp_path / "run"):
        pytest.fail("both hold it")
    words = str(error.value)
    assert f"{tmp_path / 'run'}: pid {other.pid} on {os.uname().nodename} since 2" in words and "\n" not in words
    assert (tmp_path / "run" / LOCK).read_bytes() == before and os.listdir(tmp_path / "run") == [LOCK]
    other.communicate(b"")
    assert not (tmp_path / "run").exists()  # it was made for nothing
    with held(tmp_path / "run") as alone:
        assert alone and json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()


def test_a_killed_process_holds_nothing(holder, tmp_path):
    other = holder(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert os.listdir(tmp_path) == [LOCK]
    with held(tmp_path) as alone:
        assert alone
    assert not os.listdir(tmp_path)


def test_a_lock_goes_to_no_child(tmp_path):
    with held(tmp_path):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    with held(tmp_path):
        pass
    child.communicate(b"")


def test_a_sweep_and_its_settings_exclude_one_another(holder, tmp_path):
    sweep = holder(tmp_path / "sweep")
    with (
        pytest.raises(RunConflictError, match=f"sweep/0: pid {sweep.pid} .* on .*sweep; "),
        held(tmp_path / "sweep" / "0"),
    ):
        pytest.fail("the sweep is at work")
    sweep.communicate(b"")
    setting = holder(tmp_path / "sweep" / "0")
    with (
        pytest.raises(RunConflictError, match=f"sweep: pid {setting.pid} .* on .*sweep/0; "),
        held(tmp_path / "sweep", inside=["1", "0"]),
    ):
        pytest.fail("a setting is worked on")
    with held(tmp_path / "sweep", inside=["1"]):
        pass


def test_what_somebody_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """The file that was opened is gone when it is locked: two would hold two files."""
    flock, calls = fcntl.flock, []

    def late(descriptor, how):
        if not calls:
            (tmp_path / LOCK).unlink()
        calls.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with held(tmp_path):
        assert len(calls) >= 2 and (tmp_path / LOCK).exists()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_without_locks_one_goes_on_and_says_so(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = []
    with held(tmp_path / "run", said.append) as alone:
        (tmp_path / "run" / "file").touch()
        assert not alone
    assert len(said) == 1 and said[0].startswith(f"{tmp_path / 'run'}: the file system has no locks")
    assert os.listdir(tmp_path / "run") == ["file"]


def test_what_is_made_for_nothing_goes_away_and_what_was_there_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path / "a" / "b" / "c"):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)
    (tmp_path / "a").mkdir()
    with held(tmp_path / "a" / "b"):
        pass
    assert os.listdir(tmp_path) == ["a"] and not os.listdir(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run: cannot be created"), held(tmp_path / "file" / "run"):
        pytest.fail("in a file")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": 3}', "[" * 4000])
def test_a_lock_whose_words_are_damaged_holds_all_the_same(holder, tmp_path, text):
    holder(tmp_path)
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(RunConflictError, match="another process is at work"), held(tmp_path):
        pytest.fail("both hold it")
