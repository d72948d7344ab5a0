"""Judging keeps no picture, and features of a stated number of images alone; the record says of how many."""

import json
import weakref

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jinv.images.codec import png_bytes, read_image
from jinv.images.sample import draw_by_class, sample_by_class
from jinv.judge import assessment, evaluate, judge, judges, metrics, real_images
from jinv.judge.evaluate import evaluate_run
from jinv.record.evaluation import Evaluation, write_evaluation
from tests.judge.test_evaluate import COLOURS, STD, classifier

COUNT = 60


def colours(count, shade):
    """Noise around one of three colours each."""
    draw = np.random.default_rng(shade)
    return [draw.integers(0, 100, (8, 8, 3), np.uint8) + np.eye(3, dtype=np.uint8)[i % 3] * 100 for i in range(count)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "load", lambda name: classifier())
    labels = [i % 3 for i in range(COUNT)]
    path = tmp_path / "run"
    (path / "images").mkdir(parents=True)
    manifest = {"schema": 1, "labels": labels, "class_names": [COLOURS[i] for i in labels]}
    (path / "manifest.json").write_text(json.dumps(manifest))
    for i, pixels in enumerate(colours(COUNT, 1)):
        (path / "images" / f"{i:06d}_{COLOURS[i % 3]}.png").write_bytes(png_bytes(pixels))
    return path


@pytest.fixture
def real(tmp_path):
    for i, pixels in enumerate(colours(90, 2)):
        folder = tmp_path / "real" / COLOURS[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03d}.png").write_bytes(png_bytes(pixels))
    return tmp_path / "real"


def feature_distance(files):
    """The network's features are the mean colour in its units."""
    means = np.array([read_image(file).mean((0, 1)) for file in files]) / 255 / np.array(STD)
    return pdist(means).mean()


def test_no_more_pictures_are_held_than_a_batch(run, monkeypatch):
    alive, most = set(), 0

    def watched(path):
        nonlocal most
        pixels = read_image(path)
        alive.add(token := object())
        weakref.finalize(pixels, alive.discard, token)
        most = max(most, len(alive))
        return pixels

    monkeypatch.setattr(judge, "BATCH", 4)
    monkeypatch.setattr(evaluate, "read_image", watched)
    evaluation = evaluate_run(run, ["v", "w"])
    assert evaluation.verifiers["w"].count == COUNT and 1 <= most <= 2 * judge.BATCH


def test_figures_in_features_are_of_a_sample_that_the_record_states(run, real, monkeypatch):
    whole = evaluate_run(run, ["v"], real).verifiers["v"]
    assert whole.sampled is None and whole.reference.sampled is None
    for module in (evaluate, real_images):
        monkeypatch.setattr(module, "MOST_FEATURES", 18)
    monkeypatch.setattr(evaluate, "SHOWN_IMAGES", 6)
    part = evaluate_run(run, ["v"], real).verifiers["v"]
    assert (part.sampled, part.reference.sampled, part.reference.count) == (18, 18, 90)
    written = json.loads((run / "evaluation.json").read_text())["verifiers"]["v"]
    assert written["sampled"] == 18 and written["reference"]["sampled"] == 18
    # What is said image by image is of all.
    for key in ("count", "top1", "top5", "mean_confidence", "norm_distances", "per_image"):
        assert getattr(part, key) == getattr(whole, key), key
    assert part.reference.top1 == whole.reference.top1
    files = sorted((run / "images").iterdir())
    drawn = draw_by_class(np.arange(COUNT) % 3, 18)
    reds = [files[i] for i in drawn if i % 3 == 0]
    assert part.diversity.classes["0"] == pytest.approx(feature_distance(reds), rel=1e-4)
    assert whole.diversity.classes["0"] == pytest.approx(feature_distance(files[::3]), rel=1e-4)
    # Neighbours: of those that were drawn and those that a page shows; thumbnails of these alone.
    shown = sample_by_class(np.arange(COUNT) % 3, 6)
    assert [entry.image for entry in part.reference.nearest] == [
        f"images/{files[i].name}" for i in sorted({*drawn.tolist(), *shown})
    ]
    kept = {entry.image for entry in part.reference.nearest if entry.neighbors[0].file}
    assert kept == {f"images/{files[i].name}" for i in shown} and len(list((run / "nearest").iterdir())) == 18


def test_a_sample_as_large_as_the_run_is_the_run(run, monkeypatch):
    whole = evaluate_run(run, ["v"])
    monkeypatch.setattr(evaluate, "MOST_FEATURES", COUNT)
    assert evaluate_run(run, ["v"]) == whole


def test_as_many_pictures_as_labels_are_judged():
    for labels in ([0, 1], [0, 1, 2, 0]):
        with pytest.raises(ValueError, match=f"3 pictures or more, {len(labels)} labels"):
            assessment.assess(classifier(), colours(3, 1), np.array(labels))


def test_distances_within_a_class_are_the_same_in_blocks(monkeypatch):
    features, labels = np.random.default_rng(0).normal(size=(50, 5)), np.array([0] * 29 + [1] * 21)
    whole = metrics.mean_pairwise_distance(features, labels)
    monkeypatch.setattr(metrics, "BLOCK", 7)
    assert metrics.mean_pairwise_distance(features, labels) == pytest.approx(whole, rel=1e-12)
    assert whole[0] == pdist(features[:29]).mean()


def test_an_evaluation_is_laid_out_as_json_does_it(run, real, tmp_path):
    for evaluation in (evaluate_run(run, ["v", "w"], real), Evaluation()):
        write_evaluation(tmp_path / "written.json", evaluation)
        text = (tmp_path / "written.json").read_text()
        assert text == json.dumps(evaluation.to_json(), indent=1) + "\n"
        assert evaluation == Evaluation() or text == (run / "evaluation.json").read_text()
