"""Commands that are given what is no run, but a training, a distillation, a search or a sweep: one line says what it is."""

import json
import shutil

import pytest

from jinv.cli import main
from jinv.errors import RunConflictError, StorageError
from jinv.record.directory import RunDirectory
from jinv.record.kinds import RECORDS, kind_of
from jinv.record.manifest import SweepSetting
from jinv.record.run import open_run
from jinv.weights.load import load
from tests.networks import CLASSES
from tests.small_runs import write_run

OTHERS = sorted(RECORDS.keys() - {"run"})


@pytest.fixture(params=OTHERS)
def kind(request):
    return request.param


@pytest.fixture
def other(tmp_path, kind):
    """A directory of that kind, as far as its name tells, with a picture somewhere in it."""
    path = tmp_path / "other"
    (path / "images" / "dream").mkdir(parents=True)
    (path / RECORDS[kind]).write_text("{}")
    (path / "images" / "dream" / "0.png").write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["export", "{}", "made"], 5),
        (["attribute", "{}"], 5),
        (["merge", "{}"], 5),
        (["submit", "demo", "--array", "2", "--cluster", "local", "--out", "{}"], 6),
        (["synthesize", "demo", "--out", "{}", "--resume"], 6),
    ],
)
def test_who_expects_a_run_says_what_there_is_instead(kind, other, tmp_path, monkeypatch, capsys, words, code):
    monkeypatch.chdir(tmp_path)
    before = sorted(other.rglob("*"))
    assert main([word.format(other) for word in words]) == code
    said = capsys.readouterr().err
    assert f"{other}: not a run directory (no manifest.json); a {kind}, whose" in said and said.count("\n") == 1
    assert sorted(other.rglob("*")) == before and not (tmp_path / "made").exists()


@pytest.mark.parametrize("more", [[], ["--repair"]])
def test_all_are_looked_through_and_none_but_runs_repaired(kind, other, capsys, more):
    code, words = main(["verify", str(other), *more]), capsys.readouterr()
    said = words.err
    if more:
        assert code == 2 and f"{other} is a {kind}, and repairs are of runs" in said and said.count("\n") == 1
        assert kind == "training" or f"of its runs name one, {other}/" in said
    elif kind in ("search", "sweep"):
        assert code == 0 and words.out.startswith(f"orphaned images: no {kind} writes it\n") and not said
    else:
        assert code == 6 and f"{other / RECORDS[kind]}: not a {kind} that this jinv reads" in said


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_record_that_somebody_edited_is_a_line(kind, other, capsys, command):
    for text in ("{}", "[]", "null", "{", '{"trials": 3, "settings": 3}'):
        (other / RECORDS[kind]).write_text(text)
        code, said = main([command, str(other)]), capsys.readouterr().err
        assert "Traceback" not in said and said.count("\n") == (1 if code else 0)
        assert code in (3, 5, 6) or (command, kind, text) == ("status", "search", "{}")


@pytest.mark.parametrize(
    ("left", "was"),
    [
        ("training.html", "training"),
        ("checkpoint.npz", "training"),
        ("distillation.html", "distillation"),
        ("study.jsonl", "search"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "status", "report"])
def test_of_what_lost_its_record_the_rest_tells(tmp_path, capsys, command, left, was):
    (tmp_path / left).write_text("")
    assert main([command, str(tmp_path)]) == 5
    said = capsys.readouterr().err
    assert f"(no manifest.json); what is left is a {was}'s, whose {RECORDS[was]} is lost\n" in said


def write_settings(root, record, key, *runs):
    """A sweep or a search whose record names these runs, each of which is there."""
    root.mkdir(exist_ok=True)
    for name in runs:
        write_run(root / name, range(2), CLASSES[:2])
        run = RunDirectory(root / name)
        setting = SweepSetting(name=name, changes={"seed": int(name[-1])})
        run.write_manifest(run.known_manifest().model_copy(update={"sweep": setting}))
    (root / record).write_text(json.dumps({key: [{"run": name} for name in runs]}))


@pytest.mark.parametrize(("kind", "key"), [("sweep", "settings"), ("search", "trials")])
def test_a_search_and_a_sweep_are_looked_through_run_by_run(tmp_path, capsys, kind, key):
    root = tmp_path / "all"
    write_settings(root, RECORDS[kind], key, "seed_0", "seed_1", "seed_2")
    if kind == "search":
        (root / "study.jsonl").write_text("")
    assert main(["verify", str(root)]) == 0
    flipped = root / "seed_1" / "images.npy"
    flipped.write_bytes(flipped.read_bytes() + b" ")
    shutil.rmtree(root / "seed_2")
    (root / "notes.txt").write_text("")
    (root / f".{RECORDS[kind]}.01234567.tmp").write_text("")
    capsys.readouterr()
    assert main(["verify", str(root)]) == 3
    words = capsys.readouterr()
    assert sorted(words.out.splitlines()) == [
        "altered seed_1/images.npy",
        f"half-written .{RECORDS[kind]}.01234567.tmp",
        "missing seed_2",
        f"orphaned notes.txt: no {kind} writes it",
    ]
    assert f"jinv verify {root / 'seed_1'} --repair makes it again" in words.err and words.err.count("\n") == 1
    (root / RECORDS[kind]).write_text("{")
    assert main(["verify", str(root)]) == 3
    words, anew = capsys.readouterr(), "put it back, or begin anew in another --out"
    assert f"altered {RECORDS[kind]}: cannot be read: it is not whole" in words.out
    assert (anew in words.err) == (kind == "search")  # which goes by its record; a sweep's is a summary
    (root / RECORDS[kind]).unlink()
    assert main(["verify", str(root)]) == 3
    words = capsys.readouterr()
    assert (f"missing {RECORDS[kind]}" in words.out) == (anew in words.err) == (kind == "search")


def test_a_sweep_is_looked_through_before_its_record_is_there(tmp_path, capsys):
    write_settings(tmp_path, "sweep.json", "settings", "seed_0", "seed_1")
    (tmp_path / "sweep.json").unlink()
    assert main(["verify", str(tmp_path)]) == 0
    (tmp_path / "seed_0" / "config.toml").unlink()
    capsys.readouterr()
    assert main(["verify", str(tmp_path)]) == 5
    assert capsys.readouterr().out == "missing seed_0/config.toml\n"


def test_the_library_says_it_too(kind, other):
    assert kind_of(other) == kind
    for refused, do in ((StorageError, open_run), (RunConflictError, lambda path: RunDirectory(path).remove())):
        with pytest.raises(refused, match=rf"not a run directory \(no manifest\.json\); a {kind}, whose"):
            do(other)
    assert (other / RECORDS[kind]).exists()


def test_none_is_judged_as_a_folder_of_real_images(kind, other, capsys):
    assert main(["evaluate", str(other), "--verifier", "resnet20"]) == 2
    said = capsys.readouterr().err
    assert f"evaluate judges runs and images, and this is a {kind}" in said and said.count("\n") == 1
    assert kind != "training" or f"jinv train CONFIG --out {other} --resume --set test=" in said


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("training.json", "a training; its network is DIR/model.safetensors"),
        ("distillation.json", "a distillation; its students' networks are DIR/students/"),
        ("manifest.json", "a run; the network that it inverted is the model of DIR/config.toml"),
        ("search.json", "a search, whose runs have no networks"),
        ("sweep.json", "a sweep, whose runs have no networks"),
        ("other.json", "a folder; give a network's file"),
    ],
)
def test_a_directory_is_no_network_and_it_is_said_what_it_is(tmp_path, record, said):
    (tmp_path / record).write_text("{}")
    for given in (tmp_path, str(tmp_path)):
        with pytest.raises(StorageError) as caught:
            load(given)
        assert str(caught.value).startswith(f"{tmp_path}: not a file but {said.replace('DIR', str(tmp_path))}")
