"""What `jinv train` and `jinv distill` leave, as other commands take it: status, verify, report, sinks, and files that were lost."""

import json
import shutil
import subprocess
import sys
import tomllib

import pytest

from jinv.cli import main
from jinv.errors import NumericalError
from jinv.record.entry import with_digest
from jinv.record.lock import held
from jinv.record.training import read_training_record
from jinv.students import distill as distillation
from jinv.students import train as training
from tests.networks import CLASSES
from tests.runs.test_insight import Tracked
from tests.small_runs import write_run
from tests.training import test_train_command as commands

pytestmark = pytest.mark.usefixtures("one_block", "unoptimized")
pictures = commands.folder


def said(capsys, *words):
    """The exit code, and both streams, of a command."""
    code = main(list(map(str, words)))
    return code, capsys.readouterr()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def trained(directory):
    """Digests of what a training made, whatever its config says of sinks."""
    return {name: digest for name, digest in commands.files(directory).items() if name != "config.toml"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, pictures, one_block):
    """A folder with c.toml, its finished training `whole`, of which a tracker was told, and `parts`, stopped at update 4 of 6."""
    root, tracked = tmp_path_factory.mktemp("made"), Tracked()
    (root / "c.toml").write_text(commands.config(pictures, epochs=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "trackio", tracked)
        patch.setattr(sys, "argv", ["/somewhere/bin/jinv", "train", "my config.toml"])
        asked = ["train", str(root / "c.toml"), "--out", str(root / "whole"), "--log", "trackio"]
        assert main([*asked, "--set", "attack.eps=8", "attack.steps=1"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        original, count = training.Saving.due, 0

        def due(self):
            nonlocal count
            count += 1
            self.stop.asked = count == 4
            return original(self)

        patch.setattr(training.Saving, "due", due)
        assert main(["train", str(root / "c.toml"), "--out", str(root / "parts")]) == 75
    return root, tracked


@pytest.fixture
def whole(made, tmp_path):
    return shutil.copytree(made[0] / "whole", tmp_path / "whole")


@pytest.fixture
def parts(made, tmp_path):
    return shutil.copytree(made[0] / "parts", tmp_path / "parts")


def test_a_finished_training_says_what_it_recognises_and_as_what_it_was_begun(made, whole, capsys):
    record = read_training_record(whole)
    assert record.command == "jinv train 'my config.toml'"
    assert record.host and (record.epochs, record.updates, record.saved) == (2, 6, 6)
    code, words = said(capsys, "status", whole)
    assert code == 0 and f"{whole}: a training of one_block, finished {record.finished}" in words.out
    assert "epochs   2 of 2" in words.out and "updates  6 of 6" in words.out and "running" not in words.out
    plain, attacked = record.tested
    assert f"right    {plain.right} of 60" in words.out and f"right    {attacked.right} of 60" in words.out
    found = json.loads(said(capsys, "status", whole, "--json", "--watch", "5")[1].out)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert found["kind"] == "training" and found["loss"] == lines[-1]["loss"]
    assert [test["right"] for test in found["tested"]] == [plain.right, attacked.right]
    assert said(capsys, "verify", whole)[0] == 0
    assert said(capsys, "train", made[0] / "c.toml", "--out", whole, "--resume")[0] == 0


def test_how_far_a_training_is_needs_no_jax(whole):
    program = (
        "import sys; from jinv.cli import main; code = main(['status', sys.argv[1]]) or main(['verify', sys.argv[1]]); "
        "sys.exit(code or str(sys.modules.keys() & {'jax', 'jaxlib', 'flax', 'optax'} or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(whole)], capture_output=True, text=True)
    assert done.returncode == 0 and "a training of one_block" in done.stdout, done.stderr


def test_clocks_and_sinks_are_beside_what_must_be_the_same_bits(made, whole):
    tracked = made[1]
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    times = [json.loads(line) for line in (whole / "timing.jsonl").read_text().splitlines()]
    assert [(time["epoch"], time["step"]) for time in times] == [(1, 3), (2, 6)]
    assert all(time["updates_per_second"] > 0 and time["memory"] > 0 for time in times)
    assert not {"at", "memory", "updates_per_second"} & lines[0].keys()
    (begun,) = tracked.begun
    assert (
        begun["config"]["architecture"] == "one_block" and begun["name"].startswith("whole-") and tracked.finished == 1
    )
    assert [step for step, _ in tracked.logged] == [3, 6, 6]
    for (_, values), line, time in zip(tracked.logged, lines, times, strict=False):
        assert values["loss"] == line["loss"] and values["updates_per_second"] == time["updates_per_second"]
    record = read_training_record(whole)
    shares = [test.right / test.count for test in record.tested]
    assert tracked.logged[-1][1] == {"recognised/plain": shares[0], "recognised/eps_8": shares[1]}


@pytest.mark.parametrize(
    ("name", "harm", "kind", "code", "resumed"),
    [
        ("model.safetensors", "lose", "missing", 5, 5),
        ("model.safetensors", "flip", "altered", 3, 3),
        ("metrics.jsonl", "lose", "missing", 5, 5),
        ("metrics.jsonl", "flip", "altered", 3, 3),
        ("training.json", "flip", "altered", 3, 3),
        ("config.toml", "flip", "altered", 3, 3),
        ("training.html", "lose", "missing", 5, 0),
        ("notes.txt", "add", "orphaned", 0, 0),
        (".model.safetensors.01234567.tmp", "add", "half-written", 0, 0),
    ],
)
def test_damage_of_a_finished_training_is_named_and_not_passed_over(
    made, whole, capsys, name, harm, kind, code, resumed
):
    {"lose": lambda path: path.unlink(), "flip": flip, "add": lambda path: path.write_text("x")}[harm](whole / name)
    found, words = said(capsys, "verify", whole)
    assert (
        found == code and words.out.startswith(f"{kind} {name}") and len(words.out.splitlines()) == (1 if code else 2)
    )
    assert words.err.count("\n") == (1 if code else 0)
    found, words = said(capsys, "train", made[0] / "c.toml", "--out", whole, "--resume")
    assert found == resumed and (not resumed or f"{whole / name}" in words.err)


def test_a_training_whose_config_is_lost_is_not_begun_anew(made, whole, parts, capsys):
    """It was: with another rate, over a finished record, or at a checkpoint of another optimizer."""
    for directory, more in ((whole, ()), (parts, ("--set", 'optimizer={name="adam"}')), (parts, ("--set", "batch=10"))):
        before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "config.toml"}
        (directory / "config.toml").unlink(missing_ok=True)
        code, words = said(capsys, "train", made[0] / "c.toml", "--out", directory, "--resume", *more)
        assert code == 5 and f"{directory / 'config.toml'}: no such file, and it says what was begun here" in words.err
        assert words.err.count("\n") == 1
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
        assert said(capsys, "verify", directory)[1].out == "missing config.toml\n"
    assert said(capsys, "status", whole)[0] == 0
    code, words = said(capsys, "status", parts)
    assert code == 5 and "config.toml: no such file" in words.err


def test_a_training_that_was_killed_before_its_config_was_there_begins(made, parts, capsys):
    record = read_training_record(parts)
    for path in parts.iterdir():
        path.unlink()
    (parts / "training.json").write_text(json.dumps(with_digest(record.model_copy(update={"saved": None}))))
    assert said(capsys, "verify", parts)[0] == 0
    assert f"{parts}: a training of one_block, not begun\n" in said(capsys, "status", parts)[1].out
    assert said(capsys, "train", made[0] / "c.toml", "--out", parts, "--resume", "--set", "epochs=1")[0] == 0


def test_a_checkpoint_of_another_training_is_a_line(made, parts, tmp_path, capsys):
    asked = ["train", made[0] / "c.toml", "--out", tmp_path / "other", "--set", 'optimizer={name="adam"}']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Saving, "due", lambda self: setattr(self.stop, "asked", True) or True)
        assert said(capsys, *asked)[0] == 75
    shutil.copy(tmp_path / "other" / "checkpoint.npz", parts / "checkpoint.npz")
    code, words = said(capsys, "train", made[0] / "c.toml", "--out", parts, "--resume")
    assert code == 3 and f"{parts}: its checkpoint is another training's" in words.err


def cut(path, by=8):
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    ("harm", "found", "code"),
    [
        (lambda d: [path.unlink() for path in d.glob("checkpoint*")], "missing checkpoint.npz", 5),
        (
            lambda d: cut(d / "metrics.jsonl"),
            "altered metrics.jsonl: lacks epochs, or has others, than its checkpoint",
            3,
        ),
        (lambda d: (d / "metrics.jsonl").unlink(), "altered metrics.jsonl: lacks epochs", 3),
        (lambda d: cut(d / "config.toml", 100), "altered config.toml", 3),  # without its last line, its digest
        (lambda d: cut(d / "checkpoint.npz"), "altered checkpoint.npz", 3),
        (lambda d: cut(d / "training.json"), "altered training.json: cannot be read: it is not whole", 3),
        (lambda d: (d / "training.html").write_text("<!doctype html><p>ha"), "altered training.html: is not whole", 3),
        (lambda d: (d / "distillation.html").write_text("</html>"), "orphaned distillation.html", 0),
    ],
)
def test_damage_of_an_unfinished_training_is_named(parts, capsys, harm, found, code):
    harm(parts)
    given, words = said(capsys, "verify", parts)
    assert given == code and words.out.startswith(found), words
    assert words.err.count("\n") == (1 if code else 0)
    if code:  # what it says mends it, and nothing else
        name = found.split()[1].rstrip(":")
        cures = {
            "config.toml": "put it back",
            "training.json": "put it back",
            "training.html": f"jinv report {parts} writes",
        }
        assert cures.get(name, f"jinv train CONFIG --out {parts} --resume makes again") in words.err
        assert words.err.count(";") == 1 and ";" not in words.out
    if "config.toml" in found:  # with which nothing goes on, so that nothing says that it does
        assert said(capsys, "status", parts)[0] == code


def test_a_training_of_an_earlier_jinv_has_no_digests_and_is_sealed_once_it_is_looked_at(made, whole, capsys):
    table = json.loads((whole / "training.json").read_text())
    for key in ("digest", "outputs", "command", "host", "epochs", "updates", "saved"):
        table.pop(key)
    (whole / "training.json").write_text(json.dumps(table))
    assert said(capsys, "verify", whole)[0] == 0 and "updates  6\n" in said(capsys, "status", whole)[1].out
    lost = shutil.copytree(whole, whole.with_name("lost"))
    (lost / "metrics.jsonl").unlink()
    assert said(capsys, "verify", lost)[0] == 5
    assert said(capsys, "train", made[0] / "c.toml", "--out", lost, "--resume")[0] == 5
    assert said(capsys, "train", made[0] / "c.toml", "--out", whole, "--resume")[0] == 0
    assert set(read_training_record(whole).outputs) == {"model.safetensors", "metrics.jsonl"}


def test_an_interrupted_training_says_where_it_goes_on_and_who_is_at_work(made, parts, capsys):
    code, words = said(capsys, "status", parts)
    assert code == 0 and "a training of one_block, unfinished" in words.out and "epochs   1 of 2" in words.out
    assert "updates  4 of 6" in words.out and f"--out {parts} --resume goes on at update 4" in words.out
    with held(parts):
        found = json.loads(said(capsys, "status", parts, "--json")[1].out)
    assert found["state"] == "unfinished" and found["at_work"].startswith("pid ")
    assert found["seconds_left"] == pytest.approx(2 / found["updates_per_second"])
    assert said(capsys, "verify", parts)[0] == 0
    assert said(capsys, "report", parts)[1].out == f"{parts / 'training.html'}\n"
    assert "not finished yet" in (parts / "training.html").read_text()


def test_what_an_interrupted_training_lost_comes_again(made, whole, parts, capsys):
    (parts / "metrics.jsonl").unlink()
    flip(parts / "checkpoint.npz")
    code, words = said(capsys, "verify", parts)
    assert code == 3 and words.out.startswith("altered checkpoint.npz") and "--resume makes again" in words.err
    code, words = said(capsys, "train", made[0] / "c.toml", "--out", parts, "--resume")
    assert code == 0 and "the training is begun again" in words.err
    assert trained(parts) == trained(whole)


def test_a_page_is_written_again_and_is_no_runs(whole, capsys):
    before = (whole / "training.html").read_bytes()
    (whole / "training.html").unlink()
    assert said(capsys, "report", whole)[1].out == f"{whole / 'training.html'}\n"
    assert (whole / "training.html").read_bytes() == before
    code, words = said(capsys, "report", whole, whole)
    assert code == 2 and "is a training; runs alone are shown side by side" in words.err
    code, words = said(capsys, "verify", whole, "--repair")
    assert code == 2 and "is a training, and repairs are of runs" in words.err


def test_a_sink_that_fails_ends_no_training_and_one_that_is_not_there_begins_none(
    made, distilled, whole, tmp_path, capsys, monkeypatch
):
    asked = ["train", made[0] / "c.toml", "--out", tmp_path / "again", "--log", "trackio"]
    monkeypatch.setitem(sys.modules, "trackio", None)
    for command in (asked, ["distill", distilled / "d.toml", *asked[2:]]):
        code, words = said(capsys, *command)
        assert code == 2 and "--log trackio: the package trackio cannot be imported" in words.err
        assert not (tmp_path / "again").exists()
    monkeypatch.setitem(sys.modules, "trackio", Tracked(fails_at=1))
    code, words = said(capsys, *asked)
    assert code == 0 and words.err.count("--log trackio") == 1
    assert "nobody answers; the training goes on without it" in words.err
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_training_that_diverged_is_waited_for_no_longer(made, tmp_path, capsys):
    (tmp_path / "own.py").write_text(commands.PLUGIN)
    out = tmp_path / "out"
    asked = [
        "train",
        made[0] / "c.toml",
        "--out",
        out,
        "--plugin",
        tmp_path / "own.py",
        "--set",
        "augment.of_nothing={}",
    ]
    assert said(capsys, *asked)[0] == 7
    code, words = said(capsys, "status", out)
    assert code == 0 and f"{out}: a training of one_block, diverged at update 3\n" in words.out
    assert "running  nobody; lower learning_rate, and begin anew in another --out\n" in words.out
    assert "--resume" not in words.out
    code, words = said(capsys, "status", out, "--watch", "60", "--json")
    assert code == 7 and json.loads(words.out)["state"] == "diverged" and "diverged at update 3" in words.err
    with held(out):  # somebody tries it again
        assert json.loads(said(capsys, "status", out, "--json")[1].out)["state"] == "unfinished"
    assert said(capsys, "verify", out)[0] == 0
    assert said(capsys, *asked, "--resume")[0] == 7


def test_a_finished_training_without_its_lines_is_no_unfinished_one(whole, capsys):
    cut(whole / "metrics.jsonl")
    assert "epochs   2 of 2" in said(capsys, "status", whole)[1].out
    (whole / "metrics.jsonl").unlink()
    words = said(capsys, "status", whole)[1].out
    assert "epochs   2 of 2" in words and f"lost     metrics.jsonl; jinv verify {whole} says what mends it" in words


@pytest.fixture(scope="module")
def distilled(made, pictures, tmp_path_factory):
    """A distillation of real images and of a run's, two students of each, and its config."""
    root = tmp_path_factory.mktemp("distilled")
    write_run(root / "run", range(10), CLASSES, size=(32, 32))
    shutil.copytree(pictures, root / "test")
    (root / "test" / "cat" / "0.png").unlink()
    (root / "d.toml").write_text(f"""
teacher = "{made[0] / "whole" / "model.safetensors"}"
count = 10
seeds = [0, 1]
test = "test"
[student]
architecture = "one_block"
epochs = 1
batch = 10
[images.real]
real = "{pictures}"
[images.run]
run = "run"
""")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "trackio", tracked := Tracked())
        assert main(["distill", str(root / "d.toml"), "--out", str(root / "d"), "--log", "trackio"]) == 0
    assert len(tracked.begun) == 4 and tracked.finished == 4
    return root


def test_a_distillation_says_what_its_students_recognise_and_is_looked_through(distilled, capsys):
    d = distilled / "d"
    record = json.loads((d / "distillation.json").read_text())
    assert record["host"] and record["started"] and record["command"]
    code, words = said(capsys, "status", d)
    teacher = tomllib.loads((distilled / "d.toml").read_text())["teacher"]
    assert code == 0 and f"{d}: a distillation of {teacher}, finished" in words.out
    assert "students 4 of 4 are trained, on 2 sources" in words.out
    assert f"  real (real): 2 of 2 students, right {100 * record['sources'][0]['share']['value']:.1f} %" in words.out
    assert said(capsys, "verify", d)[0] == 0
    before = (d / "distillation.html").read_bytes()
    (d / "distillation.html").unlink()
    assert said(capsys, "verify", d)[1].out.startswith("missing distillation.html")
    assert said(capsys, "report", d)[0] == 0 and (d / "distillation.html").read_bytes() == before


def test_every_damaged_file_of_a_distillation_is_named_and_lost_students_are_made_again(distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    record = json.loads((distilled / "d" / "distillation.json").read_text())
    students = [d / "students" / "real" / f"seed_{seed}" for seed in (0, 1)]
    digests = [trained(student) for student in students]
    (students[0] / "model.safetensors").unlink()
    flip(students[1] / "metrics.jsonl")
    code, words = said(capsys, "verify", d)
    assert code == 3 and words.out.splitlines() == [
        "missing students/real/seed_0/model.safetensors",
        "altered students/real/seed_1/metrics.jsonl",
    ]
    elsewhere = distilled / "run" / "images" / "000003_cat.png"
    whole = elsewhere.read_bytes()
    flip(elsewhere)
    assert said(capsys, "verify", d)[1].out.splitlines()[0] == f"altered {elsewhere}"
    elsewhere.write_bytes(whole)
    code, words = said(capsys, "distill", distilled / "d.toml", "--out", d, "--resume")
    assert code == 0 and words.err.count("it is trained again") == 2
    assert [trained(student) for student in students] == digests and said(capsys, "verify", d)[0] == 0
    again = json.loads((d / "distillation.json").read_text())
    for one, other in zip(record["sources"], again["sources"], strict=True):
        assert [s["right"] for s in one["students"]] == [s["right"] for s in other["students"]]
    assert (again["started"], again["command"]) == (record["started"], record["command"])


def test_a_distillation_with_a_source_of_no_finite_loss_is_waited_for_no_longer(
    distilled, tmp_path, capsys, monkeypatch
):
    d, carry_out = shutil.copytree(distilled / "d", tmp_path / "d"), distillation._carry_out

    def diverges(bench, name, *others):
        if name == "run":
            raise NumericalError("the loss stopped being finite")
        return carry_out(bench, name, *others)

    asked = ["distill", distilled / "d.toml", "--out", d, "--resume"]
    monkeypatch.setattr(distillation, "_carry_out", diverges)
    assert said(capsys, *asked)[0] == 7
    code, words = said(capsys, "status", d)
    assert code == 0 and f"{d}: a distillation of " in words.out and "safetensors, failed\n" in words.out
    assert "failed   run: " in words.out and "running  nobody; lower learning rates, and begin anew" in words.out
    code, words = said(capsys, "status", d, "--watch", "60")
    assert code == 7 and "sources failed: run" in words.err
    monkeypatch.undo()
    assert said(capsys, *asked)[0] == 0 and "finished" in said(capsys, "status", d)[1].out


def test_a_finished_distillation_says_what_it_lost(distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    shutil.rmtree(d / "students" / "real" / "seed_0")
    (d / "students" / "real" / "seed_1" / "model.safetensors").unlink()
    words = said(capsys, "status", d)[1].out
    assert "    seed_0: training.json is lost\n" in words and "    seed_1: model.safetensors is lost\n" in words


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("training.json", flip),
        ("training.json", cut),
        ("training.json", lambda path: path.unlink()),
        ("config.toml", lambda path: path.unlink()),
        ("config.toml", lambda path: cut(path, 100)),
        ("config.toml", lambda path: shutil.copy(path.parents[1] / "seed_1" / path.name, path)),  # sound, but another's
    ],
)
def test_a_student_of_which_nothing_can_go_on_is_trained_again(distilled, tmp_path, capsys, name, harm):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    student = d / "students" / "real" / "seed_0"
    before = trained(student)
    harm(student / name)
    code, words = said(capsys, "verify", d)
    assert code in (3, 5) and f" students/real/seed_0/{name}" in words.out.splitlines()[0]
    assert f"jinv distill CONFIG --out {d} --resume trains students again" in words.err and ";" not in words.out
    code, words = said(capsys, "distill", distilled / "d.toml", "--out", d, "--resume")
    assert code == 0 and f"{student / name}: is " in words.err and words.err.count("it is trained again") == 1
    assert trained(student) == before and said(capsys, "verify", d)[0] == 0


def test_a_distillation_whose_config_is_lost_is_not_begun_anew(distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    (d / "config.toml").unlink()
    before = (d / "distillation.json").read_bytes()
    for words in (("distill", distilled / "d.toml", "--out", d, "--resume", "--set", "student.batch=5"), ("status", d)):
        code, heard = said(capsys, *words)
        assert code == 5 and f"{d / 'config.toml'}: no such file, and it says what was begun here" in heard.err
    assert said(capsys, "verify", d)[1].out == "missing config.toml\n"
    assert (d / "distillation.json").read_bytes() == before and not (d / "config.toml").exists()


def test_what_no_distillation_writes_is_found_wherever_it_lies(distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    (d / "images").mkdir(exist_ok=True)
    strange = [
        "images/a.png",
        "students/b.txt",
        "students/real/c.txt",
        "students/real/seed_7",
        "students/other",
        "training.html",
    ]
    for name in strange:
        (d / name).mkdir() if "." not in name else (d / name).write_text("")
    (d / "students" / "real" / ".x.01234567.tmp").write_text("")
    code, words = said(capsys, "verify", d)
    found = {line.partition(":")[0] for line in words.out.splitlines()[:-1]}
    assert code == 0
    assert found == {*(f"orphaned {name}" for name in strange), "half-written students/real/.x.01234567.tmp"}
    cut(d / "distillation.html")
    code, words = said(capsys, "verify", d)
    assert code == 3 and words.out.startswith("altered distillation.html: is not whole")
    assert words.err.endswith(f"jinv report {d} writes distillation.html\n") and said(capsys, "report", d)[0] == 0


def test_no_page_is_drawn_of_what_is_damaged(whole, distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    for directory, page, name, harm, code in (
        (whole, "training.html", "metrics.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-1] + b" "), 3),
        (whole, "training.html", "metrics.jsonl", lambda path: path.unlink(), 5),
        (d, "distillation.html", "config.toml", lambda path: cut(path, 100), 3),
        (d, "distillation.html", "distillation.json", cut, 3),
    ):
        before = (directory / page).read_bytes()
        harm(directory / name)
        given, words = said(capsys, "report", directory)
        assert given == code and str(directory) in words.err and name in words.err and words.err.count("\n") == 1
        assert (directory / page).read_bytes() == before
    assert "Expecting" not in words.err and "is not whole" in words.err


def test_a_distillation_under_way_says_which_student_is(distilled, tmp_path, capsys):
    d = shutil.copytree(distilled / "d", tmp_path / "d")
    table = json.loads((d / "distillation.json").read_text())
    finished = table["sources"].pop()
    (d / "distillation.json").write_text(json.dumps(table | {"finished": None, "digest": None}))
    student = d / "students" / "run" / "seed_1"
    record = read_training_record(student)
    (student / "training.json").write_text(
        json.dumps(with_digest(record.model_copy(update={"finished": None, "tested": ()})))
    )
    with held(d), held(student):
        code, words = said(capsys, "status", d)
        found = json.loads(said(capsys, "status", d, "--json")[1].out)
    assert code == 0 and "students 3 of 4 are trained" in words.out and "running  pid " in words.out
    right = 100 * finished["students"][0]["right"] / finished["students"][0]["count"]
    assert f"  run (run): 1 of 2 students, right {right:.1f} %\n    seed_1: under way, epoch 1 of 1, loss " in words.out
    assert [student["state"] for student in found["sources"][1]["students"]] == ["finished", "unfinished"]
    shutil.rmtree(student)
    found = json.loads(said(capsys, "status", d, "--json")[1].out)
    assert found["sources"][1]["students"][1]["state"] == "not begun" and found["state"] == "unfinished"
    config = d / "students" / "real" / "seed_0" / "config.toml"
    unfinished = record.model_copy(update={"finished": None})
    config.with_name("training.json").write_text(json.dumps(with_digest(unfinished)))
    flip(config)
    assert f"    seed_0: {config}: is not as it was written\n" in said(capsys, "status", d)[1].out
    flip(config.with_name("training.json"))
    assert "    seed_0: " in said(capsys, "status", d)[1].out
    code, words = said(capsys, "verify", d)
    assert code == 3 and words.out.startswith("altered students/real/seed_0/training.json")
