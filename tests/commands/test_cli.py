"""The command line as a newcomer meets it: real processes where imports matter, `main` in this one elsewhere."""

import gc
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.errors import StorageError
from jinv.weights.load import load
from tests.networks import CLASSES, tiny_classifier
from tests.small_runs import CONFIG, save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("cli")
    save_tiny(path / "tiny.safetensors", 1, name=one_block)
    save_tiny(path / "other.safetensors", 2, name=one_block)
    save_tiny(path / "mice.safetensors", 3, ("mouse", *CLASSES[1:]), one_block)
    (path / "small.toml").write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(folder):
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def run(arguments, capsys):
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr().err


def test_help_and_import_load_neither_jax_nor_torch():
    program = "import sys, jinv, jinv.cli; jinv.cli.make_parser().format_help(); print({'jax', 'torch', 'flax', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_run_leaves_what_the_design_promises(finished):
    present = {p.name for p in finished.iterdir()}
    assert present == {
        "config.toml",
        "manifest.json",
        "metrics.jsonl",
        "images",
        "images.npy",
        "grid.png",
        "evaluation.json",
        "report.html",
        "units.jsonl",
        "timing.jsonl",
    }
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["labels"] == [3, 8, 1] and manifest["finished"]
    assert set(manifest["outputs"]) >= {"images.npy", "report.html", "images/000000_cat.png"}
    images = np.load(finished / "images.npy")
    assert images.shape == (3, 16, 16, 3) and images.dtype == np.float32
    assert sorted(p.name for p in (finished / "images").iterdir()) == [
        "000000_cat.png",
        "000001_ship.png",
        "000002_automobile.png",
    ]
    pixels = np.asarray(Image.open(finished / "images" / "000001_ship.png"))
    assert (load(finished.parent / "tiny.safetensors").to_uint8(images[1:2])[0] == pixels).all()
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["batch"], line["step"]) for line in lines] == [(0, 4), (0, 8), (1, 4), (1, 8)]
    assert set(lines[0]["terms"]) == {"cross_entropy", "feature_statistics"}
    verdict = json.loads((finished / "evaluation.json").read_text())["verifiers"]
    (name,) = verdict
    assert "other" in name and verdict[name]["count"] == 3 and len(verdict[name]["interval"]) == 2


def test_the_same_config_gives_the_same_bits_and_the_resolved_one_too(finished, folder):
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(folder / "again")]) == 0
    assert main(["synthesize", str(finished / "config.toml"), "--out", str(folder / "resolved")]) == 0
    expected = (finished / "images.npy").read_bytes()
    assert (folder / "again" / "images.npy").read_bytes() == expected
    assert (folder / "resolved" / "images.npy").read_bytes() == expected


def test_a_student_gradient_norms_and_class_gaussian_starts(folder, monkeypatch):
    import jinv.experiment.shared

    seeds = {str(folder / "tiny.safetensors"): 1, str(folder / "other.safetensors"): 2}
    monkeypatch.setattr(jinv.experiment.shared, "load", lambda name, **_: tiny_classifier(seeds[name], blocks=0))
    for name in ("cat", "ship"):
        (folder / "real" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((16, 16, 3), 40 * i + 90, np.uint8)).save(folder / "real" / name / f"{i}.png")
    overrides = [
        "student=other.safetensors", "terms.competition.weight=0.5", "log_gradients=true", "copies=2", "evaluate.verifiers=[]",
        "image.labels=[3, 8]", "image.init=class_gaussian", "image.init_reference=real", "stages.0.steps=0", "stages.1.steps=1",
        'stages.1.parameterization={name = "fourier", decay = 0.5}', "stages.1.start=clean",
    ]  # fmt: skip
    out = folder / "recipe"
    assert main(["synthesize", str(folder / "small.toml"), "--out", str(out), "--set", *overrides]) == 0
    (line,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert set(line["gradient_norms"]) == {"cross_entropy", "feature_statistics", "competition", "total"}
    assert all(norm > 0 for norm in line["gradient_norms"].values())
    assert json.loads((out / "manifest.json").read_text())["student_sha256"] == "tiny2"
    assert "Gradient norms" in (out / "report.html").read_text()
    # The config as carried out is the same experiment.
    again = folder / "recipe again"
    assert main(["synthesize", str(out / "config.toml"), "--out", str(again)]) == 0
    assert (again / "images.npy").read_bytes() == (out / "images.npy").read_bytes()


@pytest.fixture
def small_run(folder, tmp_path):
    """A run of one image of two steps, with real images of which one cannot be read, and its arguments."""
    shutil.copy(folder / "tiny.safetensors", tmp_path)
    shutil.copy(folder / "other.safetensors", tmp_path)
    (tmp_path / "real").mkdir()
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "b.png").write_bytes((tmp_path / "real" / "a.png").read_bytes()[:40])
    (tmp_path / "small.toml").write_text(CONFIG)
    few = ["image.labels=[3]", "stages.0.steps=1", "stages.1.steps=1", "evaluate.reference=real"]
    return tmp_path, ["synthesize", tmp_path / "small.toml", "--out", tmp_path / "run", "--set", *few]


def test_an_evaluation_that_fails_costs_no_images_and_can_be_made_up_for(small_run, capsys):
    path, arguments = small_run
    code, error = run(arguments, capsys)
    assert code == 3 and "b.png" in error and "jinv evaluate" in error
    manifest = json.loads((path / "run" / "manifest.json").read_text())
    assert manifest["finished"] and "report.html" in manifest["outputs"] and not (path / "run" / "units").exists()
    (path / "real" / "b.png").unlink()
    images = (path / "run" / "images.npy").read_bytes()
    assert run(["evaluate", path / "run"], capsys)[0] == 0  # beside the config's real images, as nothing else is said
    evaluation = json.loads((path / "run" / "evaluation.json").read_text())
    assert evaluation["verifiers"]["other"]["reference"]["count"] == 1 and (path / "run" / "nearest").is_dir()
    # Once it is there, --resume leaves it alone, until the verifier's file is another network's.
    before = (path / "run" / "evaluation.json").stat().st_mtime_ns
    assert run([*arguments, "--resume"], capsys)[0] == 0
    assert (path / "run" / "evaluation.json").stat().st_mtime_ns == before
    shutil.copy(path / "tiny.safetensors", path / "other.safetensors")
    assert run([*arguments, "--resume"], capsys)[0] == 0
    verdict = json.loads((path / "run" / "evaluation.json").read_text())["verifiers"]["other"]
    assert (verdict["independent"], verdict["part"]) == (False, "inverted")
    assert (path / "run" / "images.npy").read_bytes() == images


def test_photographs_are_the_control_of_a_run_and_are_judged_alone(small_run, capsys):
    path, arguments = small_run
    (path / "photos" / "cat").mkdir(parents=True)
    (path / "photos" / "dog").mkdir()
    for name, grey in (("cat/a.png", 20), ("cat/b.png", 200), ("dog/c.png", 90)):
        Image.fromarray(np.full((20, 24, 3), grey, np.uint8)).save(path / "photos" / name)
    arguments = [a for a in arguments if a != "evaluate.reference=real"] + ["evaluate.photographs=photos"]
    assert main([str(a) for a in arguments]) == 0
    out = capsys.readouterr().out
    # Both are ResNet-20s: who trained the other one does not matter.
    assert "other, a sibling, right on" in out and "of 2 photographs, recognises" in out
    assert "Judged by siblings of the inverted network alone, no stranger has seen it." in out
    found = json.loads((path / "run" / "evaluation.json").read_text())
    assert found["verifiers"]["other"]["photographs"]["count"] == found["photographs"]["pictures"]["count"] == 2
    assert found["verifiers"]["other"]["relation"] == "sibling"
    assert json.loads((path / "run" / "manifest.json").read_text())["model"]["family"] == "ResNetCifar"
    report = (path / "run" / "report.html").read_text()
    assert "Judged by siblings of the inverted network alone" in report and "of 2 photographs" in report
    # As asked for, so nothing is judged again; a clear class is needed of every image.
    before = (path / "run" / "evaluation.json").stat().st_mtime_ns
    assert main([str(a) for a in [*arguments, "--resume"]]) == 0
    assert (path / "run" / "evaluation.json").stat().st_mtime_ns == before
    judge = ["--verifier", path / "other.safetensors"]
    assert run(["evaluate", path / "photos", *judge, "--json", path / "c.json"], capsys)[0] == 0
    assert json.loads((path / "c.json").read_text())["verifiers"]["other"]["count"] == 3
    for wrong, words in (
        (["evaluate", path / "photos"], "who judges"),
        (["evaluate", path / "photos", *judge, "--photographs", path / "photos"], "--photographs: is for a run"),
        (["evaluate", path / "run", *judge, "--json", path / "d.json"], "--json: is for real images alone"),
        (["evaluate", path / "run", *judge, "--photographs", path / "real"], "its class is unclear"),
    ):
        code, error = run(wrong, capsys)
        assert code == 2 and words in error and error.count("\n") == 1, error
    assert (path / "run" / "evaluation.json").stat().st_mtime_ns == before


def test_a_run_is_sealed_last_and_a_student_took_part(small_run, monkeypatch, capsys):
    import jinv.report.page

    path, arguments = small_run
    (path / "real" / "b.png").unlink()
    arguments += ["student=other.safetensors", "terms.competition.weight=0.5"]

    def fails(*_):
        raise StorageError("no space left")

    monkeypatch.setattr(jinv.report.page, "write_report", fails)
    assert run(arguments, capsys)[0] == 5
    assert json.loads((path / "run" / "manifest.json").read_text())["finished"] is None
    monkeypatch.undo()
    # The finished batch is still there: nothing is synthesized again.
    monkeypatch.setattr("jinv.runs.units.batch_images", lambda *_, **__: pytest.fail("synthesized again"))
    assert main([str(a) for a in [*arguments, "--resume"]]) == 0
    assert "other, the synthesis' student, recognises" in capsys.readouterr().out
    assert "the synthesis&#39; student" in (path / "run" / "report.html").read_text()


def test_an_existing_run_is_a_conflict_and_resuming_a_finished_one_is_done(finished, folder, capsys):
    before = (finished / "manifest.json").read_bytes()
    code, error = run(["synthesize", folder / "small.toml", "--out", finished], capsys)
    assert code == 6 and "--resume" in error and error.count("\n") == 1
    assert run(["synthesize", folder / "small.toml", "--out", finished, "--resume"], capsys)[0] == 0
    code, error = run(["synthesize", folder / "small.toml", "--out", finished, "--resume", "--set", "seed=4"], capsys)
    assert code == 6 and "seed: 0 then, 4 now" in error
    assert (finished / "manifest.json").read_bytes() == before


def test_an_interrupted_run_resumes_to_the_same_bits(finished, folder, monkeypatch):
    from jinv.record.unfinished import Work

    config = folder / "checkpointed.toml"
    config.write_text(CONFIG + "[checkpoint]\nevery_steps = 3\n")
    save = Work.save
    calls = []

    def dies(self, *arguments):
        save(self, *arguments)
        calls.append(arguments)
        if len(calls) == 3:  # in the second batch
            raise KeyboardInterrupt

    monkeypatch.setattr(Work, "save", dies)
    out = folder / "interrupted"
    assert main(["synthesize", str(config), "--out", str(out)]) == 130
    assert not (out / "images.npy").exists() and json.loads((out / "manifest.json").read_text())["finished"] is None
    monkeypatch.undo()
    assert main(["synthesize", str(config), "--out", str(out), "--resume"]) == 0
    assert (out / "images.npy").read_bytes() == (finished / "images.npy").read_bytes()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["batch"], line["step"]) for line in lines]
    assert steps == sorted(set(steps)) and not list(out.rglob("checkpoint.npz"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["synthesise"], 2, "did you mean 'synthesize'"),
        (["synthesize"], 2, "which CONFIG.toml"),
        (["synthesize", "nowhere.toml"], 5, "nowhere.toml"),
        (["synthesize", "{small}", "--sett", "a=1"], 2, "--sett"),
        (["synthesize", "{small}", "--set", "model=efficientnet_lite9"], 2, "did you mean 'efficientnet_lite"),
        (["synthesize", "{small}", "--set", "model=nothing.safetensors"], 5, "nothing.safetensors"),
        (["synthesize", "{small}", "--set", 'image.labels=["cta"]'], 2, "did you mean"),
        (["synthesize", "{small}", "--set", "image.labels=[10]"], 2, "10"),
        (["synthesize", "{small}", "--set", "image.labels=[-1]"], 2, "-1"),
        (["synthesize", "{small}", "--set", "image.size=4", "stages.0.size=4", "stages.1.size=4"], 2, "smaller than"),
        (["synthesize", "{small}", "--set", "image.batch=0"], 2, "image.batch"),
        (["synthesize", "{small}", "--set", "terms.total_variation.weight=-1"], 2, "-1"),
        (["synthesize", "{small}", "--set", "image.init=nothing.npy"], 5, "nothing.npy"),
        (["synthesize", "{small}", "--set", "image.init=package:nosuch/x.png"], 2, "package:nosuch"),
        (["synthesize", "{small}", "--set", "image.init=class_gaussian", "image.init_reference=nowhere"], 5, "nowhere"),
        (
            ["synthesize", "{small}", "--set", "parameterization.name=maco", "parameterization.spectrum=nowhere"],
            5,
            "nowhere",
        ),
        (["synthesize", "{small}", "--set", "terms.layer_activation.layer=99"], 2, "0 to 6"),
        (["synthesize", "{small}", "--set", "student=nothing.safetensors"], 5, "nothing.safetensors"),
        (["synthesize", "{small}", "--set", "student=mice.safetensors"], 4, "class 0 is 'airplane' and 'mouse'"),
        # Judges are asked before anything is computed, so these leave nothing either.
        (
            ["synthesize", "{small}", "--set", 'evaluate.verifiers=["mice.safetensors"]', "image.labels=[0]"],
            4,
            "class 0 is 'mouse'",
        ),
        (["synthesize", "{small}", "--set", "evaluate.reference=nowhere"], 5, "nowhere"),
        (
            ["synthesize", "{small}", "--set", "evaluate.reference=nowhere", "evaluate.verifiers=[]"],
            2,
            "needs evaluate.verifiers",
        ),
        (["synthesize", "{small}", "--set", "evaluate.photographs=nowhere"], 5, "nowhere"),
        (
            ["synthesize", "{small}", "--set", "evaluate.photographs=nowhere", "evaluate.verifiers=[]"],
            2,
            "needs evaluate.verifiers",
        ),
        (["sweep", "{small}", "--vary", "seed=[0,1]", "--set", "evaluate.reference=nowhere"], 5, "nowhere"),
        (["evaluate", "nowhere"], 5, "nowhere"),
        (["evaluate", "{small}"], 5, "not a directory"),
        (["report", "nowhere"], 5, "nowhere"),
        (["report", "{small}"], 5, "not a directory"),
        (["report", "nowhere", "--sheet", "s.png"], 2, "ends in .jpg"),
        (["report", "nowhere", "--out", "c.html"], 2, "several runs"),
    ],
)
def test_mistakes_get_one_line_their_exit_code_and_leave_nothing(
    folder, arguments, code, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [a.format(small=folder / "small.toml") for a in arguments]
    actual, error = run(arguments, capsys)
    assert actual == code and words in error and error.count("\n") == 1, error
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_an_unwritable_directory_is_found_before_a_model_is_loaded(folder, capsys, monkeypatch):
    import jinv.experiment.shared

    monkeypatch.setattr(jinv.experiment.shared, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    (folder / "file").write_text("in the way")
    for out in (folder / "file", folder / "file" / "run"):
        code, error = run(["synthesize", folder / "small.toml", "--out", out], capsys)
        assert code == 5 and "file" in error and error.count("\n") == 1


def test_a_loss_that_is_not_finite_stops_the_run(folder, capsys):
    overrides = ["--set", "stages.0.learning_rate=1e30", "stages.0.optimizer=sgd", "clip=none", "log_every=1"]
    code, error = run(["synthesize", folder / "small.toml", "--out", folder / "nan", *overrides], capsys)
    assert code == 7 and "lower the learning rate" in error and not (folder / "nan" / "images.npy").exists()


def test_listings_show_every_name(capsys):
    assert main(["terms"]) == 0 and main(["models"]) == 0
    text = capsys.readouterr().out
    assert "[min_factor," in text  # not taken for markup
    for name in (
        "feature_statistics",
        "first_layer_weight",
        "max_shift",
        "warmup_cosine",
        "resized_crop",
        "maco",
        "efficientnet_lite0",
        "resnet50",
    ):
        assert name in text


def test_a_run_hardly_looks_for_garbage(folder, tmp_path):
    looked, before = [], gc.get_threshold()

    def count(phase, info):
        looked.extend([1] if phase == "start" else [])

    gc.callbacks.append(count)
    gc.set_threshold(700, 10, 10)  # CPython's own until 3.12, by which a run like this one looks hundreds of times
    try:
        assert main(["synthesize", str(folder / "small.toml"), "--out", str(tmp_path / "run")]) == 0
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(count)
    assert len(looked) < 200  # else 900
