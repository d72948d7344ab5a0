"""`jinv status`: directories as runs leave them, and as they should not be; what it says beside what is there."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jinv.cli import main
from jinv.record import status as status_module
from jinv.record.claims import LEASE_S, Claims, claim_path
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import Manifest, SweepSetting
from jinv.record.status import read_status
from jinv.record.units import UnitRecord, unit_folder, write_unit
from jinv.record.workers import WORKERS

ROOT = Path(__file__).resolve().parents[2]
DEAD = 2**22 + 1
"""No process has this id: Linux has none above 2**22."""


def begun(path, count=10, batch=3, **manifest):
    """A run of `count` images that has begun."""
    path.mkdir(parents=True)
    run = RunDirectory(path)
    run.write_config({"model": "net", "image": {"batch": batch, "count": count}})
    names = ("cat",) * count
    run.write_unfinished(Manifest(labels=(3,) * count, class_names=names, image_size=(8, 8), **manifest))
    return path


def made(run, *numbers):
    """Units that are final, as a listing sees them."""
    for number in numbers:
        unit_folder(run, number).mkdir(parents=True)


def log(run, token, *lines, pid=None, restarts=None):
    """A worker's log: (event, seconds, unit, images, failed) after its beginning."""
    owner = {"token": token, "host": "node7", "pid": pid or os.getpid()}
    table = [{"event": "begin", "at": 1000.0, "seconds": 0.0, "owner": owner, "restarts": restarts}]
    keys = ("event", "seconds", "unit", "images", "failed")
    table += [dict(zip(keys, line, strict=False)) | {"at": 1000.0 + line[1]} for line in lines]
    (run / WORKERS).mkdir(exist_ok=True)
    (run / WORKERS / f"{token}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in table))


def said(capsys, *arguments):
    code = main(["status", *map(str, arguments)])
    return code, capsys.readouterr()


def test_an_unfinished_run_says_who_makes_what_at_which_rate_and_how_long_it_takes(tmp_path, capsys):
    run = begun(tmp_path / "run", count=32, batch=3)  # 11 units, the last one of 2 images
    made(run, 0, 1, 2, 10)
    log(
        run,
        "a",
        ("unit", 100.0, 0, 3),
        ("unit", 110.0, 1, 3),
        ("checkpoint", 115.0, 2),
        ("unit", 120.0, 2, 3),
        restarts=2,
    )
    log(run, "b", ("unit", 40.0, 10, 2))
    log(run, "gone", ("unit", 1.0, 0, 3))
    mine = {token: Claims(run, token, alone=False) for token in ("a", "b")}
    assert mine["a"].take(5) and mine["b"].take(6)
    status = read_status(run)
    assert (status.state, status.units, status.units_done, status.images, status.images_done) == (
        "unfinished",
        11,
        4,
        32,
        11,
    )
    assert [(unit.unit, unit.owner.token, unit.owner.pid, unit.silent) for unit in status.running] == [
        (5, "a", os.getpid(), False), (6, "b", os.getpid(), False)
    ]  # fmt: skip
    a, b, gone = status.workers
    assert (a.at_work, b.at_work, gone.at_work) == (True, True, False)
    assert (a.restarts, a.units, a.images) == (2, 3, 9)
    # The first unit of each compiled: a's later ones are 3 images in 10 s, b has no other.
    assert a.images_per_second == pytest.approx(6 / 20) and b.images_per_second == pytest.approx(2 / 40)
    assert status.images_per_second == pytest.approx(0.35)
    assert status.seconds_left == pytest.approx(21 / 0.35) and status.seconds_spent == pytest.approx(161)
    code, words = said(capsys, run)
    assert code == 0 and words.err == ""
    assert "11 of 32" in words.out and "4 of 11" in words.out and "0.35 images per second, 1:00 left" in words.out
    assert f"unit 5: pid {os.getpid()}" in words.out and "2 units by 2 of 3 workers" in words.out
    code, words = said(capsys, run, "--json")
    assert json.loads(words.out)["running"][1]["owner"]["token"] == "b"


def test_a_rate_is_that_of_a_workers_last_units(tmp_path):
    run = begun(tmp_path / "run", count=90)
    slow, fast = [(100.0 * (i + 1), i) for i in range(4)], [(400.0 + 2 * (i + 1), 4 + i) for i in range(8)]
    log(run, "a", *(("unit", at, number, 3) for at, number in slow + fast))
    (worker,) = read_status(run).workers
    assert worker.images_per_second == pytest.approx(1.5)


def test_who_died_or_is_not_heard_of_is_silent_and_counts_for_no_rate(tmp_path, capsys):
    run = begun(tmp_path / "run", count=30)
    made(run, 0)
    for number, token in ((1, "dead"), (2, "slow")):
        log(run, token, ("unit", 10.0, 0, 3))
        assert Claims(run, token, alone=False).take(number)
    table = json.loads(claim_path(run, 1).read_text())
    claim_path(run, 1).write_text(json.dumps(table | {"pid": DEAD}))
    long_ago = time.time() - LEASE_S - 60
    os.utime(claim_path(run, 2), (long_ago, long_ago))
    status = read_status(run)
    assert [unit.silent for unit in status.running] == [True, True] and status.running[1].heard == pytest.approx(
        240, abs=5
    )
    assert status.images_per_second is None and status.seconds_left is None
    assert "silent for 4:0" in said(capsys, run)[1].out
    with held(run):  # who works alone does not touch its claims; it has the lock
        assert [unit.silent for unit in read_status(run).running] == [True, False]


def test_a_failed_unit_is_known_by_its_makers_log_and_where_there_is_none_by_its_record(tmp_path, capsys):
    run = begun(tmp_path / "run", count=9)
    log(run, "a", ("unit", 1.0, 0, 3), ("unit", 2.0, 1, 3, True))
    made(run, 0, 1)
    assert read_status(run).failed == (1,) and read_status(run).images_done == 3
    (run / "lines").write_text("")
    record = UnitRecord(unit=2, first=6, labels=(3, 3, 3), failed={"step": 4, "why": "not finite"})
    assert write_unit(run, record, np.zeros((3, 8, 8, 3), np.float32), run / "lines", {})
    status = read_status(run)
    assert (status.state, status.failed, status.is_over, status.units_done) == ("failed", (1, 2), True, 1)
    code, words = said(capsys, run)
    assert code == 0 and "failed   2: 1, 2" in words.out
    assert said(capsys, run, "--watch", "0.1")[0] == 7


def test_a_run_that_is_there_whole_waits_for_its_merge_and_a_finished_one_for_nothing(tmp_path, capsys):
    run = begun(tmp_path / "run", count=9)
    made(run, 0, 1, 2)
    log(run, "a", *(("unit", 1.0 + i, i, 3) for i in range(3)))
    assert read_status(run).state == "complete" and not read_status(run).is_over
    assert "jinv merge" in said(capsys, run)[1].out
    manifest = RunDirectory(run).manifest()
    RunDirectory(run).write_manifest(
        manifest.model_copy(update={"finished": "2026-01-02T03:04:05+00:00", "wall_seconds": 18.0})
    )
    status = read_status(run)
    assert (status.state, status.images_done, status.units_done, status.is_over) == ("finished", 9, 3, True)
    assert status.images_per_second == pytest.approx(0.5) and status.seconds_left == 0
    code, words = said(capsys, run, "--watch", "60")  # nothing to wait for
    assert code == 0 and "finished 2026-01-02" in words.out


def test_what_changes_while_one_looks_is_no_contradiction(tmp_path, monkeypatch):
    run = begun(tmp_path / "run", count=9)
    made(run, 0)
    assert Claims(run, "a", alone=False).take(0)  # left by one who was killed just after its unit became final
    assert Claims(run, "a", alone=False).take(1)
    assert [unit.unit for unit in read_status(run).running] == [1]

    def sealed_meanwhile(path):
        shutil.rmtree(path / "units")
        RunDirectory(path).write_manifest(RunDirectory(path).manifest().model_copy(update={"finished": "now"}))
        return iter(())

    monkeypatch.setattr(status_module, "worker_lines", sealed_meanwhile)
    assert (read_status(run).state, read_status(run).images_done) == ("finished", 9)


def test_watching_ends_when_the_run_does(tmp_path, capsys, monkeypatch):
    run = begun(tmp_path / "run", count=6)

    def sleep(seconds):
        assert seconds == 5
        made(run, len(list((run / "units").glob("*/*"))) if (run / "units").exists() else 0)
        if len(list((run / "units").glob("*/*"))) == 2:
            manifest = RunDirectory(run).manifest()
            RunDirectory(run).write_manifest(manifest.model_copy(update={"finished": "now"}))

    monkeypatch.setattr(time, "sleep", sleep)
    code, words = said(capsys, run, "--watch", "5", "--json")
    assert code == 0
    assert [json.loads(line)["images_done"] for line in words.out.splitlines()] == [0, 3, 6]


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0.05", "86401"])
def test_a_wait_that_is_none_is_refused(tmp_path, capsys, seconds):
    code, words = said(capsys, begun(tmp_path / "run"), "--watch", seconds)
    assert code == 2 and "from 0.1 to 86400 seconds" in words.err and words.err.count("\n") == 1 and not words.out


def test_off_a_terminal_only_what_changed_is_said_again(tmp_path, capsys, monkeypatch):
    run, looks = begun(tmp_path / "run", count=6), []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            made(run, 0)
        if len(looks) == 6:
            manifest = RunDirectory(run).manifest()
            RunDirectory(run).write_manifest(manifest.model_copy(update={"finished": "now"}))

    monkeypatch.setattr(time, "sleep", sleep)
    words = said(capsys, run, "--watch", "5")[1].out.splitlines()
    assert words == [
        f"{run}: unfinished", "images   0 of 6", "units    0 of 2", "images   3 of 6", "units    1 of 2",
        f"{run}: finished now", "images   6 of 6", "units    2 of 2",
    ]  # fmt: skip


def test_where_somebody_has_just_begun_that_is_said(tmp_path, capsys):
    with held(tmp_path / "out"):
        code, words = said(capsys, tmp_path / "out")
        assert code == 0 and words.out.startswith(f"{tmp_path / 'out'}: nothing is written yet; pid {os.getpid()} on ")
        assert json.loads(said(capsys, tmp_path / "out", "--json")[1].out)["state"] == "not begun"


def test_a_sweep_is_told_setting_by_setting_and_a_damaged_one_hides_no_other(tmp_path, capsys):
    sweep = tmp_path / "sweep"
    for number in range(3):
        begun(sweep / f"seed_{number}", count=6, sweep=SweepSetting(name=f"seed_{number}", changes={"seed": number}))
    made(sweep / "seed_1", 0)
    manifest = RunDirectory(sweep / "seed_0").manifest()
    RunDirectory(sweep / "seed_0").write_manifest(manifest.model_copy(update={"finished": "now"}))
    (sweep / "seed_2" / "manifest.json").write_text('{"schema": 1, "labels": 3}')
    status = read_status(sweep)
    assert [setting.state for setting in status.settings] == ["finished", "unfinished", None]
    assert "manifest.json" in status.settings[2].problem and status.is_over is False
    code, words = said(capsys, sweep)
    assert code == 0 and "1 of 3 settings" in words.out and "seed_1: unfinished, 3 of 6 images" in words.out
    assert len(json.loads(said(capsys, sweep, "--json")[1].out)["settings"]) == 3


def test_what_is_no_run_is_said_in_a_line(tmp_path, capsys):
    foreign, empty = tmp_path / "foreign", tmp_path / "empty"
    foreign.mkdir()
    empty.mkdir()
    (foreign / "thesis.tex").write_text("")
    for path, exit_code, words in (
        (tmp_path / "none", 5, "no such directory"),
        (empty, 5, "is empty"),
        (foreign, 5, "not a run directory"),
        (foreign / "thesis.tex", 5, "thesis.tex: not a directory"),
    ):
        code, captured = said(capsys, path)
        assert code == exit_code and words in captured.err and captured.err.count("\n") == 1 and not captured.out
    (tmp_path / "none.jobs").mkdir()  # submitted, and still in the queue
    assert said(capsys, tmp_path / "none")[1].out == f"{tmp_path / 'none'}: submitted; no worker has begun\n"


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("manifest.json", "{", 3),
        ("manifest.json", '{"schema": 99}', 6),
        ("manifest.json", '{"schema": 1, "labels": [], "finished": null}', 3),
        ("config.toml", "[image", 3),
        ("config.toml", "image = 3", 3),
        ("config.toml", '[image]\nbatch = "x"', 3),
        ("config.toml", "[image]\nbatch = 0", 3),
        (f"{WORKERS}/a.jsonl", '{"event": "unit"}\n\x00\n{"event"', 0),
        ("units/000/000001.claim", "{", 0),
        ("units/000/999999.claim", "{}", 0),
        ("units/000/what.is.this", "", 0),
        ("units/notes.txt", "", 0),
    ],
)
def test_damage_is_said_in_a_line_or_passed_over(tmp_path, capsys, name, text, code):
    run = begun(tmp_path / "run")
    made(run, 0)
    log(run, "a", ("unit", 1.0, 0, 3))
    (run / name).write_text(text)
    found, words = said(capsys, run)
    assert found == code and "Traceback" not in words.err
    if code:
        assert words.err.count("\n") == 1 and str(run) in words.err
    else:
        assert "3 of 10" in words.out


def test_five_thousand_units_cost_one_listing_of_each_folder_and_no_file_of_theirs(tmp_path):
    run = begun(tmp_path / "run", count=10_000, batch=2)
    for folder in range(5):
        (run / f"units/{folder:03d}").mkdir(parents=True)
        for number in range(1000):
            os.mkdir(run / f"units/{folder:03d}/{1000 * folder + number:06d}")
    log(run, "a", *(("unit", float(number), number, 2) for number in range(5000)))
    opened, listed = [], []
    watching = True

    def hear(event, found):  # a hook stays for the process's life
        if watching and event in ("open", "os.scandir", "os.listdir"):
            (opened if event == "open" else listed).append(str(found[0]))

    sys.addaudithook(hear)
    status = read_status(run)
    watching = False
    assert status.units_done == 5000 and status.state == "complete"
    ours = [path for path in opened if path.startswith(str(run))]
    assert len(ours) < 10 and not any("/run/units" in path for path in ours)
    assert len([path for path in listed if "/run/units" in path]) == 6


def test_it_needs_neither_jax_nor_a_network(tmp_path):
    run = begun(tmp_path / "run")
    made(run, 0)
    program = (
        "import sys; from jinv.cli import main; code = main(sys.argv[1:]); "
        "found = sys.modules.keys() & {'jax', 'jaxlib', 'flax', 'optax', 'torch', 'requests', 'urllib.request', "
        "'http.client', 'submitit'}; sys.exit(code or str(found or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, "status", str(run)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "3 of 10" in done.stdout, done.stderr
