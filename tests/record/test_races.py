"""What is read while another process moves, joins, seals or removes it: each test is the moment between two looks."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import jinv.record.run as run_module
import jinv.record.status as status_module
import jinv.record.units as units_module
import jinv.record.verify as verify_module
from jinv.cli import main
from jinv.errors import StorageError
from jinv.images.codec import png_bytes
from jinv.record.claims import Claims, claim_path, owner_of
from jinv.record.directory import RunDirectory
from jinv.record.lock import held
from jinv.record.manifest import Manifest
from jinv.record.metrics import lines_text
from jinv.record.run import open_run
from jinv.record.sealed import DamagedError
from jinv.record.status import read_status
from jinv.record.timing import StepTime, append_times, iter_times, join_times
from jinv.record.units import (
    UnitRecord,
    check_unit,
    discard_unit,
    publish,
    unit_folder,
    unit_record,
    write_unit,
)
from jinv.record.verify import verify
from jinv.record.workers import WORKERS, worker_lines
from jinv.runs.merge import drop_damaged, join_lines
from jinv.runs.worker import Worker
from tests.record.test_metrics_lines import logged

PICTURE = png_bytes(np.full((8, 6, 3), 55, np.uint8))


@pytest.fixture
def run(tmp_path):
    """A run of two batches of one image; the first is final and not published."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.write_unfinished(Manifest(labels=(3, 5), class_names=("cat", "dog"), image_size=(8, 6)))
    run.write_config({"model": "net", "image": {"batch": 1, "count": 2}})
    make_unit(run.path, 0)
    return run.path


def make_unit(run, number):
    lines = run / f".lines{number}"
    lines.write_text(lines_text([logged(1, batch=number), logged(2, batch=number)]))
    name, images = ("cat", "dog")[number], np.zeros((1, 8, 6, 3), np.float32)
    record = UnitRecord(unit=number, first=number, labels=((3, 5)[number],))
    assert write_unit(run, record, images, lines, {f"images/{number:06d}_{name}.png": PICTURE})
    lines.unlink()


def publish_all(run):
    for number in (0, 1):
        if not unit_folder(run, number).is_dir():
            make_unit(run, number)
        publish(run, unit_record(run, number))


def seal(run):
    """Everything that whoever ends the run does, with the module's own eyes."""
    publish_all(run)
    directory = RunDirectory(run)
    join_lines(directory, 2)
    join_times(run, run / WORKERS)
    np.save(run / "images.npy", np.zeros((2, 8, 6, 3), np.float32))
    outputs = directory.digests()
    directory.write_manifest(directory.manifest().model_copy(update={"finished": "now", "outputs": outputs}))
    directory.clean()


@contextmanager
def once_before(patch, owner, name, act, when=lambda *given: True):
    """`act` happens just before the first call of `owner.name` for which `when` holds, and has happened in the end."""
    original, done = getattr(owner, name), []

    def called(*given, **named):
        if not done and when(*given):
            done.append(True)
            act()
        return original(*given, **named)

    with patch.context() as moment:
        moment.setattr(owner, name, called)
        yield
    assert done


def test_of_a_line_twice_the_later_one_holds_whatever_its_workers_name(run):
    for token, at in (("host-1000-aa", 20.0), ("host-999-bb", 10.0)):
        append_times(run / WORKERS / f"{token}.timing", [StepTime(batch=0, step=1, at=at)])
    assert open_run(run).timing[0].at == 20.0
    seal(run)
    assert open_run(run).timing[0].at == 20.0


@pytest.mark.parametrize("name", ["glob", "w0.timing", "w1.timing"])
def test_times_are_whole_and_given_once_where_the_run_is_sealed_meanwhile(run, monkeypatch, name):
    for number in (0, 1):
        append_times(run / WORKERS / f"w{number}.timing", [StepTime(batch=number, step=1, at=1.0)])
    asked = (lambda path, *_: path.name == WORKERS) if name == "glob" else lambda path, *_: path.name == name
    with once_before(monkeypatch, Path, "glob" if name == "glob" else "open", lambda: seal(run), asked):
        found = [time.batch for time in iter_times(run, run / WORKERS)]
    assert found == [0, 1]


def test_a_log_that_went_away_is_passed_over(run, monkeypatch):
    (run / WORKERS).mkdir()
    for token in "ab":
        (run / WORKERS / f"{token}.jsonl").write_text('{"event": "begin", "at": 1.0, "seconds": 0.0}\n')
    lines = worker_lines(run)
    assert next(lines)[0] == "a"
    shutil.rmtree(run / WORKERS)
    assert list(lines) == []


def test_the_status_of_a_run_that_is_sealed_meanwhile_is_that_it_is_finished(run, monkeypatch):
    (run / WORKERS).mkdir()
    (run / WORKERS / "a.jsonl").write_text('{"event": "begin", "at": 1.0, "seconds": 0.0}\n')
    with once_before(monkeypatch, Path, "read_bytes", lambda: seal(run), lambda path: path.name == "a.jsonl"):
        assert read_status(run).state == "finished"


def test_the_status_of_a_run_that_begins_or_goes_away_just_then_is_no_contradiction(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)

    def begins():
        run.write_config({"model": "net", "image": {"batch": 1, "count": 2}})
        run.write_unfinished(Manifest(labels=(3, 5), class_names=("cat", "dog"), image_size=(8, 6)))

    with once_before(monkeypatch, status_module.RunDirectory, "entries", begins):
        assert read_status(run.path).units == 2
    shutil.rmtree(run.path)
    run.path.mkdir()

    def begins_late(path):
        begins()
        return None

    with monkeypatch.context() as patch:
        patch.setattr(status_module.RunDirectory, "manifest", lambda self: begins_late(self))
        with pytest.raises(StorageError, match="is empty: no run has begun here"):
            read_status(run.path)
    shutil.rmtree(run.path)
    run.path.mkdir()
    refused = pytest.raises(StorageError, match="no such directory")
    with once_before(monkeypatch, status_module.RunDirectory, "entries", run.path.rmdir), refused:
        read_status(run.path)


def test_the_status_of_a_run_whose_config_is_not_written_yet_is_that_it_has_not_begun(run, capsys):
    (run / "config.toml").unlink()
    shutil.rmtree(run / "units")
    assert (read_status(run).state, read_status(run).is_over) == ("not begun", False)
    assert main(["status", str(run)]) == 0 and capsys.readouterr().out == f"{run}: nothing is computed yet\n"


def test_lines_are_whole_where_the_run_is_sealed_meanwhile(run):
    make_unit(run, 1)
    lines = RunDirectory(run).iter_metrics()
    found = [next(lines)]
    seal(run)
    found += lines
    assert [(line.batch, line.step) for line in found] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_lines_are_there_where_the_run_is_sealed_just_after_none_was_seen_joined(run, monkeypatch):
    with once_before(monkeypatch, units_module.os, "listdir", lambda: seal(run), lambda path: path == run / "units"):
        found = list(RunDirectory(run).iter_metrics())
    assert [(line.batch, line.step) for line in found] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_a_units_lines_are_given_once_wherever_they_lie(run, monkeypatch):
    """While it is written, and just after, its owner has them too; then it has them alone."""
    directory, final = RunDirectory(run), unit_folder(run, 0)
    for other in (final.with_name(f"{final.name}.token"), final.with_name(f".{final.name}.0123abcd.tmp")):
        shutil.copytree(final, other)
    assert [(line.batch, line.step) for line in directory.iter_metrics()] == [(0, 1), (0, 2)]
    away = run / "away"
    final.rename(away)
    assert [(line.batch, line.step) for line in directory.iter_metrics()] == [(0, 1), (0, 2)]

    def made_final():
        away.rename(final)
        shutil.rmtree(final.with_name(f"{final.name}.token"))

    with once_before(monkeypatch, Path, "open", made_final, lambda path, *_: path.name == "metrics.jsonl"):
        assert [(line.batch, line.step) for line in directory.iter_metrics()] == [(0, 1), (0, 2)]


def test_a_unit_that_is_published_while_it_is_compared_is_sound(run, monkeypatch):
    picture = unit_folder(run, 0) / "000000_cat.png"
    with once_before(
        monkeypatch, units_module, "digest_of", lambda: publish(run, unit_record(run, 0)), lambda path: path == picture
    ):
        assert check_unit(run, 0).unit == 0
    assert (run / "images/000000_cat.png").exists()
    (run / "images/000000_cat.png").unlink()
    with pytest.raises(DamagedError, match=r"images/000000_cat\.png is missing"):
        check_unit(run, 0)
    (unit_folder(run, 0) / "metrics.jsonl").unlink()
    with pytest.raises(DamagedError, match=r"units/000/000000/metrics\.jsonl is missing"):
        check_unit(run, 0)


def test_a_unit_that_somebody_discards_is_to_be_made_again(run, monkeypatch):
    away = unit_folder(run, 0).with_name("away")
    shutil.copytree(unit_folder(run, 0), away)
    with once_before(monkeypatch, Path, "read_bytes", lambda: discard_unit(run, 0)):
        assert drop_damaged(RunDirectory(run), 2, print, lambda values, *_: values) == [0]
    away.rename(unit_folder(run, 0))
    (unit_folder(run, 0) / "images.npy").unlink()
    with once_before(monkeypatch, os, "rename", lambda: shutil.rmtree(unit_folder(run, 0))):
        assert drop_damaged(RunDirectory(run), 2, print, lambda values, *_: values) == [0]


def test_pictures_of_a_unit_that_becomes_final_while_one_verifies_are_not_orphaned(run, monkeypatch):
    with once_before(monkeypatch, verify_module, "check_unit", lambda: publish_all(run)):
        assert verify(run) == []


@pytest.mark.parametrize(
    ("owner", "name", "last"),
    [(verify_module, "check_unit", 0), (verify_module, "final_units", "run"), (os, "scandir", "000000")],
)
def test_a_run_that_is_sealed_while_one_verifies_is_compared_with_its_seal(run, monkeypatch, owner, name, last):
    with once_before(
        monkeypatch, owner, name, lambda: seal(run), lambda *given: Path(str(given[-1])).name == str(last)
    ):
        assert verify(run) == []
    (run / "images/000001_dog.png").unlink()
    assert [str(finding) for finding in verify(run)] == ["missing images/000001_dog.png"]


def test_a_run_that_is_sealed_anew_while_one_verifies_is_compared_with_its_new_seal(run, monkeypatch):
    (run / "report.html").write_text("one")
    seal(run)
    directory = RunDirectory(run)

    def seal_anew():
        (run / "report.html").write_text("another")
        directory.write_manifest(directory.manifest().model_copy(update={"outputs": directory.digests()}))

    with once_before(monkeypatch, verify_module, "digest_of", seal_anew):
        assert verify(run) == []
    with once_before(monkeypatch, verify_module, "digest_of", lambda: (run / "grid.png").write_text("a stranger")):
        assert [finding.kind for finding in verify(run)] == ["orphaned"]


@pytest.mark.parametrize("act", [publish_all, seal])
def test_an_image_that_is_moved_between_two_looks_is_there(run, monkeypatch, act):
    with once_before(monkeypatch, run_module, "final_units", lambda: act(run)):
        record = open_run(run)
        assert len(record) >= 1 and record[0].index == 0


@pytest.mark.parametrize("act", [publish_all, seal])
def test_an_image_that_is_moved_before_it_is_read_is_read(run, act):
    record = open_run(run)
    image = record[0]
    assert image.file == "units/000/000000/000000_cat.png"
    act(run)
    assert (image.pixels == 55).all()
    (run / "images/000000_cat.png").unlink()
    with pytest.raises(StorageError, match="000000_cat"):
        image.pixels  # noqa: B018


def test_what_somebody_is_writing_is_not_called_half_written(run):
    """Nor what was there when it was listed, and has its final name by now."""
    temporary = run / ".grid.png.0123abcd.tmp"
    temporary.write_bytes(b"half")
    with held(run, shared=True):
        assert verify(run) == []
        assert [(f.kind, f.name) for f in verify(run, alone=True)] == [("half-written", temporary.name)]
    with held(run.parent):  # the sweep to which it belongs
        assert verify(run) == []
    assert [(f.kind, f.name) for f in verify(run)] == [("half-written", temporary.name)]


def test_what_was_written_while_one_listed_is_not_called_half_written(run, monkeypatch):
    temporary = run / ".grid.png.0123abcd.tmp"
    temporary.write_bytes(b"half")
    strange = verify_module._strange

    def then_written(run):
        found = strange(run)
        temporary.rename(run.path / "grid.png")
        return found

    monkeypatch.setattr(verify_module, "_strange", then_written)
    assert verify(run) == []


def test_what_is_judged_and_drawn_anew_just_now_is_not_called_altered(run, tmp_path):
    """`jinv evaluate` seals it anew at its end. A repair's own folder is one finding, and its files are no orphans."""
    (run / "report.html").write_text("old")
    (run / "nearest").mkdir()
    (run / "nearest/0.png").write_bytes(PICTURE)
    outputs = RunDirectory(run).digests()
    manifest = RunDirectory(run).known_manifest()
    RunDirectory(run).write_manifest(manifest.model_copy(update={"finished": "2026-01-01", "outputs": outputs}))
    (run / "report.html").write_text("new")
    (run / "nearest/0.png").unlink()
    (run / ".repair/images").mkdir(parents=True)
    (run / ".repair/images/0.png").write_bytes(PICTURE)
    kinds = {(f.kind, f.name) for f in verify(run) if not f.name.startswith("units")}
    assert kinds == {("altered", "report.html"), ("missing", "nearest/0.png"), ("half-written", ".repair")}
    with held(run):
        assert [f for f in verify(run) if not f.name.startswith("units")] == []


def test_a_worker_whose_unit_is_taken_over_before_it_has_a_folder_leaves_it(run, monkeypatch):
    """It stood still for longer than its lease, and who took the unit over took the folder too: no fault of the disk's."""
    overtaken = True

    def lost(claims, number):
        if overtaken:
            claim_path(run, number).unlink()
            assert Claims(run, "other", alone=False).take(number)
        raise StorageError(f"{run}/units/000/000001.mine: cannot be created: No such file or directory")

    monkeypatch.setattr(Claims, "work_folder", lost)
    with Worker(run, alone=False) as worker:
        assert worker.take(1) is None
        assert owner_of(claim_path(run, 1)).token == "other"
        overtaken = False
        claim_path(run, 1).unlink()
        with pytest.raises(StorageError, match="cannot be created"):
            worker.take(1)
    assert "lost" in next((run / WORKERS).glob("*.jsonl")).read_text()
