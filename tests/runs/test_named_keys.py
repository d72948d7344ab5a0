"""What is wrong with a file or a name that a config or an option gives: the line begins with the key, or with the option."""

import pytest

from jinv.cli import main
from tests.runs.test_plugins import PLAIN
from tests.small_runs import write_material

pytestmark = pytest.mark.usefixtures("unoptimized")

TRAINING = """
architecture = "one_block"
epochs = 1
batch = 5
train = "train"
test = "test"
"""
DISTILLATION = """
teacher = "tiny.safetensors"
count = 10
seeds = [0]
test = "test"
[student]
architecture = "one_block"
epochs = 1
batch = 5
[images.real]
real = "train"
[images.dream]
recipe = "synthesize.toml"
"""
JUDGED = 'verifiers=["other.safetensors"]'
SEARCH = ["--optuna", "1", "--tune", "seed=0:9"]
NONE = "'nosuch' is no embedded model and no file"
NO_FOLDER = "nosuch: no such folder or zip of images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("configs")
    write_material(path, one_block, "train", "test", size=32)
    for name, text in (("train", TRAINING), ("distill", DISTILLATION), ("synthesize", PLAIN)):
        (path / f"{name}.toml").write_text(text)
    return path


def refused(folder, words, capsys, monkeypatch):
    """The line that is said, and the exit code; nothing is left."""
    monkeypatch.chdir(folder)
    command = words[0] if words[0] in ("train", "distill") else "synthesize"
    code = main([words[0], f"{command}.toml", *words[1:], "--out", "out"])
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jinv: ")]
    assert len(error) == 1 and not (folder / "out").exists()
    return error[0], code


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["train", "--set", "train=nosuch"], f"train: {NO_FOLDER}", 5),
        (["train", "--set", "train=empty"], "train: ", 2),
        (["train", "--set", "train=text.txt"], "train: ", 3),
        (["train", "--set", "test=nosuch"], f"test: {NO_FOLDER}", 5),
        (["distill", "--set", "test=nosuch"], f"test: {NO_FOLDER}", 5),
        (
            ["distill", "--set", "images.real.real=nosuch"],
            f"distill.toml with --set images.real.real: images.real: {NO_FOLDER}",
            5,
        ),
        (
            ["distill", "--set", "images.dream.model=nosuch"],
            f"distill.toml with --set images.dream.model: images.dream: model: {NONE}",
            2,
        ),
        (["distill", "--set", "student.init=nosuch"], f"student.init: {NONE}", 2),
        (["distill", "--set", "seeds=[]"], "seeds: [] must be a list of one or more whole numbers", 2),
        (["synthesize", "--set", "model=nosuch"], f"model: {NONE}", 2),
        (
            ["synthesize", "--set", "terms.own.weight=1"],
            "synthesize.toml with --set terms.own.weight: terms.own: no such",
            2,
        ),
        (["synthesize", "--set", "model=text.txt"], "model: text.txt: not a safetensors file", 3),
        (["synthesize", "--set", "student=nosuch"], f"student: {NONE}", 2),
        (["synthesize", "--set", "statistics=nosuch"], "statistics: nosuch: no such file", 5),
        (["synthesize", "--set", "image.init=nosuch.png"], "image.init: nosuch.png: no such file", 5),
        (
            ["synthesize", "--set", "image.init=class_gaussian", "image.init_reference=nosuch"],
            f"image.init_reference: {NO_FOLDER}",
            5,
        ),
        (
            ["synthesize", "--set", "parameterization={name='maco',spectrum='nosuch'}"],
            f"parameterization.spectrum: {NO_FOLDER}",
            5,
        ),
        (["synthesize", "--set", "evaluate.verifiers=['nosuch']"], f"evaluate.verifiers: {NONE}", 2),
        (
            ["synthesize", "--set", f"evaluate={{{JUDGED},reference='nosuch'}}"],
            f"evaluate.reference: {NO_FOLDER}",
            5,
        ),
        (
            ["synthesize", "--set", f"evaluate={{{JUDGED},photographs='nosuch'}}"],
            f"evaluate.photographs: {NO_FOLDER}",
            5,
        ),
        (["sweep", "--vary", "model=['tiny.safetensors','nosuch']"], f"model: {NONE}", 2),
        (
            ["search", *SEARCH, "--objective", "nosuch.confidence", "--held-out", "other.safetensors"],
            f"--objective: {NONE}",
            2,
        ),
        (
            ["search", *SEARCH, "--objective", "other.safetensors.confidence", "--held-out", "nosuch"],
            f"--held-out: {NONE}",
            2,
        ),
    ],
)
def test_the_line_begins_with_the_key(folder, capsys, monkeypatch, words, said, code):
    if words[0] == "search":
        pytest.importorskip("optuna", reason="the extra tune is not installed")
    error, found = refused(folder, words, capsys, monkeypatch)
    option = "" if said.startswith(("--", "distill.toml ", "synthesize.toml ")) else f"{words[1]} "
    assert error.startswith(f"jinv: error: {option}{said}") and found == code, error


LABELS, TERM = 'labels = ["cat", "ship"]', "[terms.cross_entropy]"
WRONG = (
    ("synthesize", TERM, "[terms.nosuch]", "terms.nosuch: no such term 'nosuch' ("),
    ("synthesize", TERM, f"{TERM}\nwieght = 1", "terms.cross_entropy.wieght: unknown key (did you mean 'weight'?"),
    ("synthesize", TERM, f"{TERM}\n[augment.flip]\nprobability = 2", "augment.flip.probability: 2.0 must be between 0"),
    ("synthesize", TERM, f"{TERM}\n[evaluate]\nverifiers = ['nosuch']", f"evaluate.verifiers: {NONE}"),
    ("synthesize", LABELS, "labels = [10]", "image.labels: class id 10 is out of range"),
    ("synthesize", LABELS, "labels = [1]\ninit = 'text.npy'", "image.init: text.npy: not a plain .npy array"),
    ("synthesize", LABELS, "labels = [1]\ncuont = 1", "unknown key 'image.cuont' (did you mean 'image.count'?)"),
    ("synthesize", "steps = 2", "steps = 2\noptimizer = 'adm'", "stages[0].optimizer: no such optimizer 'adm' (did"),
    (
        "train",
        "batch = 5",
        "optimizer = { name = 'sgd', momentun = 1 }",
        "optimizer.momentun: unknown key (did you mean",
    ),
    ("train", "batch = 5", "optimizer = { name = 'sgd', momentum = true }", "optimizer.momentum: True must be "),
    ("train", "batch = 5", "learning_rate = { schedule = 'linear', start = 1 }", "learning_rate.end: needed by the"),
    ("train", "batch = 5", "batch = 50", "batch: 50 must be at most 10, the number of images of train"),
)


@pytest.mark.parametrize(("command", "right", "wrong", "said"), WRONG)
@pytest.mark.parametrize("others", [["--set", "log=[]", "--out", "out"], ["--out", "image"]], ids=["set", "out"])
def test_of_what_is_wrong_in_the_file_the_file_is_named_once(
    folder, capsys, monkeypatch, command, right, wrong, said, others
):
    """Whatever else is changed on the command line, and whatever the directory is called."""
    monkeypatch.chdir(folder)
    text = PLAIN if command == "synthesize" else TRAINING
    (folder / "my.toml").write_text(text.replace(right, wrong))
    (folder / "text.npy").write_text("no array")
    assert main([command, "my.toml", *others]) in (2, 5)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jinv: ")]
    assert len(error) == 1 and error[0].startswith(f"jinv: error: my.toml: {said}") and error[0].count("my.toml") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["synthesize", "--set", "terms.nosuch={}"], "--set terms.nosuch: no such term 'nosuch' ("),
        (["synthesize", "--set", "terms={nosuch={}}"], "--set terms.nosuch: no such term 'nosuch' ("),
        (["synthesize", "--set", "image.labels=[10]"], "--set image.labels: class id 10 is out of range"),
        (["synthesize", "--set", "terms.cross_entropy.wieght=1"], "--set terms.cross_entropy.wieght: unknown key (did"),
        (["synthesize", "--set", "stages.0.optimizer=adm"], "--set stages[0].optimizer: no such optimizer 'adm'"),
        (["synthesize", "--set", "stages.0.steps=-1"], "--set stages[0].steps: -1 must be a whole number"),
        (["synthesize", "--set", "cuont=1"], "--set cuont: unknown key 'cuont' ("),
        (["synthesize", "--set", "output.quality=90"], '--set output.quality: is for output.format = "jpeg"'),
        (["synthesize", "--log", "wandbb"], "--log wandbb: no such place to log to (did you mean 'wandb'?)"),
        (["synthesize", "--plugin", "image.py"], "image.py:1: the plugin cannot be executed: ValueError: no"),
        (["sweep", "--vary", "stages.0.optimizer=['adam','adm']"], "--vary stages[0].optimizer: no such opti"),
        (["sweep", "--vary", "seed=[0,1]", "--set", "image.count=none"], "--set image.count: 'none' must be a whole"),
        (["train", "--set", "optimizer={name='sgd',momentun=1}"], "--set optimizer.momentun: unknown key (did you"),
        (
            ["train", "--set", "epochs=x", "seed=-1"],
            "--set epochs: 'x' must be a whole number of at least 1; --set seed",
        ),
        (["train", "--log", "log"], "--log log: no such place to log to (known: tensorboard, wandb, trackio)"),
    ],
)
def test_of_what_an_option_gave_the_option_is_named_and_no_file(folder, capsys, monkeypatch, words, said):
    (folder / "image.py").write_text("raise ValueError('no')")
    error, code = refused(folder, words, capsys, monkeypatch)
    assert error.startswith(f"jinv: error: {said}") and ".toml" not in error and code in (2, 5), error


def test_of_both_what_each_gave_is_said(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "my.toml").write_text("kep = 'last'\n" + PLAIN)
    assert main(["synthesize", "my.toml", "--set", "image.count=none"]) == 2
    said = "my.toml: unknown key 'kep' (did you mean 'keep'?); --set image.count: 'none' must be a whole number"
    assert capsys.readouterr().err.startswith(f"jinv: error: {said}")


def test_a_directory_that_is_called_like_a_key_is_no_key(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").write_text("a file")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "kept").write_text("something else")
    for name in ("output", "images"):
        assert main(["synthesize", str(folder / "synthesize.toml"), "--out", name]) in (5, 6)
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"jinv: error: {name}: ")


def test_what_is_no_picture_is_said_without_the_buffer(folder, capsys, monkeypatch):
    error, code = refused(folder, ["synthesize", "--set", "image.init=text.txt"], capsys, monkeypatch)
    assert (
        code == 3
        and "text.txt: not a readable picture (PNG, " in error
        and error.endswith("bytes are of none of these")
    )


def test_an_option_that_takes_no_value_says_where_values_go(folder, capsys, monkeypatch):
    words = ["sweep", "--vary", "seed=[0,1]", "--zip"]
    error, code = refused(folder, [*words, "image.count=[1,2]"], capsys, monkeypatch)
    assert code == 2 and "image.count=[1,2]; --zip takes no value, --vary or --set does (see " in error
    error, code = refused(folder, [*words[:-1], "--zip=image.count=[1,2]"], capsys, monkeypatch)
    assert code == 2 and "--zip: takes no value, not 'image.count=[1,2]'" in error


def test_samplers_are_found_in_capitals(folder, capsys, monkeypatch):
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    for name, meant in (("TPE", "tpe"), ("NSGA", "nsga2")):
        words = ["search", *SEARCH, "--objective", "steps", "--sampler", name]
        error, code = refused(folder, words, capsys, monkeypatch)
        assert code == 2 and f"--sampler {name}: no such sampler (did you mean '{meant}'?)" in error
