"""Metrics of one's own, of finished pictures: named in a config or asked of a run that is there; they decide no image."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import jinv
from jinv.cli import main
from jinv.experiment.numbers import program_of
from jinv.recipe.read import read_config
from tests.runs.test_plugins import PLAIN, manifest, said
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")

MINE = '''
import numpy as np


def edges(pixels, *, power: float = 1.0) -> float:
    """Mean difference of vertical neighbours, to a power."""
    values = pixels.astype(np.float64) / 255
    return 0 if len(values) < 2 else (np.abs(np.diff(values, axis=0)) ** power).mean()


def darkness(pixels: np.ndarray) -> float:
    """One less the mean."""
    return 1 - float(pixels.mean()) / 255
'''
EDITED = MINE.replace("1 - float", "2 - float")
WARMTH = "def warmth(pixels) -> float:\n    return pixels[..., 0].mean() - pixels[..., 2].mean()\n"
OWN = PLAIN + "[metric.edges]\npower = 2\n[metric.darkness]\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("metrics")
    save_tiny(path / "tiny.safetensors", 1, name=one_block)
    save_tiny(path / "other.safetensors", 2, name=one_block)
    for name, text in (
        ("own.toml", OWN), ("plain.toml", PLAIN), ("mine.py", MINE), ("edited.py", EDITED), ("warmth.py", WARMTH),
    ):  # fmt: skip
        (path / name).write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(folder):
    assert said(["synthesize", folder / "own.toml", "--out", folder / "run"], folder / "mine.py") == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def evaluation(run):
    return json.loads((run / "evaluation.json").read_text())


def measured(run):
    return evaluation(run)["pictures"]["metrics"]


def pictures(run):
    """As PIL reads them, which knows nothing of ours."""
    return [np.asarray(Image.open(path), np.float64) for path in sorted((run / "images").iterdir())]


def edges(picture, power):
    """Written out."""
    values = picture / 255
    height, width, _ = picture.shape
    terms = [
        abs(values[y + 1, x, c] - values[y, x, c]) ** power
        for y in range(height - 1) for x in range(width) for c in range(3)
    ]  # fmt: skip
    return sum(terms) / len(terms)


def test_a_configs_metrics_are_taken_of_every_picture_with_no_judge_at_all(finished, folder, capsys):
    found = measured(finished)
    assert list(found) == ["edges", "darkness"] and evaluation(finished)["verifiers"] == {}
    of_each = [edges(picture, 2) for picture in pictures(finished)]
    assert found["edges"]["per_image"] == pytest.approx(of_each)
    assert found["edges"]["value"] == pytest.approx(sum(of_each) / 2)
    assert found["edges"]["high"] - found["edges"]["value"] == pytest.approx(  # Student's t of one degree of freedom
        12.706205 * np.std(of_each, ddof=1) / 2**0.5
    )
    assert found["edges"]["hyperparameters"] == {"power": 2.0} and found["darkness"]["hyperparameters"] == {}
    assert found["darkness"]["per_image"] == pytest.approx([1 - p.mean() / 255 for p in pictures(finished)])
    (used,) = manifest(finished)["plugins"]
    assert used["names"] == ["metrics.darkness", "metrics.edges"] and used["sha256"] == found["edges"]["sha256"]
    assert "[metric.edges]\npower = 2" in (finished / "config.toml").read_text()
    page = (finished / "report.html").read_text()
    assert "edges (power 2)" in page and f"{found['edges']['value']:.3g}" in page
    assert jinv.open_run(finished).evaluation.pictures.metrics["darkness"].value == found["darkness"]["value"]


def test_a_metric_changes_no_image_and_no_program(finished, folder, tmp_path):
    assert said(["synthesize", folder / "plain.toml", "--out", tmp_path / "plain"]) == 0
    own, plain = manifest(finished), manifest(tmp_path / "plain")
    assert own["outputs"]["images.npy"] == plain["outputs"]["images.npy"]
    assert "evaluation.json" not in plain["outputs"] and "[metric" not in (tmp_path / "plain/config.toml").read_text()
    recipes = [read_config(folder / name) for name in ("own.toml", "plain.toml")]
    assert program_of(recipes[0]) == program_of(recipes[1])


def test_a_run_goes_on_with_other_metrics_and_says_which(run, folder, capsys):
    words = ["synthesize", folder / "own.toml", "--out", run, "--resume"]
    before, images = measured(run), manifest(run)["outputs"]["images.npy"]
    # Finished: what is as it was stays, and another text of the plugin is asked anew.
    stamp = (run / "evaluation.json").stat().st_mtime_ns
    assert said(words, folder / "mine.py") == 0 and (run / "evaluation.json").stat().st_mtime_ns == stamp
    assert said(words, folder / "edited.py") == 0
    assert measured(run)["darkness"]["value"] == pytest.approx(before["darkness"]["value"] + 1)
    assert said([*words, "--set", "metric.edges.power=1"], folder / "mine.py") == 0
    assert measured(run)["edges"]["value"] == pytest.approx(np.mean([edges(p, 1) for p in pictures(run)]))
    # Unfinished, with a config that names another metric: neither the first plugin nor its names are needed.
    left = {**manifest(run), "finished": None, "outputs": None}
    (run / "manifest.json").write_text(json.dumps(left))
    (run / "evaluation.json").unlink()
    (run.parent / "tiny.safetensors").symlink_to(folder / "tiny.safetensors")
    (run.parent / "other.toml").write_text(PLAIN + "[metric.warmth]\n")
    words[1] = run.parent / "other.toml"
    capsys.readouterr()
    assert said(words, folder / "mine.py") == 2
    assert "metric.warmth: no such metric 'warmth'" in capsys.readouterr().err
    assert said(words, folder / "warmth.py") == 0
    assert list(measured(run)) == ["warmth"] and manifest(run)["outputs"]["images.npy"] == images
    assert [used["names"] for used in manifest(run)["plugins"]] == [["metrics.warmth"]]
    assert "edges" not in (run / "config.toml").read_text()


def test_any_run_and_real_images_alone_are_measured_by_a_plugin_that_is_named(
    run, folder, tmp_path, capsys, monkeypatch
):
    assert said(["evaluate", run], folder / "warmth.py") == 2
    error = capsys.readouterr().err
    assert f"was made with the plugin {folder}/mine.py (metrics.darkness, metrics.edges;" in error
    assert error.count("\n") == 1
    judged = ["evaluate", run, "--verifier", folder / "other.safetensors"]
    assert said(judged, folder / "mine.py") == 0
    verdicts = evaluation(run)["verifiers"]
    capsys.readouterr()
    assert said(["evaluate", run], folder / "mine.py", folder / "warmth.py") == 0
    out = capsys.readouterr().out
    assert "warmth" in out and "edges (power 2)" in out
    assert measured(run)["warmth"]["per_image"] == [p[..., 0].mean() - p[..., 2].mean() for p in pictures(run)]
    assert evaluation(run)["verifiers"] == verdicts and list(verdicts) == ["other"]  # nobody asked anew
    assert said(["verify", run]) == 0
    # Images that are no run's, by the variable; in Python.
    monkeypatch.setenv("JINV_PLUGINS", str(folder / "warmth.py"))
    shutil.copytree(run / "images", tmp_path / "real")
    assert said(["evaluate", tmp_path / "real", "--json", tmp_path / "real.json"]) == 0
    control = json.loads((tmp_path / "real.json").read_text())
    assert control["verifiers"] == {} and set(control["photographs"]["pictures"]["metrics"]) == {"warmth"}
    monkeypatch.delenv("JINV_PLUGINS")
    assert said(["evaluate", tmp_path / "real"]) == 2 and "--plugin with metrics" in capsys.readouterr().err
    found = jinv.evaluate(run, vocabulary=jinv.load_plugins(folder / "mine.py"))
    assert set(found.pictures.metrics) == {"edges", "darkness"}
    assert said(["evaluate", run, "--reference", tmp_path / "real"], folder / "mine.py") == 2
    assert "which verifier is to look at the real images?" in capsys.readouterr().err


def test_photographs_beside_are_measured_too(run, folder, tmp_path, capsys):
    for name, value in (("cat", 10), ("ship", 30)):
        (tmp_path / "real" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (200 + value, 100, value)).save(tmp_path / "real" / name / "a.png")
    words = ["evaluate", run, "--verifier", folder / "other.safetensors", "--photographs", tmp_path / "real"]
    assert said(words, folder / "mine.py", folder / "warmth.py") == 0
    control = evaluation(run)["photographs"]["pictures"]["metrics"]
    assert control["warmth"]["value"] == 200 and control["warmth"]["per_image"] == []
    assert control["edges"]["hyperparameters"] == {"power": 2.0}
    out = capsys.readouterr().out
    assert any("warmth" in line and "200" in line for line in out.splitlines())
    assert said(["report", run, run, "--out", tmp_path / "both.html"]) == 0
    assert "photographs 200" in (tmp_path / "both.html").read_text()


@pytest.mark.parametrize(
    ("source", "table", "code", "words"),
    [
        ("def m(pixels) -> float:\n    return pixels[..., 0]", "{}", 2,
         "bad.py:1: metric m: returns a ndarray of shape (8, 8), not a number (of a random picture of 8 x 8 px)"),
        ("def m(pixels) -> float:\n    return float('nan')", "{}", 7, "bad.py:1: metric m: is nan, not a finite number"),
        ("def m(pixels) -> float:\n    return None", "{}", 2, "metric m: returns a NoneType, not a number"),
        ("def m(pixels) -> float:\n    return 1 / 0", "{}", 2, "metric m: raises ZeroDivisionError at line 2: division by"),
        ("def m(pixels) -> float:\n    pixels[:] = 0\n    return 1", "{}", 2, "metric m: raises ValueError at line 2: assig"),
        ("def m(image) -> float:\n    return 1.0", "{}", 2, "a metric is (pixels, *, ...) -> float"),
        ("def m(pixels) -> 'list':\n    return 1.0", "{}", 2, "is no metric and no term, for it returns list"),
        ("def m(pixels):\n    return 1.0", "{}", 2, "write -> float (a metric of a finished picture) or -> jinv.Scalar"),
        ("def m(pixels, a=1.0) -> float:\n    return a", "{}", 2, "'a' stands in front of the *"),
        ("def contrast(pixels) -> float:\n    return 1.0", "{}", 2, "'contrast' is already the name of one of the metrics, of jinv"),
        ("def m(pixels, *, a: float) -> float:\n    return a", "{}", 2, "metric.m.a: needed by the metric 'm' of "),
        ("def m(pixels, *, a: float = 1.0) -> float:\n    return a", "{b=1}", 2, "metric.m.b: unknown key"),
        ("def m(pixels, *, a: float = 1.0) -> float:\n    return a", "{a=-1}", 2, "metric.m.a: -1 must be a finite number"),
        ("def m(pixels, *, a: float = 1.0) -> float:\n    return a", "{a={schedule='linear',start=0,end=1}}", 2,
         "metric.m.a: a metric is of finished pictures and knows no steps"),
        ("def mm(pixels) -> float:\n    return 1.0", "{}", 2, "metric.m: no such metric 'm' (did you mean 'mm'?)"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_anything_is_made(source, table, code, words, folder, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(source + "\n")
    arguments = ["synthesize", folder / "plain.toml", "--out", tmp_path / "run", "--set", f"metric.m={table}"]
    assert said(arguments, tmp_path / "bad.py") == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert not (tmp_path / "run").exists()


def test_jinvs_own_need_no_table(folder, tmp_path, capsys):
    assert said(["synthesize", folder / "plain.toml", "--out", tmp_path / "run", "--set", "metric.contrast={}"]) == 2
    assert "metric.contrast: is jinv's own, which every evaluation has" in capsys.readouterr().err


def test_what_fails_on_the_runs_own_pictures_costs_no_image(folder, tmp_path, capsys):
    """The random picture that is tried first has another mean than what two steps make of noise."""
    (tmp_path / "late.py").write_text(
        "def late(pixels) -> float:\n    return float('inf' if pixels.std() < 70 else 0)\n"
    )
    words = ["synthesize", folder / "plain.toml", "--out", tmp_path / "run", "--set", "metric.late={}"]
    assert said(words, tmp_path / "late.py") == 7
    error = capsys.readouterr().err
    assert "late.py:1: metric late: is inf, not a finite number (of images/000000_cat.png)" in error
    assert f"the images are there; then: jinv evaluate {tmp_path / 'run'}" in error
    assert manifest(tmp_path / "run")["finished"] and not (tmp_path / "run/evaluation.json").exists()
    assert said(["verify", tmp_path / "run"]) == 0


def test_a_sweep_has_a_column_of_each_and_one_program_whatever_they_are(folder, tmp_path, capsys):
    words = ["sweep", folder / "own.toml", "--out", tmp_path / "s", "--vary", "metric.edges.power=[1.0,2.0]"]
    assert said(words, folder / "mine.py") == 0
    summary = json.loads((tmp_path / "s/sweep.json").read_text())
    assert [len(program) for program in summary["programs"]] == [2]
    rows = {row["changes"]["metric.edges.power"]: row for row in summary["settings"]}
    for power, row in rows.items():
        expected = np.mean([edges(p, power) for p in pictures(tmp_path / "s" / row["run"])])
        assert row["metrics"]["edges"] == pytest.approx(expected)
    assert rows[1.0]["metrics"]["edges"] > rows[2.0]["metrics"]["edges"]
    assert rows[1.0]["metrics"]["darkness"] == rows[2.0]["metrics"]["darkness"]
    assert "edges (metric)" in capsys.readouterr().out.replace("\n", " ")
    assert "edges (metric)" in (tmp_path / "s/comparison.html").read_text()


def test_a_search_improves_a_metric_whose_direction_is_said(folder, tmp_path, capsys):
    pytest.importorskip("optuna", reason="Optuna is not installed (extra `tune`)")
    words = ["search", folder / "plain.toml", "--optuna", "2", "--at-once", "2", "--out", tmp_path / "s", "--tune"]
    words.append("stages.0.learning_rate=0.01:0.5")
    assert said([*words, "--objective", "edges"], folder / "mine.py") == 2
    assert "more or less of it? Say edges:max or edges:min" in capsys.readouterr().err
    assert (
        said([*words, "--objective", "edges:min"]) == 2 and "--objective edges:min: unknown" in capsys.readouterr().err
    )
    assert said([*words, "--objective", "edges:min"], folder / "mine.py") == 0
    record = json.loads((tmp_path / "s/search.json").read_text())
    values = {trial["trial"]: trial["objectives"]["edges"] for trial in record["trials"]}
    for trial in record["trials"]:
        assert values[trial["trial"]] == measured(tmp_path / "s" / trial["run"])["edges"]["value"]
    assert record["best"] == [min(values, key=values.get)] and len(set(values.values())) == 2
    capsys.readouterr()
    resumed = [*words, "--objective", "edges:min", "--resume"]
    assert said(resumed, folder / "edited.py") == 6 and "another metrics" in capsys.readouterr().err


def test_workers_need_a_plugin_and_so_does_who_completes_their_run(folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert said(["worker", folder / "own.toml", "--out", out], folder / "mine.py") == 0
    capsys.readouterr()
    assert said(["merge", out]) == 2 and "name it with --plugin" in capsys.readouterr().err
    assert said(["merge", out], folder / "mine.py") == 0
    assert set(measured(out)) == {"edges", "darkness"}
    (out / "evaluation.json").unlink()
    assert said(["verify", out, "--repair"], folder / "mine.py") == 0
    assert set(measured(out)) == {"edges", "darkness"} and said(["verify", out]) == 0


def test_terms_lists_them_and_check_checks_them(folder, tmp_path, capsys):
    assert main(["terms", "--plugin", str(folder / "mine.py")]) == 0
    out = capsys.readouterr().out
    assert "[metric.NAME]" in out and "edges" in out and "saturation" in out
    assert main(["check", str(folder / "mine.py")]) == 0
    assert "2 functions: the contract is kept" in capsys.readouterr().out
    (tmp_path / "rows.py").write_text(MINE.replace("0 if len(values) < 2 else ", ""))
    assert main(["check", str(tmp_path / "rows.py")]) == 7
    assert "edges: finite: is no number (NaN) of a random picture of 1 x 1 px" in capsys.readouterr().out
