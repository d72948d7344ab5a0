"""Commands that are given what is no run, but a training, a distillation, a search or a sweep: one line says what it is."""

import pytest

from jinv.cli import main
from jinv.errors import RunConflictError, StorageError
from jinv.record.directory import RunDirectory
from jinv.record.kinds import RECORDS, kind_of
from jinv.record.run import open_run
from jinv.weights.load import load

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
def test_what_has_digests_of_its_own_is_looked_through_and_what_has_runs_is_not(kind, other, capsys, more):
    code, said = main(["verify", str(other), *more]), capsys.readouterr().err
    assert said.count("\n") == 1
    if kind in ("search", "sweep"):
        assert code == 5 and f"; a {kind}, whose" in said
    elif more:
        assert code == 2 and f"{other} is a {kind}, and repairs are of runs" in said
    else:
        assert code == 6 and f"{other / RECORDS[kind]}: not a {kind} that this jinv reads" in said


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_record_that_somebody_edited_is_a_line(kind, other, capsys, command):
    for text in ("{}", "[]", "null", "{", '{"trials": 3, "settings": 3}'):
        (other / RECORDS[kind]).write_text(text)
        code, said = main([command, str(other)]), capsys.readouterr().err
        assert "Traceback" not in said and said.count("\n") == (1 if code else 0)
        assert code in (3, 5, 6) or (command, kind, text) == ("status", "search", "{}")


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
