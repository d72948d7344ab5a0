"""The curve of robustness: judges are asked rightly, distances are those of the equation, files are what their schema says."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import robustness_curve as curve
from benchmarks.labelled_images import Labelled, read_labelled
from benchmarks.robustness_figure import plot, table
from benchmarks.robustness_records import (
    AttackedScore,
    File,
    Point,
    Score,
    Settings,
    Twin,
    read_record,
    write_record,
)
from jinv.errors import StorageError, UsageError
from jinv.images.codec import png_bytes
from jinv.judge.judge import Judgement
from jinv.record.estimate import Estimate
from jinv.weights.cache import file_sha256
from tests.networks import CLASSES

PER_CLASS = 3


def make_twin(eps_255, sha256="0" * 64):
    return Twin(
        eps_255=eps_255, settings=Settings(), start=File(file="start.th", sha256="1" * 64), images=12,
        epoch_losses=(2.0, 1.5), training_seconds=1.0, clean=Score(correct=9, count=12),
        pgd20=(AttackedScore(eps_255=8, correct=3, count=4),), threads=1, machine={}, sha256=sha256,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A zip of noise, `PER_CLASS` images of each class."""
    path = tmp_path_factory.mktemp("real") / "real.zip"
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for name in reversed(CLASSES):
            for i in range(PER_CLASS):
                archive.writestr(f"{name}/{i}.png", png_bytes(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)))
    return path


def sure_of_the_first_class(pictures):
    return np.eye(10)[np.zeros(len(pictures), int)] * 5


@pytest.fixture
def judges(real, monkeypatch):
    """A stranger that says airplane, and a sibling whose features are the pictures' mean colours."""

    def judge(classifier, pictures, *, statistics):
        return Judgement(np.zeros((len(pictures), 10)), np.asarray(pictures).mean((1, 2)))

    monkeypatch.setattr(curve, "judge", judge)
    # As many real images as these are too few for the kernel distance's usual subsets.
    monkeypatch.setattr(curve, "kernel_distance", lambda real, generated: Estimate(0.5, 0.4, 0.6))
    stranger = curve.Judge("stranger", "a" * 64, sure_of_the_first_class)
    classifier = SimpleNamespace(architecture="sibling", source={"source_sha256": "b" * 64})
    reference = np.random.default_rng(1).normal(128, 5, (30, 3))
    return stranger, curve.Sibling("sibling", classifier, reference)


def test_images_come_with_their_folders_classes(real):
    images = read_labelled(real, 2)
    assert images.pictures.shape == (20, 32, 32, 3) and images.labels.tolist() == np.repeat(range(10), 2).tolist()
    assert len(read_labelled(real).labels) == 10 * PER_CLASS
    with pytest.raises(UsageError, match="fewer than 4 images of airplane"):
        read_labelled(real, 4)


def test_a_folder_that_is_no_class_is_named(tmp_path):
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "0.png").write_bytes(png_bytes(np.zeros((32, 32, 3), np.uint8)))
    with pytest.raises(UsageError, match=r"zebra/0.png: lies in no folder named after a class"):
        read_labelled(tmp_path)


def test_recognition_counts_and_is_sure_as_the_logits_say():
    logits, labels = np.random.default_rng(0).normal(size=(40, 10)), np.arange(40) % 10
    found = curve.recognition("judge", "c" * 64, logits, labels)
    exponentials = np.exp(logits)
    own = exponentials[np.arange(40), labels] / exponentials.sum(1)
    assert found.right == (logits.argmax(1) == labels).sum() and found.count == 40
    assert found.confidence.value == pytest.approx(own.mean())
    assert found.confidence.low < own.mean() < found.confidence.high


def test_distance_within_a_class_is_over_pairs_and_its_interval_is_as_wide_as_repeated_draws_scatter():
    def drawn(seed):
        random = np.random.default_rng(seed)
        return random.normal(size=(60, 4)) * np.repeat([1.0, 2.0, 3.0], 20)[:, None]

    labels = np.repeat([3, 5, 7], 20)
    features = drawn(0)
    by_hand = np.mean([
        np.mean([np.linalg.norm(a - b) for i, a in enumerate(own) for b in own[i + 1 :]])
        for own in (features[labels == label] for label in (3, 5, 7))
    ])  # fmt: skip
    estimate = curve.distance_within_class(features, labels)
    assert estimate.value == pytest.approx(by_hand)
    others = [curve.distance_within_class(drawn(seed), labels, resamples=1).value for seed in range(1, 101)]
    low, high = np.quantile(others, [0.025, 0.975])
    assert 0.6 < (estimate.high - estimate.low) / (high - low) < 1.6


def test_an_onnx_judge_gets_raw_pixels_channels_first(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)

    def save(size):
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["colours"]),
            helper.make_node("MatMul", ["colours", "weights"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes, "colours",
            [helper.make_tensor_value_info("image", kind, ["n", 3, size, size])],
            [helper.make_tensor_value_info("logits", kind, ["n", 10])],
            [onnx.numpy_helper.from_array(weights, "weights")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / f"judge{size}.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    pictures = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    judge = curve.onnx_judge(save(32))
    np.testing.assert_allclose(judge.logits(pictures), pictures.mean((1, 2)) @ weights, rtol=1e-4)
    assert judge.name == "judge32" and judge.sha256 == file_sha256(tmp_path / "judge32.onnx")
    with pytest.raises(UsageError, match="judge48.onnx: takes"):
        curve.onnx_judge(save(48))


def test_a_point_is_written_and_read_as_it_is(judges, real, tmp_path):
    images = read_labelled(real)
    point = curve.point(images, *judges, make_twin(4))
    write_record(tmp_path / f"{point.name}.json", point)
    assert point.name == "eps4" and read_record(tmp_path / "eps4.json", Point).to_json() == point.to_json()
    assert point.to_json().keys() == {
        "eps_255", "count", "stranger", "sibling", "reference", "overlap", "kernel_distance", "distance_within_class",
        "high_frequency_energy", "twin",
    }  # fmt: skip
    assert (point.count, point.reference, point.stranger.right) == (30, 30, PER_CLASS)
    without = curve.point(images, *judges)
    assert without.name == "real" and not {"twin", "eps_255"} & without.to_json().keys()
    (tmp_path / "eps4.json").write_text("{}")
    with pytest.raises(StorageError, match=r"eps4.json: count: missing"):
        read_record(tmp_path / "eps4.json", Point)


def test_measure_writes_the_ceiling_and_every_twin_weakest_first(judges, real, tmp_path, monkeypatch):
    for eps in (8, 0):
        (tmp_path / f"eps{eps}.pt").write_bytes(b"weights")
        write_record(tmp_path / f"eps{eps}.json", make_twin(eps, file_sha256(tmp_path / f"eps{eps}.pt")))
    inverted = []

    def synthesize(twin, checkpoint, out, count):
        inverted.append((twin.eps_255, checkpoint.name, count))
        return read_labelled(real, 2)

    monkeypatch.setattr(curve, "onnx_judge", lambda path: judges[0])
    monkeypatch.setattr(curve, "convert_checkpoint", lambda source, out: None)
    monkeypatch.setattr(curve, "load", lambda path: judges[1].classifier)
    monkeypatch.setattr(curve, "synthesize", synthesize)
    options = SimpleNamespace(
        twins=tmp_path, stranger=None, sibling=None, reference=real, real=real, count=20, out=tmp_path / "runs",
        results=tmp_path / "results",
    )  # fmt: skip
    points = curve.measure(options)
    assert inverted == [(0, "eps0.pt", 20), (8, "eps8.pt", 20)]
    assert [p.name for p in points] == ["real", "eps0", "eps8"]
    assert {path.name for path in options.results.iterdir()} == {"real.json", "eps0.json", "eps8.json"}


def test_other_weights_than_the_records_are_refused(tmp_path):
    (tmp_path / "eps2.pt").write_bytes(b"other weights")
    with pytest.raises(UsageError, match=r"eps2.pt: is not the file whose sha256 is in eps2.json"):
        curve.synthesize(make_twin(2), tmp_path / "eps2.pt", tmp_path, 20)
    with pytest.raises(UsageError, match=r"no eps\*.json in it"):
        curve.read_twins(tmp_path)


def test_figure_and_table_name_every_network(judges, real, tmp_path):
    images = read_labelled(real)
    points = [curve.point(images, *judges)] + [curve.point(images, *judges, make_twin(eps)) for eps in (0, 8)]
    plot(points, tmp_path / "curve.svg")
    text = (tmp_path / "curve.svg").read_text()
    assert text.lstrip().startswith("<?xml") and len(text) < 100_000
    assert all(word in text for word in ("eps 0", "eps 8", "real images", "stranger, a stranger"))
    plot(points, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text
    rows = table(points).splitlines()
    assert len(rows) == 5 and len({row.count("|") for row in rows}) == 1
    assert "| eps8 | 75.0% | 75.0% | 3 of 30" in rows[-1]


def test_mistakes_are_told_in_a_line(tmp_path, capsys):
    files = ["--stranger", "a.onnx", "--sibling", "b.th", "--reference", "c.zip", "--real", "d.zip", "--out", "runs"]
    for arguments, words in ((["--count", "25"], "--count 25: a multiple of 10"), ([], "no eps*.json in it")):
        with pytest.raises(SystemExit) as ended:
            curve.main(["--twins", str(tmp_path), *files, *arguments])
        assert ended.value.code == 2 and words in capsys.readouterr().err


def test_labelled_images_are_what_a_judge_is_asked_about(judges):
    dark = Labelled(np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="at least"):  # four pictures are too few for balls of five neighbours
        curve.point(dark, *judges)
