"""Commands that are given what is no run, but a training, a distillation, a search or a sweep: one line says what it is."""

import pytest

from jinv.cli import main
from jinv.errors import StorageError
from jinv.record.kinds import RECORDS, kind_of
from jinv.record.run import open_run

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
        (["verify", "{}", "--repair"], 5),
        (["submit", "demo", "--array", "2", "--cluster", "local", "--out", "{}"], 6),
        (["synthesize", "demo", "--out", "{}", "--resume"], 6),
        (["synthesize", "demo", "--out", "{}", "--replace"], 6),
        (["worker", "demo", "--out", "{}"], 6),
    ],
)
def test_who_expects_a_run_says_what_there_is_instead(kind, other, tmp_path, monkeypatch, capsys, words, code):
    monkeypatch.chdir(tmp_path)
    before = sorted(other.rglob("*"))
    assert main([word.format(other) for word in words]) == code
    said = capsys.readouterr().err
    assert f"{other}: not a run directory (no manifest.json); a {kind}, whose" in said and said.count("\n") == 1
    assert sorted(other.rglob("*")) == before and not (tmp_path / "made").exists()


def test_the_library_says_it_too(kind, other):
    assert kind_of(other) == kind
    with pytest.raises(StorageError, match=rf"not a run directory \(no manifest\.json\); a {kind}, whose"):
        open_run(other)


def test_none_is_judged_as_a_folder_of_real_images(kind, other, capsys):
    assert main(["evaluate", str(other), "--verifier", "resnet20"]) == 2
    said = capsys.readouterr().err
    assert f"evaluate judges runs and images, and this is a {kind}" in said and said.count("\n") == 1
    assert kind != "training" or f"jinv train CONFIG --out {other} --resume --set test=" in said
