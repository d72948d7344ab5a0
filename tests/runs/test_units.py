"""Units: planned, made in any order and beside others to the same bytes, failed alone, in shards, verified, made again."""

import json
import os
import shutil

import numpy as np
import pytest

import jinv.runs.units
from jinv.cli import main
from jinv.errors import NumericalError
from jinv.record.claims import Claims, claim_path
from jinv.record.directory import RunDirectory
from jinv.record.run import open_run
from jinv.record.units import final_units, unit_folder, unit_record
from jinv.runs.units import Units
from jinv.weights.labels import planned
from tests.small_runs import CONFIG, save_tiny

UNJUDGED = CONFIG.replace('[evaluate]\nverifiers = ["other.safetensors"]\n', "")
SIX = ("image.labels=[3,8,1,2,4,5]",)
FILES = ("images.npy", "metrics.jsonl", "grid.png", "units.jsonl", "config.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    """A config of three units, and a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("units")
    save_tiny(folder / "tiny.safetensors", 1, name=one_block)
    save_tiny(folder / "other.safetensors", 2, name=one_block)
    (folder / "small.toml").write_text(UNJUDGED)
    assert jinv_("synthesize", folder, "whole", *SIX) == 0
    return folder


def jinv_(command, folder, out, *changes):
    return main([command, str(folder / "small.toml"), "--out", str(folder / out), "--set", "log_every=2", *changes])


def same(run, whole, files=FILES):
    for name in (*files, *(path.relative_to(whole) for path in (whole / "images").iterdir())):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(p.name for p in run.rglob("*")) == sorted(p.name for p in whole.rglob("*"))


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


def test_plans_share_classes_out_as_they_say():
    assert planned("cycle", [3, 7, 9], 8, 4) == [3, 7, 9, 3, 7, 9, 3, 7]
    assert planned("one_class_per_batch", [3, 7], 10, 3) == [3, 3, 3, 7, 7, 7, 3, 3, 3, 7]
    assert planned("blocks", [3, 7, 9], 9, 6) == [3, 3, 3, 7, 7, 7, 9, 9, 9]
    assert planned("blocks", [3, 7], 5, 5) == [3, 3, 3, 7, 7]
    assert planned("blocks", [3, 7, 9], 2, 2) == [3, 7]


@pytest.mark.parametrize(
    ("plan", "labels"), [("one_class_per_batch", [3, 3, 8, 8, 3, 3, 8]), ("blocks", [3, 3, 3, 3, 8, 8, 8])]
)
def test_a_plan_decides_the_labels_and_its_config_says_them(folder, tmp_path, plan, labels):
    changes = (f"image.plan={plan}", "image.labels=[3,8]", "image.count=7", "stages=[{size=16,steps=1}]")
    assert jinv_("synthesize", folder, tmp_path / "run", *changes) == 0
    assert RunDirectory(tmp_path / "run").manifest().labels == tuple(labels)
    config = RunDirectory(tmp_path / "run").config()
    assert config["image"]["labels"] == labels and "plan" not in config["image"]
    assert jinv_("synthesize", folder, tmp_path / "run", *changes, "--resume") == 0
    again = ["synthesize", str(tmp_path / "run" / "config.toml"), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert (tmp_path / "again/images.npy").read_bytes() == (tmp_path / "run/images.npy").read_bytes()


def test_units_are_the_same_whoever_makes_them_in_whatever_order(folder, tmp_path, monkeypatch):
    """A worker begins, dies in its second unit; another takes that over where it stopped, and the rest in another order."""
    monkeypatch.setattr(Units, "_in_turn", lambda self, remaining: [n for n in (2, 0, 1) if n in remaining])
    append, calls = jinv.runs.recorder.Work.append, []

    def dies(self, line):
        append(self, line)
        calls.append(line)
        if len(calls) == 6:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(jinv.runs.recorder.Work, "append", dies)
        patch.setattr(Claims, "release", lambda *_, **__: None)  # as SIGKILL
        patch.setattr("jinv.record.claims.os.getpid", lambda: 2**22 + 1)
        assert jinv_("worker", folder, run, *SIX, "checkpoint.every_steps=2") == 130
    assert list(final_units(run)) == [2] and claim_path(run, 0).exists()
    monkeypatch.setattr(Units, "_in_turn", lambda self, remaining: [n for n in (1, 0, 2) if n in remaining])
    resumed = []
    snapshots = jinv.experiment.experiment.Experiment.snapshots
    monkeypatch.setattr(
        jinv.experiment.experiment.Experiment,
        "snapshots",
        lambda self, n, *, resume=None, due=None: (
            resumed.append((n, resume is not None)) or snapshots(self, n, resume=resume, due=due)
        ),
    )
    assert jinv_("worker", folder, run, *SIX, "checkpoint.every_steps=2") == 0
    assert resumed == [(1, False), (0, True)]
    assert main(["merge", str(run)]) == 0
    same(run, folder / "whole", [name for name in FILES if name != "config.toml"])
    assert main(["merge", str(run)]) == 0 and jinv_("worker", folder, run, *SIX, "checkpoint.every_steps=2") == 0


def test_what_is_missing_is_named_and_another_config_is_no_part_of_the_run(folder, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    monkeypatch.setattr(Units, "_in_turn", lambda self, remaining: (_ for _ in ()).throw(KeyboardInterrupt))
    assert jinv_("worker", folder, run, *SIX) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert main(["merge", str(run)]) == 6
    assert "3 of 3 batches are not there: 0, 1, 2; make them with jinv worker" in capsys.readouterr().err
    assert jinv_("worker", folder, run, *SIX, "seed=4") == 6
    assert "seed: 0 then, 4 now" in capsys.readouterr().err
    assert main(["worker", "--out", str(run)]) == 0  # the run's own config
    assert main(["merge", str(run)]) == 0
    same(run, folder / "whole")
    assert main(["worker", "--out", str(tmp_path / "none")]) == 2 and main(["merge", str(tmp_path / "none")]) == 5
    assert main(["worker"]) == 2 and main(["worker", "--out", str(run), "--lease", "x"]) == 2


def test_a_living_owner_is_waited_for_and_a_silent_one_is_not(tmp_path):
    now = [0.0]
    first = Claims(tmp_path, "first", alone=False, lease=60, clock=lambda: now[0])
    second = Claims(tmp_path, "second", alone=False, lease=60, clock=lambda: now[0])
    assert first.take(5) and first.has(5) and not second.take(5)
    old = first.work_folder(5)
    (old / "checkpoint.npz").write_text("state")
    for touched in range(4):
        now[0] += 59
        os.utime(claim_path(tmp_path, 5), (touched, 10**9 * (-1) ** touched))  # clocks that jump by decades
        assert not second.take(5)
    now[0] += 59
    assert not second.take(5)
    now[0] += 2
    assert second.take(5) and second.has(5) and not first.has(5)
    mine = second.work_folder(5)
    assert mine.name == "000005.second" and (mine / "checkpoint.npz").read_text() == "state" and not old.exists()
    first.touch()
    assert first.lost == {5}
    first.release(5, done=True)
    assert second.has(5) and mine.exists() and claim_path(tmp_path, 5).exists()
    second.release(5, done=True)
    assert os.listdir(tmp_path / "units" / "000") == []


def diverging(monkeypatch, unit, *, how_often=9):
    """The loss of a unit is no longer finite at its second logged step, at whatever rate."""
    line, calls = jinv.runs.batches.metrics_line, []

    def nan(snapshot, recipe, number):
        made = line(snapshot, recipe, number)
        if number == unit and snapshot.step == 4 and len(calls) < how_often:
            calls.append(number)
            return made.model_copy(update={"total": float("nan")})
        return made

    monkeypatch.setattr(jinv.runs.batches, "metrics_line", nan)


def test_a_unit_that_diverges_is_made_anew_with_half_the_rate_and_says_so(folder, tmp_path, monkeypatch, capsys):
    diverging(monkeypatch, 1, how_often=1)
    assert jinv_("synthesize", folder, tmp_path / "run", *SIX) == 0
    assert "batch 1: step 4: the loss is nan" in (said := capsys.readouterr().err)
    assert "made anew with 0.5 times the learning rate" in said
    lines = [json.loads(text) for text in (tmp_path / "run" / "units.jsonl").read_text().splitlines()]
    assert [line["learning_rate_scale"] for line in lines] == [1.0, 0.5, 1.0]
    rates = {line.batch: line.learning_rate for line in RunDirectory(tmp_path / "run").metrics()}
    assert rates == {0: 0.05, 1: 0.025, 2: 0.05}
    images, whole = open_run(tmp_path / "run").images, open_run(folder / "whole").images
    assert [np.array_equal(images[i], whole[i]) for i in range(6)] == [True, True, False, False, True, True]


def test_a_unit_that_diverges_again_fails_alone(folder, tmp_path, monkeypatch, capsys):
    diverging(monkeypatch, 1)
    run = tmp_path / "run"
    assert jinv_("synthesize", folder, run, *SIX) == 7
    words = capsys.readouterr().err.splitlines()[-1]
    assert f"{run}: batch 1 failed, also with 0.5 times the learning rate: step 4: the loss is nan" in words
    failed = unit_record(run, 1)
    assert failed.failed.step == 4 and not failed.pictures
    assert np.isfinite(np.load(unit_folder(run, 1) / "images.npy")).all()
    assert RunDirectory(run).manifest().finished is None
    assert [image.index for image in open_run(run)] == [0, 1, 4, 5]
    assert main(["export", str(run), str(tmp_path / "set")]) == 0
    capsys.readouterr()
    assert jinv_("synthesize", folder, run, *SIX, "--resume") == 7  # what failed is not tried for ever
    monkeypatch.undo()
    shutil.rmtree(unit_folder(run, 1))
    assert jinv_("synthesize", folder, run, *SIX, "--resume") == 0
    same(run, folder / "whole")


def test_a_run_in_shards_is_opened_like_one_in_a_file(folder, tmp_path):
    run = tmp_path / "run"
    assert jinv_("synthesize", folder, run, *SIX, "output.arrays=shards") == 0
    whole = np.load(folder / "whole" / "images.npy")
    record = open_run(run, verify=True)
    images = record.images
    assert not (run / "images.npy").exists() and len(list(run.glob("units/*/*/images.npy"))) == 3
    assert sorted(p.name for p in run.glob("units/*/*")) == ["000000", "000001", "000002"]
    assert images.shape == whole.shape and len(images) == 6 and images.dtype == np.float32
    assert np.array_equal(np.asarray(images), whole) and np.array_equal(images[-1], whole[-1])
    assert np.array_equal(images[1:5:2], whole[1:5:2]) and np.array_equal(images[[5, 0]], whole[[5, 0]])
    assert np.array_equal(images[whole[:, 0, 0, 0] > 0], whole[whole[:, 0, 0, 0] > 0])
    assert all(np.array_equal(a, b) for a, b in zip(images, whole, strict=True))
    with pytest.raises(IndexError):
        images[6]
    assert main(["report", str(run)]) == 0 and main(["verify", str(run)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    flip(run / "units/000/000001/images.npy")
    (run / "images/000000_cat.png").unlink()
    assert main(["verify", str(run)]) == 3
    assert main(["verify", str(run), "--repair"]) == 0
    again = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert again.keys() == before.keys()
    assert not [p for p in before if again[p] != before[p] and p.name not in ("report.html", "manifest.json")]


@pytest.mark.parametrize(
    ("damage", "code", "words", "made"),
    [
        (lambda run: flip(run / "images/000002_automobile.png"), 3, "altered images/000002_automobile.png", [1]),
        (lambda run: (run / "images/000005_dog.png").unlink(), 5, "missing images/000005_dog.png", [2]),
        (lambda run: flip(run / "images.npy", 0.99), 3, "altered images.npy", [2]),
        (lambda run: (run / "images.npy").unlink(), 5, "missing images.npy", [0, 1, 2]),
        (lambda run: flip(run / "metrics.jsonl", 0.01), 3, "altered metrics.jsonl", [0, 1, 2]),
        (lambda run: (run / "units.jsonl").unlink(), 5, "missing units.jsonl", [0, 1, 2]),
        (lambda run: flip(run / "grid.png"), 3, "altered grid.png", []),
        (lambda run: (run / "images/9.png").write_text("x"), 0, "orphaned images/9.png", []),
        (lambda run: (run / ".a.0123abcd.tmp").write_text("x"), 0, "half-written .a.0123abcd.tmp", []),
    ],
)  # fmt: skip
def test_damage_to_a_finished_run_is_found_and_just_its_units_made_again(
    folder, tmp_path, monkeypatch, capsys, damage, code, words, made
):
    run = shutil.copytree(folder / "whole", tmp_path / "run")
    damage(run)
    assert main(["verify", str(run)]) == code and words in capsys.readouterr().out
    again = []
    make = Units._make
    monkeypatch.setattr(Units, "_make", lambda self, number, work: again.append(number) or make(self, number, work))
    assert main(["verify", str(run), "--repair"]) == 0
    assert again == made
    (run / "images/9.png").unlink(missing_ok=True)
    same(run, folder / "whole")
    assert main(["verify", str(run)]) == 0


def test_an_unfinished_run_is_looked_through_and_repaired(folder, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("jinv.runs.synthesize.drop_damaged", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert jinv_("synthesize", folder, run, *SIX) == 130
    assert main(["verify", str(run)]) == 0
    flip(unit_folder(run, 1) / "images.npy")
    (run / "images/000009_x.png").write_bytes((run / "images/000000_cat.png").read_bytes())
    (run / ".a.0123abcd.tmp").write_text("x")
    capsys.readouterr()
    assert main(["verify", str(run)]) == 3
    said = capsys.readouterr().out
    assert "altered units/000/000001" in said and "orphaned images/000009_x.png" in said and "half-written .a" in said
    assert main(["verify", str(run), "--repair"]) == 0
    (run / "images/000009_x.png").unlink()
    assert main(["verify", str(run)]) == 0 and jinv_("synthesize", folder, run, *SIX, "--resume") == 0
    same(run, folder / "whole")
    (run / "config.toml").write_text("")
    assert main(["verify", str(run), "--repair"]) == 3


def test_bits_of_another_environment_are_not_passed_off_as_those_sealed(folder, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(folder / "whole", tmp_path / "run")
    (run / "images/000002_automobile.png").unlink()
    images = Units._images

    def others(self, number, *arguments):
        return images(self, number, *arguments) + np.float32(1e-3)

    monkeypatch.setattr(Units, "_images", others)
    assert main(["verify", str(run), "--repair"]) == 3
    words = capsys.readouterr().err
    assert "batch 1, made again here" in words and "is not as it was sealed" in words
    assert not (run / "images/000002_automobile.png").exists() and not (run / ".repair").exists()


def test_where_bit_exactness_ends_the_records_say_so(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    append, calls = jinv.runs.recorder.Work.append, []

    def dies(self, line):
        append(self, line)
        calls.append(line)
        if len(calls) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jinv.runs.recorder.Work, "append", dies)
        assert jinv_("synthesize", folder, run, *SIX, "checkpoint.every_steps=2") == 130
    here = jinv.runs.records.environment()
    monkeypatch.setattr(jinv.runs.units, "environment", lambda: here.model_copy(update={"jaxlib": "99.0"}))
    assert jinv_("synthesize", folder, run, *SIX, "checkpoint.every_steps=2", "--resume") == 0
    lines = [json.loads(text) for text in (run / "units.jsonl").read_text().splitlines()]
    versions = [[where["jaxlib"] for where in line["environments"]] for line in lines]
    assert versions == [[here.jaxlib], [here.jaxlib, "99.0"], ["99.0"]]


def test_a_run_in_memory_still_raises(folder):
    from jinv.recipe.read import read_config
    from jinv.runs.in_memory import run

    recipe = read_config(folder / "small.toml", ["stages.0.learning_rate=1e30", "stages.0.optimizer=sgd", "clip=none"])
    with pytest.raises(NumericalError, match="lower the learning rate"):
        run(recipe)
