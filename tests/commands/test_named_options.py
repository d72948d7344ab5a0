"""A file or a name that an option gives and that is not there, damaged or no such thing: the line begins with the option."""

import pytest

from jinv.cli import main
from tests.runs.test_plugins import PLAIN
from tests.small_runs import write_material

pytestmark = pytest.mark.usefixtures("unoptimized")

NONE = "'nosuch' is no embedded model and no file"
NO_FOLDER = "nosuch: no such folder or zip of images"
NO_PICTURE = "not a readable picture (PNG, "


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("options")
    write_material(path, one_block, "real", size=8)
    (path / "plain.toml").write_text(PLAIN)
    assert main(["synthesize", str(path / "plain.toml"), "--out", str(path / "run")]) == 0
    return path


def refused(folder, words, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    code = main(words)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jinv: ")]
    assert len(error) == 1, error
    return error[0].removeprefix("jinv: error: "), code


JUDGED = ["evaluate", "run", "--verifier", "other.safetensors"]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["evaluate", "run", "--verifier", "nosuch"], f"--verifier: {NONE}", 2),
        (["evaluate", "run", "--verifier", "text.txt"], "--verifier: text.txt: ", 3),
        (["evaluate", "run", "--verifier", "nosuch.onnx"], "--verifier: nosuch.onnx: no such file", 5),
        (["evaluate", "real", "--verifier", "nosuch"], f"--verifier: {NONE}", 2),
        ([*JUDGED, "--reference", "nosuch"], f"--reference: {NO_FOLDER}", 5),
        ([*JUDGED, "--reference", "empty"], "--reference: empty: no images in it", 2),
        ([*JUDGED, "--photographs", "text.txt"], "--photographs: text.txt: ", 3),
        (["evaluate", "real", *JUDGED[2:], "--json", "nosuch/x.json"], "--json: nosuch/x.json: the directory", 5),
        (["attribute", "run", "--image", "nosuch.png"], "--image: nosuch.png: no such file", 5),
        (["attribute", "run", "--image", "text.txt", "--label", "cat"], f"--image: text.txt: {NO_PICTURE}", 3),
        (["attribute", "run", "--image", "real/cat/0.png", "--label", "no"], "--label: no class is called 'no'", 2),
        (["attribute", "run", "--out", "nosuch/x.png"], "--out: nosuch/x.png: the directory", 5),
        (["record-stats", "tiny.safetensors", "real", "--out", "nosuch/x.st"], "--out: nosuch/x.st: the directory", 5),
        (["check", "image_norm", "--json", "nosuch/x.json"], "--json: nosuch/x.json: the directory", 5),
        (["convert", "text.txt", "o.safetensors", "--labels", "nosuch"], "--labels: nosuch: cannot be read", 5),
        (
            ["convert", "text.txt", "o.safetensors", "--architecture", "x"],
            "--architecture: unknown architecture 'x'",
            2,
        ),
        (["reproduce", "thesis", "--standard", "nosuch"], "--standard: nosuch: no such file", 5),
        (["reproduce", "thesis", "--robust", "text.txt"], "--robust: text.txt: neither a PyTorch checkpoint", 3),
        (["reproduce", "thesis", "--reference", "nosuch"], f"--reference: {NO_FOLDER}", 5),
        (["reproduce", "thesis", "--photograph", "text.txt"], f"--photograph: text.txt: {NO_PICTURE}", 3),
        (["validate", "tiny.safetensors", "text.txt", "--images", "nosuch"], f"--images: {NO_FOLDER}", 5),
        (["validate", "tiny.safetensors", "text.txt", "--html", "nosuch/x.html"], "--html: nosuch/x.html: the dir", 5),
        (["terms", "--plugin", "nosuch"], "nosuch: no module of that name can be imported as a plugin", 2),
    ],
)
def test_the_line_begins_with_the_option(folder, capsys, monkeypatch, words, said, code):
    if words[0] == "validate":
        pytest.importorskip("torch", reason="the extra torch is not installed")
    error, found = refused(folder, words, capsys, monkeypatch)
    assert error.startswith(said) and found == code, error


def test_what_the_runs_own_config_gives_is_said_of_it(folder, capsys, monkeypatch, tmp_path):
    config = folder / "run" / "config.toml"
    before = config.read_text()
    monkeypatch.setattr("jinv.record.directory.RunDirectory.check_sealed", lambda *_: None)
    try:
        config.write_text(before + '[evaluate]\nverifiers = ["nosuch"]\n')
        error, code = refused(folder, ["evaluate", "run"], capsys, monkeypatch)
    finally:
        config.write_text(before)
    assert error.startswith(f"run/config.toml: evaluate.verifiers: {NONE}") and code == 2
