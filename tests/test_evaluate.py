"""Evaluation: verdicts that are known beforehand, from a network that sees only the dominant colour."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jinv import evaluate
from jinv.core.metrics import wilson_interval
from jinv.errors import ModelMismatchError, NumericalError, StorageError, UsageError
from jinv.evaluate import evaluate_run, judge, print_evaluation
from jinv.images import png_bytes
from jinv.models.classifier import Classifier
from jinv.models.norm import BatchNorm

COLOURS = ("red", "green", "blue")
MEAN, STD = (0.5, 0.25, 0.5), (0.25, 0.5, 0.5)


class DominantColour(nn.Module):
    """Logits are the mean colour in pixel units, times ten."""

    @nn.compact
    def __call__(self, image):
        _, stats = BatchNorm(name="bn1")(image)
        pixels = image * jnp.array(STD).reshape(1, 1, 1, 3) + jnp.array(MEAN).reshape(1, 1, 1, 3)
        return 10 * pixels.mean(axis=(1, 2)), (stats,)


def classifier(names=COLOURS, size=8, source="verifier") -> Classifier:
    module = DominantColour()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return Classifier("dominant_colour", module, variables, MEAN, STD, size, 4, names, {"source_sha256": source})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Five images, of which the fourth is red but labelled blue."""
    monkeypatch.setattr(evaluate, "load", lambda name: classifier())
    monkeypatch.setattr(evaluate, "BATCH", 2)
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
    verdict = evaluate_run(run, ["dominant_colour"])["verifiers"]["dominant_colour"]
    assert (verdict["top1"], verdict["count"], verdict["top5"]) == (0.8, 5, 1.0)
    assert verdict["interval"] == list(wilson_interval(4, 5))
    assert [image["correct"] for image in verdict["per_image"]] == [True, True, True, False, True]
    wrong = verdict["per_image"][3]
    assert (wrong["label"], wrong["predicted"], wrong["class_name"]) == (2, 0, "red")
    assert wrong["image"] == "images/000003_blue.png"
    logits = 10 * np.array([153, 20, 20]) / 255
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert wrong["confidence"] == pytest.approx(softmax[0], rel=1e-5)
    assert wrong["label_confidence"] == pytest.approx(softmax[2], rel=1e-4)


def test_the_verdict_is_written_and_the_network_itself_is_marked(run, monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda name: classifier(source="inverted" if name == "a" else "other"))
    result = evaluate_run(run, ["a", "b", "a"])
    assert json.loads((run / "evaluation.json").read_text()) == result
    assert {name: v["independent"] for name, v in result["verifiers"].items()} == {"a": False, "b": True}


def test_norm_distances_are_those_of_one_batch_of_all_images(run):
    verdict = evaluate_run(run, ["dominant_colour"])["verifiers"]["dominant_colour"]
    network = classifier()
    pixels = np.stack([np.full((8, 8, 3), 20, np.uint8)] * 5)
    for i, channel in enumerate([0, 1, 2, 0, 0]):
        pixels[i, ..., channel] = 150 + i
    x = np.asarray(network.preprocess(pixels), np.float64)
    mean = np.linalg.norm(x.mean((0, 1, 2))) / 3**0.5  # running mean 0, running variance 1
    var = np.linalg.norm(x.var((0, 1, 2), ddof=1) - 1) / 3**0.5
    np.testing.assert_allclose(verdict["norm_distances"], [[mean, var]], rtol=1e-5)


def test_a_verdict_does_not_depend_on_the_other_images(monkeypatch):
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8))
    together = judge(classifier(), pictures).logits
    monkeypatch.setattr(evaluate, "BATCH", 3)
    np.testing.assert_allclose(judge(classifier(), pictures).logits, together, rtol=1e-6)
    np.testing.assert_allclose(judge(classifier(), pictures[3:4]).logits, together[3:4], rtol=1e-6)


def test_a_verifier_with_other_classes_is_refused(run, monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda name: classifier(("red", "green", "violet")))
    with pytest.raises(ModelMismatchError, match="class 2 is 'violet', in the run it is 'blue'") as error:
        evaluate_run(run, ["other"])
    assert error.value.exit_code == 4
    monkeypatch.setattr(evaluate, "load", lambda name: classifier(("red", "green")))
    with pytest.raises(ModelMismatchError, match="it has 2 classes"):
        evaluate_run(run, ["fewer"])
    assert not (run / "evaluation.json").exists()


def test_missing_images_missing_runs_and_no_verifier_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="no verifier"):
        evaluate_run(run, [])
    with pytest.raises(StorageError, match="no manifest"):
        evaluate_run(tmp_path / "nowhere", ["v"])
    (run / "images" / "000002_blue.png").unlink()
    with pytest.raises(StorageError, match="4 images, the manifest has 5"):
        evaluate_run(run, ["v"])


def test_logits_that_are_not_finite_are_a_numerical_error(run, monkeypatch):
    broken = classifier()
    object.__setattr__(broken, "std", (0.0, 1.0, 1.0))
    monkeypatch.setattr(evaluate, "load", lambda name: broken)
    with pytest.raises(NumericalError, match="not finite"):
        evaluate_run(run, ["v"])


def test_the_table_names_every_verifier(run):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_evaluation(evaluate_run(run, ["one", "two"]), console)
    console.file.close()
    text = console.export_text()
    assert "4 of 5" in text and "80.0 %" in text and "two" in text
