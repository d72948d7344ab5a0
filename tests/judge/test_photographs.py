"""Real images as a control: which class they are of, and what networks make of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from jinv.errors import StorageError, UsageError
from jinv.images.metrics import contrast
from jinv.judge import judges
from jinv.judge.assessment import recognition
from jinv.judge.evaluate import evaluate_run
from jinv.judge.metrics import wilson_interval
from jinv.judge.photographs import evaluate_photographs, image_label, open_photographs
from jinv.weights.labels import class_names
from tests.judge.test_evaluate import COLOURS, classifier, real, run  # noqa: F401

PHOTOS = Path(__file__).parents[2] / "../shared/data/photos/imagenet_one_per_class_256.zip"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("goldfish/a.png", 1),
        ("n01443537/a.png", 1),
        ("Carassius_auratus/deep/a.png", 1),
        ("7/a.png", 7),
        ("0007/a.png", 7),
        ("0001_n01443537.jpg", 1),
        ("photos/0001_n01443537.jpg", 1),
        ("0207_mine.png", 207),
        ("goldfish/0007_n01440764.png", 1),
        ("0001_n01440764.jpg", None),
        ("0001.png", None),
        ("00012_a.png", None),
        ("1000_a.png", None),
        ("1000/a.png", None),
        ("crane/a.png", None),
        ("a.png", None),
    ],
)
def test_an_images_class_is_its_folders_or_its_numbers(name, label):
    assert image_label(name, class_names("imagenet")) == label


def test_only_images_of_the_classes_are_taken_and_made_as_large_as_the_runs(real):  # noqa: F811
    found = open_photographs(real, COLOURS, {2, 0}, (12, 7))
    assert sorted(set(found.labels.tolist())) == [0, 2] and len(found.names) == 24
    assert found.labels.tolist() == [{"RED": 0, "BLUE": 2}[name.split("/")[0]] for name in found.names]
    assert {pixels.shape for pixels in found.read()} == {(12, 7, 3)}
    assert {pixels.shape for pixels in open_photographs(real, COLOURS).read()} == {(9, 9, 3)}


def test_what_is_unclear_is_one_line(real):  # noqa: F811
    with pytest.raises(UsageError, match=r"real: none of its 36 images is of one of the run's classes") as error:
        open_photographs(real, (*COLOURS, "violet"), {3})
    assert "\n" not in str(error.value)
    (real / "violet").mkdir()
    (real / "violet" / "x.png").write_bytes((real / "RED" / "00.png").read_bytes())
    with pytest.raises(UsageError, match=r"real, violet/x.png: its class is unclear"):
        open_photographs(real, COLOURS, {0})
    with pytest.raises(StorageError):
        open_photographs(real / "nowhere", COLOURS)


def test_a_run_is_judged_beside_photographs_of_its_classes(run, real):  # noqa: F811
    result = evaluate_run(run, ["v", "w"], photographs=real)
    said = result.verifiers["v"].photographs
    # All classes are the run's; one blue one is green in truth.
    assert (said.count, said.top1.right, said.top5.value) == (36, 35, 1.0)
    assert (said.top1.low, said.top1.high) == wilson_interval(35, 36)
    pixels = np.array([[100 + 10 * i, 20, 20] for i in range(12)] * 3, np.float64) / 255
    pixels[-1] = pixels[-1][[1, 0, 2]]
    rows = np.exp(10 * pixels)
    assert said.mean_confidence.value == pytest.approx((rows[:, 0] / rows.sum(axis=1)).mean(), rel=1e-4)
    assert result.photographs.source == str(real) and result.photographs.pictures.count == 36
    assert result.photographs.pictures.contrast.value == pytest.approx(0, abs=1e-9)
    table = json.loads((run / "evaluation.json").read_text())
    assert set(table["verifiers"]["w"]["photographs"]) == {
        "count", "top1", "interval", "top5", "top5_interval", "mean_confidence",
    }  # fmt: skip
    assert table["photographs"]["pictures"]["saturation"]["per_image"] == []
    assert evaluate_run(run, ["v"]).photographs is None


def test_only_the_runs_classes_are_its_control(run, real):  # noqa: F811
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"labels": [0] * 5, "class_names": ["red"] * 5}))
    assert evaluate_run(run, ["v"], photographs=real).verifiers["v"].photographs.count == 12


def test_real_images_alone_are_judged_without_a_run(real, monkeypatch):  # noqa: F811
    monkeypatch.setattr(judges, "load", lambda name: classifier())
    before = sorted(real.rglob("*"))
    control = evaluate_photographs(real, ["v", "v", "w"])
    assert list(control.verifiers) == ["v", "w"] and control.verifiers["w"].top1.right == 35
    assert control.photographs.pictures.count == 36 and sorted(real.rglob("*")) == before
    with pytest.raises(UsageError, match="who judges them"):
        evaluate_photographs(real, [])


def test_mean_confidence_is_of_the_labels_and_stays_within_one():
    logits = np.log([[0.7, 0.3], [0.2, 0.8], [0.999, 0.001]])
    mean = recognition(logits, np.array([0, 1, 0])).mean_confidence
    assert mean.value == pytest.approx((0.7 + 0.8 + 0.999) / 3) and mean.high == 1.0 and mean.low > 0
    assert not recognition(logits[:1], np.array([0])).mean_confidence.bounded


@pytest.mark.skipif(not PHOTOS.exists(), reason="the shared photographs are not there")
def test_the_shared_photographs_have_their_classes():
    found = open_photographs(PHOTOS, class_names("imagenet"), {0, 207, 999})
    assert found.labels.tolist() == [0, 207, 999]
    pictures = list(found.read())
    assert [p.shape for p in pictures] == [(256, 256, 3)] * 3 and min(map(contrast, pictures)) > 0.05
