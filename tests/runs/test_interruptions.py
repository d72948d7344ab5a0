"""What is beside a run, and what an unfinished one left: others at work, damage, other places, other settings."""

import os
import re
import shutil

import numpy as np
import pytest

from jinv.cli import main
from jinv.record.directory import RunDirectory
from jinv.record.lock import LOCK, held
from jinv.record.unfinished import Work
from jinv.record.units import final_units
from jinv.runs import recorder
from tests.networks import CLASSES
from tests.small_runs import CONFIG, save_tiny, under_way

UNJUDGED = CONFIG.replace('[evaluate]\nverifiers = ["other.safetensors"]\n', "")
OPTIONS = ("--set", "log_every=1", "checkpoint.every_steps=2", "image.labels=[3,8,1,2,4,5]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    """A config, an unfinished run (two batches of three done, in the third at the second checkpoint), and it undisturbed."""
    folder = tmp_path_factory.mktemp("interruptions")
    save_tiny(folder / "tiny.safetensors", 1, name=one_block)
    save_tiny(folder / "other.safetensors", 2, name=one_block)
    (folder / "small.toml").write_text(UNJUDGED)
    assert synthesize(folder, "whole") == 0
    save, calls = Work.save, []

    def dies(self, checkpoint):
        save(self, checkpoint)
        calls.append(checkpoint)
        if len(calls) == 11:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "save", dies)
        assert synthesize(folder, "parts") == 130
    assert list(final_units(folder / "parts")) == [0, 1] and under_way(folder / "parts").name.startswith("000002.")
    return folder


def synthesize(folder, out, *options):
    words = [*OPTIONS, *(option for option in options if not option.startswith("--"))]
    flags = [option for option in options if option.startswith("--")]
    return main(["synthesize", str(folder / "small.toml"), "--out", str(folder / out), *flags, *words])


@pytest.fixture
def parts(folder, tmp_path):
    """A copy of the unfinished run, elsewhere."""
    return shutil.copytree(folder / "parts", tmp_path / "parts")


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap(one, other):
    one.rename(one.with_name("x"))
    other.rename(one)
    one.with_name("x").rename(other)


def same(run, whole):
    for name in ("images.npy", "metrics.jsonl", "grid.png"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(p.name for p in run.rglob("*")) == sorted(p.name for p in whole.rglob("*"))


def test_nobody_else_works_where_a_run_goes_on(folder, tmp_path, monkeypatch, capsys):
    update, said = recorder.SynthesisProgress.update, []

    def others(self, *arguments):
        update(self, *arguments)
        if not said:
            said.append("")
            capsys.readouterr()
            codes = [
                synthesize(folder, tmp_path / "run", *how) for how in ((), ("--resume",), ("--replace",), ("seed=7",))
            ]
            codes.append(main(["evaluate", str(tmp_path / "run"), "--verifier", str(folder / "other.safetensors")]))
            codes.append(
                main(["sweep", str(folder / "small.toml"), "--vary", "seed=[1,2]", "--out", str(tmp_path / "run")])
            )
            said.append(codes)
            said.append(capsys.readouterr().err.splitlines())

    monkeypatch.setattr(recorder.SynthesisProgress, "update", others)
    assert synthesize(folder, tmp_path / "run") == 0
    assert said[1] == [6] * 6 and len(said[2]) == 6
    assert all(f"{tmp_path / 'run'}: pid {os.getpid()} on {os.uname().nodename}" in line for line in said[2])
    same(tmp_path / "run", folder / "whole")
    assert not (tmp_path / "run" / LOCK).exists()


def test_what_is_refused_writes_nothing(folder, parts, capsys):
    with held(parts):
        before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
        assert synthesize(folder, parts, "--replace") == synthesize(folder, parts, "--resume") == 6
        assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before
    assert synthesize(folder, parts) == 6
    assert "already exists" in capsys.readouterr().err


def test_a_lock_that_a_killed_run_left_is_no_run(folder, tmp_path):
    (tmp_path / LOCK).write_text('{"pid": 1, "host": "gone", "since": "before"}')
    assert synthesize(folder, tmp_path) == 0
    same(tmp_path, folder / "whole")


UNIT = "units/000/000000"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: flip(run / UNIT / "images.npy"), [r"000000/images.npy: .*the batch is made again"]),
        (lambda run: cut(run / UNIT / "images.npy"), [r"000000/images.npy: .*the batch is made again"]),
        (lambda run: (run / UNIT / "images.npy").unlink(), [r"000000/images.npy is missing; the batch is made again"]),
        (lambda run: flip(run / UNIT / "metrics.jsonl", 0.1), [r"000000/metrics.jsonl: "]),
        (lambda run: flip(run / UNIT / "unit.json", 0.1), [r"unit.json is not as it was written"]),
        (lambda run: (run / UNIT / "unit.json").unlink(), [r"unit.json is missing"]),
        (lambda run: cut(run / UNIT / "unit.json"), [r"unit.json is not as it was written"]),
        (lambda run: flip(run / "images/000001_ship.png"), [r"images/000001_ship.png: .*the batch is made again"]),
        (lambda run: (run / "images/000000_cat.png").unlink(), [r"images/000000_cat.png is missing"]),
        (lambda run: swap(run / UNIT, run / "units/000/000001"), ["it holds unit 1", "it holds unit 0"]),
        (lambda run: flip(under_way(run) / "checkpoint.npz"), [r"checkpoint.npz: .*; going on from checkpoint_before.npz"]),
        (lambda run: cut(under_way(run) / "checkpoint.npz"), [r"checkpoint.npz: .*; going on from checkpoint_before.npz"]),
        (lambda run: (under_way(run) / "checkpoint.npz").unlink(), []),
        (lambda run: flip(under_way(run) / "metrics.jsonl", 0.1), [r"metrics.jsonl: its lines are not as they were"]),
        (lambda run: (under_way(run) / "metrics.jsonl").unlink(), [r"metrics.jsonl: its lines are not as they were"]),
        (
            lambda run: [flip(path) for path in under_way(run).glob("checkpoint*")],
            [r"checkpoint.npz: ", r"checkpoint_before.npz: .*; its batch is begun again"],
        ),
    ],
)  # fmt: skip
def test_damage_to_what_can_be_made_again_costs_a_warning_and_no_bit(folder, parts, capsys, damage, words):
    damage(parts)
    assert synthesize(folder, parts, "--resume") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if " again" in line or "; going on from" in line]
    assert len(told) == len(words) and all(map(re.search, words, told)), told
    same(parts, folder / "whole")


def cut_last_line(path):
    """Without the line that has the digest of the others."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def replaced(name, old, new):
    def damage(run):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return damage


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("manifest.json", replaced("manifest.json", '"seed": 0', '"seed": 1')),
        ("manifest.json", replaced("manifest.json", f'"{CLASSES[4]}",', "")),
        ("manifest.json", replaced("manifest.json", "}", "")),
        ("config.toml", replaced("config.toml", "seed = 0", "seed = 1")),
        ("config.toml", replaced("config.toml", "seed = 0", "seed = ")),
        ("config.toml", lambda run: cut_last_line(run / "config.toml")),
        ("config.toml", lambda run: (run / "config.toml").unlink()),
    ],
)  # fmt: skip
def test_damage_to_what_cannot_be_made_again_is_refused_in_a_line(folder, parts, capsys, name, damage):
    damage(parts)
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    code = synthesize(folder, parts, "--resume")
    words = capsys.readouterr().err
    assert code == (3 if (parts / name).exists() else 5), words
    assert f"{parts / name}" in words and words.count("\n") == 1
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_a_manifest_with_too_few_names_costs_no_image(folder, parts, capsys):
    """As one of before has it, without a digest."""
    manifest = RunDirectory(parts).manifest()
    RunDirectory(parts).write_manifest(manifest.model_construct(**dict(manifest) | {"class_names": ("cat",)}))
    assert synthesize(folder, parts, "--resume") == 3
    assert "manifest.json: " in (words := capsys.readouterr().err) and "class_names: 1 for 6 labels" in words
    RunDirectory(parts).write_manifest(manifest.model_copy(update={"class_names": ("cat",), "labels": (3,)}))
    assert synthesize(folder, parts, "--resume") == 3
    assert "manifest.json: labels: (3,) is not what" in capsys.readouterr().err


def test_a_run_goes_on_elsewhere_with_other_judges_and_other_lines(folder, tmp_path, one_block):
    shutil.copytree(folder, tmp_path / "moved")
    moved = tmp_path / "moved"
    (moved / "tiny.safetensors").rename(moved / "renamed.safetensors")
    changes = [
        "model=renamed.safetensors",
        "log_every=2",
        'evaluate.verifiers=["other.safetensors"]',
        "log_gradients=true",
    ]
    assert synthesize(moved, "parts", "--resume", *changes) == 0
    assert (moved / "parts" / "images.npy").read_bytes() == (folder / "whole" / "images.npy").read_bytes()
    config = RunDirectory(moved / "parts").config()
    assert config["log_every"] == 2 and config["model"] == str(moved / "renamed.safetensors")
    assert (moved / "parts" / "evaluation.json").exists()


def test_a_run_that_starts_from_files_goes_on_where_they_are_the_same(folder, tmp_path, monkeypatch, capsys):
    np.save(folder / "start.npy", np.zeros((1, 16, 16, 3), np.float32))
    save = Work.save

    def dies(self, checkpoint):
        save(self, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    assert synthesize(folder, tmp_path / "run", "image.init=start.npy", "image.labels=[1]") == 130
    monkeypatch.undo()
    (folder / "start.npy").rename(folder / "again.npy")
    np.save(folder / "other.npy", np.full((1, 16, 16, 3), -1, np.float32))
    capsys.readouterr()
    assert synthesize(folder, tmp_path / "run", "--resume", "image.init=other.npy", "image.labels=[1]") == 6
    words = capsys.readouterr().err
    assert f"image.init: '{folder / 'start.npy'}' then, '{folder / 'other.npy'}' now" in words
    assert synthesize(folder, tmp_path / "run", "--resume", "image.init=again.npy", "image.labels=[1]") == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["seed=1", "stages.1.learning_rate=0.1"], ["seed: 0 then, 1 now", "stages[1].learning_rate: 0.05 then, 0.1 now"]),
        (["model=other.safetensors"], [f"model.sha256: '{'1' * 8}' then, '{'2' * 8}' now"]),
        (["remat=true"], ["remat: False then, True now"]),
        (["student=other.safetensors"], ["student_sha256: not set then"]),
    ],
)  # fmt: skip
def test_what_decides_the_images_is_refused_with_both_values(folder, parts, capsys, changes, words):
    assert synthesize(folder, parts, "--resume", *changes) == 6
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(word in said for word in [str(parts), *words]), said


def test_what_killed_runs_left_of_files_goes_away(folder, parts, tmp_path):
    left = [".images.npy.0123abcd.tmp", "images/.000000_cat.png.00000000.tmp", "units/000/.000002.ffffffff.tmp"]
    kept = [".mine.tmp", ".images.npy.0123abc.tmp", "x.01234567.tmp"]
    for name in left + kept:
        (parts / name).write_text("half")
    assert synthesize(folder, parts, "--resume") == 0
    assert not any((parts / name).exists() for name in left) and all((parts / name).exists() for name in kept)


@pytest.mark.parametrize("name", ["images/000001_ship.png", "images.npy", "metrics.jsonl", "config.toml", "grid.png"])
@pytest.mark.parametrize("damage", [flip, os.unlink])
def test_damage_to_a_finished_run_is_not_sealed_again(folder, tmp_path, capsys, name, damage):
    run = shutil.copytree(folder / "whole", tmp_path / "run")
    damage(run / name)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["evaluate", str(run), "--verifier", str(folder / "other.safetensors")]) == (3 if damage is flip else 5)
    words = capsys.readouterr().err
    assert str(run / name) in words and words.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    judges = ['evaluate.verifiers=["other.safetensors"]']
    if name != "config.toml":
        assert synthesize(folder, run, "--resume", *judges) == (3 if damage is flip else 5)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_what_is_written_anew_may_be_another(folder, tmp_path):
    run = shutil.copytree(folder / "whole", tmp_path / "run")
    (run / "report.html").write_text("another page")
    evaluate = ["evaluate", str(run), "--verifier", str(folder / "other.safetensors")]
    assert main(evaluate) == 0
    (run / "evaluation.json").write_text("{")
    assert main(evaluate) == 0
    RunDirectory(run).check_sealed(RunDirectory(run).manifest())


def test_a_sweep_makes_damaged_batches_again_and_refuses_damaged_settings(folder, tmp_path, monkeypatch, capsys):
    arguments = ["sweep", str(folder / "small.toml"), "--vary", "seed=[0,1,2,3]", "--at-once", "2", *OPTIONS]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    save, calls = Work.save, []

    def dies(self, checkpoint):
        save(self, checkpoint)
        calls.append(checkpoint)
        if len(calls) == 24:
            raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    assert main([*arguments, "--out", str(tmp_path / "parts")]) == 130
    monkeypatch.undo()
    unfinished = sorted((tmp_path / "parts").glob("*/units"))
    assert [path.parent.name for path in unfinished] == ["2_seed=2", "3_seed=3"]
    flip(unfinished[0] / "000/000000/images.npy")
    flip(under_way(unfinished[0].parent) / "checkpoint.npz")
    assert main([*arguments, "--out", str(tmp_path / "parts"), "--resume"]) == 0
    said = capsys.readouterr().err
    assert "000000/images.npy: its digest" in said and "checkpoint.npz: its digest" in said
    for run in (path for path in (tmp_path / "whole").iterdir() if path.is_dir()):
        same(tmp_path / "parts" / run.name, run)
