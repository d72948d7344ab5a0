"""Every page in a real browser, wide and narrow: no errors, nothing wider than the window, every image there."""

import io

import pytest
from rich.console import Console

import jinv.record.training as record_of_training
from jinv.record.config import signed_text
from jinv.record.distillation import IMAGES, DistillationRecord, Source, Student
from jinv.record.estimate import Estimate
from jinv.record.training import EPOCHS, EpochLine, TrainingRecord, epochs_text
from jinv.report.distillation import write_distillation_page
from jinv.report.page import write_comparison, write_report
from jinv.report.settings_page import write_settings_page
from jinv.report.training import write_training_page
from jinv.reproduce.carry_out import reproduce
from jinv.reproduce.plan import Choices
from jinv_convert.parity.page import write_html
from jinv_convert.parity.report import LayerErrors, ValidationReport
from tests.networks import CLASSES
from tests.report import test_settings_page
from tests.report.browser import assert_shown, chromium, opened
from tests.report.test_report import line, make_run, verdict
from tests.report.test_settings_page import table_of
from tests.reproduce.test_reproduce import FOLDER, TINY, tiny  # noqa: F401  (a fixture)
from tests.small_runs import write_run

pytestmark = pytest.mark.usefixtures("unoptimized", "a_browser")
CUT = """() => [...document.querySelectorAll("th, .name, .axis-name, dd, dt, #viewer *")].filter(
  (part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1 && !part.matches(".scroll")
).map((part) => part.className + part.textContent.slice(0, 40))"""
LONG = "a_name_without_an_end_" * 12


@pytest.fixture
def a_browser():
    """Skips before anything is made where there is no browser."""
    return chromium()


def run_of(path, names=CLASSES):
    """A judged run with curves, and with words that are as long as people make them."""
    lines = [line(step, 3.0 / step, time=1.0) for step in (1, 5, 10)]
    judged = {"verifiers": {"squeezenet": verdict(names, [i % 2 == 0 for i in range(len(names))])}}
    config = f'model = "{LONG}.safetensors"\n[terms.cross_entropy]\n'
    return make_run(path, names=names, lines=lines, evaluation=judged, config=config)


def test_a_report(tmp_path):
    run = run_of(tmp_path / "run", (*CLASSES, LONG))
    assert_shown(write_report(run), images=11)


def test_runs_side_by_side(tmp_path):
    runs = [run_of(tmp_path / name) for name in ("one", "two", LONG[:200], "four")]
    assert_shown(write_comparison(runs, tmp_path / "page.html"), images=40)


def test_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(test_settings_page, "NAMES", ("cat", "supercalifragilisticexpialidocious" * 3, LONG[:150]))
    page = write_settings_page(table_of(tmp_path, 8), tmp_path / "page.html")
    assert_shown(page, images=21)
    with opened(page, 400) as (window, said):
        assert not window.evaluate(CUT), "text that is wider than what it stands in"
        window.locator(".matrix .open").nth(1).click()
        assert not window.evaluate(CUT) and said == []


def result(right, **attack):
    share = right / 200
    return record_of_training.Tested(right=right, count=200, low=share - 0.05, high=share + 0.05, **attack)


def test_a_training(tmp_path):
    record = TrainingRecord(
        architecture="resnet20", class_names=CLASSES, parameters=269722, seed=0, images=10_000, data_sha256="a" * 64,
        network_sha256="b" * 64, wall_seconds=633.2,
        tested=(result(170), *(result(100 - 5 * eps, eps=float(eps), steps=20, step=2.0) for eps in (2, 4, 8))),
    )  # fmt: skip
    epochs = [EpochLine(epoch=i, step=9 * i, learning_rate=0.1 / i, loss=2.0 / i, accuracy=0.1 * i) for i in (1, 2, 3)]
    (tmp_path / EPOCHS).write_text(epochs_text(epochs))
    table = {"architecture": "resnet20", "train": [f"/data/{LONG}.zip"], "adversary": {"name": "pgd", "eps": 8}}
    (tmp_path / "config.toml").write_text(signed_text(table))
    assert_shown(write_training_page(tmp_path, record))


def source(name, right, model=None):
    students = tuple(Student(seed=seed, right=right + seed, count=200, seconds=70.0) for seed in range(3))
    share = Estimate(right / 200, right / 200 - 0.04, right / 200 + 0.04, 3)
    behind = None if model is None else Estimate(-0.1, -0.2, 0.01, 3)
    kind = "real" if model is None else "recipe"
    more = {"synthesis_seconds": 300.0} if model else {}
    return Source(
        name=name, kind=kind, images=20, model=model, sha256="c" * 64, students=students, share=share, behind=behind, **more
    )  # fmt: skip


def test_a_distillation(tmp_path):
    record = DistillationRecord(
        jinv="0", teacher=LONG, teacher_sha256="d" * 64, teacher_right=173, test_images=200, device="cpu", finished="now",
        sources=(source("real", 90), source("deepinversion", 60, LONG), source("noise", 20, "cifar10_resnet20")),
    )  # fmt: skip
    (tmp_path / IMAGES).mkdir()
    for name in ("deepinversion", "noise"):
        write_run(tmp_path / IMAGES / name, [i % 10 for i in range(20)], CLASSES * 2, size=(32, 32))
    (tmp_path / "config.toml").write_text(signed_text({"teacher": LONG, "images": {"real": {"real": f"/{LONG}"}}}))
    assert_shown(write_distillation_page(tmp_path, record), images=2)


def test_a_figure_and_the_index_of_figures(tiny, tmp_path):  # noqa: F811
    index = reproduce(FOLDER, tmp_path, Choices("full", TINY), only=["4.1"], console=Console(file=io.StringIO()))
    assert_shown(tmp_path / "figure_4_1/sheet.html", images=2)
    assert_shown(index, images=1)


def test_a_validation(tmp_path):
    layers = [LayerErrors(f"layer{i}.{i % 3}.conv{i}", 1e-15 * (i + 1), 1e-7, "two random 33x38") for i in range(30)]
    report = ValidationReport(
        f"/data/{LONG}.safetensors", LONG, "resnet20", "torch", "jinv", (), [LONG], layers, layers[:3]
    )
    write_html(report, tmp_path / "page.html")
    assert_shown(tmp_path / "page.html")


@pytest.mark.parametrize(
    "body",
    [
        "<div style='width:500px'>wide</div>",
        "<img src='data:image/png;base64,AAAA'>",
        "<script>nothing.there()</script>",
        "<script>console.error('so')</script>",
    ],
)
def test_a_page_with_a_fault_is_refused(body, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html><head></head><body style='min-height:400px'>{body}</body></html>")
    with pytest.raises(AssertionError):
        assert_shown(page)


def test_a_page_without_one_is_not(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><html><head></head><body style='min-height:400px'>all is well</body></html>")
    assert_shown(page)
