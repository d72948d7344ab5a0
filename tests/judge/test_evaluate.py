"""Evaluation: verdicts that are known beforehand, from a network that sees only the dominant colour."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jinv.errors import ModelMismatchError, NumericalError, StorageError, UsageError
from jinv.images.codec import png_bytes, read_image
from jinv.judge import judge, judges
from jinv.judge.evaluate import evaluate_run
from jinv.judge.metrics import wilson_interval
from jinv.models.classifier import Classifier
from jinv.models.layers import BatchNorm, Dense
from jinv.record.directory import RunDirectory
from jinv.record.evaluation import Withheld
from jinv.report.text import print_evaluation

COLOURS = ("red", "green", "blue")
MEAN, STD = (0.5, 0.25, 0.5), (0.25, 0.5, 0.5)


class DominantColour(nn.Module):
    """Features are the mean colour in network units, logits the mean colour in pixel units, times ten."""

    @nn.compact
    def __call__(self, image):
        _, stats = BatchNorm(name="bn1")(image)
        return Dense(3, name="fc")(image.mean(axis=(1, 2))), (stats,)


def classifier(names=COLOURS, size=8, source="verifier") -> Classifier:
    module = DominantColour()
    head = {"kernel": 10 * np.diag(STD).astype(np.float32), "bias": 10 * jnp.array(MEAN)}
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    variables = {"params": variables["params"] | {"fc": head}, "batch_stats": variables["batch_stats"]}
    return Classifier("dominant_colour", module, variables, MEAN, STD, size, 4, names, {"source_sha256": source})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Five images, of which the fourth is red but labelled blue."""
    monkeypatch.setattr(judges, "load", lambda name: classifier())
    monkeypatch.setattr(judge, "BATCH", 2)
    labels, shown = [0, 1, 2, 2, 0], [0, 1, 2, 0, 0]
    names = [COLOURS[i] for i in labels]
    manifest = {"schema": 1, "labels": labels, "class_names": names, "model": {"sha256": "inverted"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "images").mkdir()
    for i, channel in enumerate(shown):
        image = np.full((12, 12, 3), 20, np.uint8)
        image[..., channel] = 150 + i
        (tmp_path / "images" / f"{i:06d}_{COLOURS[labels[i]]}.png").write_bytes(png_bytes(image))
    return tmp_path


def test_verdicts_count_what_is_right(run):
    verdict = evaluate_run(run, ["dominant_colour"]).verifiers["dominant_colour"]
    assert (verdict.top1.value, verdict.count, verdict.top5.value) == (0.8, 5, 1.0)
    assert (verdict.top1.low, verdict.top1.high) == wilson_interval(4, 5)
    assert [opinion.correct for opinion in verdict.per_image] == [True, True, True, False, True]
    wrong = verdict.per_image[3]
    assert (wrong.label, wrong.predicted, wrong.class_name) == (2, 0, "red")
    assert wrong.image == "images/000003_blue.png"
    logits = 10 * np.array([153, 20, 20]) / 255
    softmax = np.exp(logits) / np.exp(logits).sum()
    said = [o.label_confidence for o in verdict.per_image]
    mean, half = np.mean(said), 2.776445 * np.std(said, ddof=1) / 5**0.5  # Student's t of 4 degrees of freedom
    assert verdict.mean_confidence.value == pytest.approx(mean)
    assert (verdict.mean_confidence.low, verdict.mean_confidence.high) == pytest.approx(
        (mean - half, min(mean + half, 1))
    )
    assert wrong.confidence == pytest.approx(softmax[0], rel=1e-5)
    assert wrong.label_confidence == pytest.approx(softmax[2], rel=1e-4)


def test_the_verdict_is_written_and_the_network_itself_is_marked(run, monkeypatch):
    monkeypatch.setattr(judges, "load", lambda name: classifier(source="inverted" if name == "a" else "other"))
    result = evaluate_run(run, ["a", "b", "a"])
    assert RunDirectory(run).evaluation() == result
    assert {name: (v.independent, v.part) for name, v in result.verifiers.items()} == {
        "a": (False, "inverted"),
        "b": (True, None),
    }


def test_the_file_has_the_keys_that_others_read(run, real):
    """Written out by hand: the layout is for people and programs that know nothing of our types."""
    evaluate_run(run, ["v", "w"], real)
    table = json.loads((run / "evaluation.json").read_text())
    assert list(table) == ["verifiers", "pictures", "reference"] and table["reference"] == str(real)
    verdict = table["verifiers"]["v"]
    assert set(verdict) == {
        "architecture", "sha256", "input_size", "count", "top1", "interval", "top5", "top5_interval", "norm_distances",
        "diversity", "per_image", "reference", "independent", "mean_confidence", "relation", "family",
    }  # fmt: skip
    assert (verdict["relation"], verdict["family"]) == ("unknown", "DominantColour")
    assert (verdict["top1"], verdict["count"], verdict["sha256"]) == (0.8, 5, "verifier")
    assert verdict["interval"] == list(wilson_interval(4, 5)) and verdict["independent"] is True
    assert set(verdict["per_image"][0]) == {
        "image", "label", "label_confidence", "predicted", "class_name", "confidence", "correct",
    }  # fmt: skip
    beside = verdict["reference"]
    assert set(beside) == {
        "count", "features", "kernel_distance", "overlap", "frechet_distance", "nearest", "top1", "interval", "diversity",
    }  # fmt: skip
    assert beside["kernel_distance"] == {"withheld": "real: 36 images, at least 100 are needed"}
    assert set(beside["frechet_distance"]) == {"value"} and set(beside["diversity"]) == {"value", "classes"}
    assert beside["nearest"][0]["neighbors"][0]["file"] == "nearest/000000_1.png"
    # Thumbnails are kept of the first verifier's alone.
    assert "file" not in table["verifiers"]["w"]["reference"]["nearest"][0]["neighbors"][0]
    pictures = table["pictures"]
    assert set(pictures) == {
        "count", "high_frequency_energy", "mean_variation", "mean_frequency", "contrast", "saturation",
    }  # fmt: skip
    assert set(pictures["mean_variation"]) == {"value", "low", "high", "per_image"}
    assert len(pictures["mean_variation"]["per_image"]) == pictures["count"] == 5


def test_one_picture_has_no_interval(run):
    manifest = json.loads((run / "manifest.json").read_text())
    manifest |= {"labels": [0], "class_names": ["red"]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    for i, name in enumerate(COLOURS[1:], 1):
        (run / "images" / f"{i:06d}_{name}.png").unlink()
    for path in [*(run / "images").glob("00000[34]_*.png")]:
        path.unlink()
    figure = evaluate_run(run, ["v"]).pictures.mean_frequency
    assert not figure.bounded and figure.per_image == (figure.value,)
    written = json.loads((run / "evaluation.json").read_text())["pictures"]["mean_frequency"]
    assert (written["low"], written["high"]) == (None, None)


def test_norm_distances_are_those_of_one_batch_of_all_images(run):
    verdict = evaluate_run(run, ["dominant_colour"]).verifiers["dominant_colour"]
    network = classifier()
    pixels = np.stack([np.full((8, 8, 3), 20, np.uint8)] * 5)
    for i, channel in enumerate([0, 1, 2, 0, 0]):
        pixels[i, ..., channel] = 150 + i
    x = np.asarray(network.preprocess(pixels), np.float64)
    mean = np.linalg.norm(x.mean((0, 1, 2))) / 3**0.5  # running mean 0, running variance 1
    var = np.linalg.norm(x.var((0, 1, 2), ddof=1) - 1) / 3**0.5
    np.testing.assert_allclose(verdict.norm_distances, [[mean, var]], rtol=1e-5)


def test_a_verdict_does_not_depend_on_the_other_images(monkeypatch):
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8))
    together = judge.judge(classifier(), pictures).logits
    monkeypatch.setattr(judge, "BATCH", 3)
    np.testing.assert_allclose(judge.judge(classifier(), pictures).logits, together, rtol=1e-6)
    np.testing.assert_allclose(judge.judge(classifier(), pictures[3:4]).logits, together[3:4], rtol=1e-6)


def test_strangers_come_first_and_siblings_are_called_so(run, monkeypatch):
    """The run's network is of another family; who trained it is known, so a judge of unknown training stays unknown."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["model"] |= {"family": "Other", "training": "by us"}
    manifest["student_sha256"] = "student"
    (run / "manifest.json").write_text(json.dumps(manifest))
    training = {"sibling": "By-Us", "stranger": "by others", "inverted": "by us", "unknown": None, "student": "by us"}

    def judge_called(name):
        network = classifier(source=name)
        network.source["training"] = training[name]
        return network

    monkeypatch.setattr(judges, "load", judge_called)
    result = evaluate_run(run, ["inverted", "student", "sibling", "unknown", "stranger"])
    order = ["stranger", "unknown", "sibling", "student", "inverted"]
    assert [(name, v.relation) for name, v in result.verifiers.items()] == list(zip(order, order, strict=True))
    assert list(json.loads((run / "evaluation.json").read_text())["verifiers"]) == order
    assert [v.part for v in result.verifiers.values()] == [None, None, None, "student", "inverted"]


def test_a_verifier_with_other_classes_is_refused(run, monkeypatch):
    monkeypatch.setattr(judges, "load", lambda name: classifier(("red", "green", "violet")))
    with pytest.raises(ModelMismatchError, match="class 2 is 'violet', in the run it is 'blue'") as error:
        evaluate_run(run, ["other"])
    assert error.value.exit_code == 4
    monkeypatch.setattr(judges, "load", lambda name: classifier(("red", "green")))
    with pytest.raises(ModelMismatchError, match="it has 2 classes"):
        evaluate_run(run, ["fewer"])
    assert not (run / "evaluation.json").exists()


def test_missing_images_missing_runs_and_no_verifier_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="no verifier"):
        evaluate_run(run, [])
    with pytest.raises(StorageError, match="no such directory"):
        evaluate_run(tmp_path / "nowhere", ["v"])
    (run / "images" / "000002_blue.png").unlink()
    with pytest.raises(StorageError, match="4 images, the manifest has 5"):
        evaluate_run(run, ["v"])


def test_logits_that_are_not_finite_are_a_numerical_error(run, monkeypatch):
    broken = classifier()
    object.__setattr__(broken, "std", (0.0, 1.0, 1.0))
    monkeypatch.setattr(judges, "load", lambda name: broken)
    with pytest.raises(NumericalError, match="not finite"):
        evaluate_run(run, ["v"])


def test_the_table_names_every_verifier(run):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_evaluation(evaluate_run(run, ["one", "two"]), console)
    console.file.close()
    text = console.export_text()
    assert "4 of 5" in text and "80.0 %" in text and "two" in text


@pytest.fixture
def real(tmp_path):
    """Real images in class folders: 12 of each colour, brighter and brighter; one blue one is green in truth."""
    folder = tmp_path / "real"
    for channel, name in enumerate(COLOURS):
        (folder / name.upper()).mkdir(parents=True)
        for i in range(12):
            image = np.full((9, 9, 3), 20, np.uint8)
            image[..., 1 if (name, i) == ("blue", 11) else channel] = 100 + 10 * i
            (folder / name.upper() / f"{i:02d}.png").write_bytes(png_bytes(image))
    return folder


def test_a_reference_gives_neighbours_and_withholds_what_takes_more_images(run, real):
    reference = evaluate_run(run, ["v", "w"], real).verifiers["v"].reference
    assert (reference.count, reference.features) == (36, 3)
    assert reference.kernel_distance == Withheld(withheld="real: 36 images, at least 100 are needed")
    assert reference.overlap == Withheld(withheld="generated: 5 images, at least 6 are needed")
    assert reference.frechet_distance.value > 0
    assert reference.top1.value == pytest.approx(35 / 36) and reference.top1.right == 35
    # 150 red is nearest to the real 150, and the thumbnails are those files.
    nearest = reference.nearest[0]
    assert nearest.image == "images/000000_red.png"
    assert nearest.neighbors[0].name == "RED/05.png" and nearest.neighbors[0].distance < 1e-6
    np.testing.assert_array_equal(read_image(run / nearest.neighbors[0].file), read_image(real / "RED" / "05.png"))
    assert reference.nearest[1].neighbors[0].name.startswith("GREEN")
    assert len(list((run / "nearest").iterdir())) == 15
    evaluate_run(run, ["v"])
    assert not (run / "nearest").exists()


def test_diversity_is_the_distance_within_a_class(run, real):
    verdict = evaluate_run(run, ["v"], real).verifiers["v"]
    red, blue = (154 - 150) / 255 / STD[0], np.hypot((152 - 20) / 255 / STD[2], (153 - 20) / 255 / STD[0])
    assert verdict.diversity.classes == {"0": pytest.approx(red, rel=1e-4), "2": pytest.approx(blue, rel=1e-4)}
    assert verdict.diversity.value == pytest.approx((red + blue) / 2, rel=1e-4)
    assert verdict.reference.diversity.value > 0


def test_a_reference_without_class_folders_has_no_accuracy(run, real):
    (real / "RED" / "00.png").rename(real / "loose.png")
    reference = evaluate_run(run, ["v"], real).verifiers["v"].reference
    assert reference.top1 is None and reference.diversity is None and reference.count == 36
    with pytest.raises(StorageError):
        evaluate_run(run, ["v"], real / "nowhere")
