"""What a run leaves on disk comes back as it was, has the keys that others read, and its mistakes said in one line."""

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jinv.errors import RunConflictError, StorageError, UnsafeInputError
from jinv.images.codec import png_bytes
from jinv.record.directory import RunDirectory
from jinv.record.entry import read_record
from jinv.record.estimate import Estimate
from jinv.record.evaluation import (
    Distance,
    Evaluation,
    Nearest,
    Neighbor,
    Opinion,
    PictureFigure,
    Pictures,
    RealImages,
    Verdict,
    Withheld,
)
from jinv.record.manifest import InvertedModel, Manifest, StageSteps, SweepSetting
from jinv.record.run import open_run
from jinv.record.training import TrainingRecord
from jinv.record.units import UnitRecord, check_unit, publish, write_unit
from tests.record.test_metrics_lines import logged
from tests.small_runs import write_metrics, write_run


@pytest.mark.parametrize(
    ("low", "high", "text"), [(0.01, 0.02, "0.0123 (0.01 to 0.02)"), (-math.inf, 1, "0.0123 (-inf to 1)")]
)
def test_a_figure_is_said_with_its_interval(low, high, text):
    figure = Estimate(0.0123, low, high)
    assert str(figure) == text and figure.bounded == math.isfinite(low) and figure.right == 0


def test_a_share_is_said_in_images():
    share = Estimate(13 / 14, 0.685, 0.987, 14)
    assert share.right == 13 and str(share) == "13 of 14 (68 to 99 %)"


MANIFEST = Manifest(
    jinv="1.2", model=InvertedModel(name="net", architecture="a", sha256="ab", mean=(0.5,), std=(0.25,)), seed=3,
    labels=(7, 9), class_names=("cat", "dog"), image_size=(8, 6), stages=(StageSteps(size=(8, 6), steps=20),),
    versions={"jax": "1"}, device="cpu", started="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def test_a_manifest_has_the_keys_that_others_read(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_manifest(MANIFEST)
    table = json.loads((tmp_path / "manifest.json").read_text())
    assert table == {
        "schema": 1, "jinv": "1.2", "seed": 3, "labels": [7, 9], "class_names": ["cat", "dog"], "image_size": [8, 6],
        "model": {"name": "net", "architecture": "a", "sha256": "ab", "mean": [0.5], "std": [0.25]},
        "stages": [{"size": [8, 6], "steps": 20}], "versions": {"jax": "1"}, "device": "cpu",
        "started": "2026-01-01T00:00:00+00:00", "finished": None,
    }  # fmt: skip
    assert list(table)[:2] == ["schema", "jinv"] and run.manifest() == MANIFEST
    later = {
        "student_sha256": "cd", "sweep": SweepSetting(name="0", changes={"seed": 4}), "wall_seconds": 1.5,
        "outputs": {"grid.png": "ef"}, "finished": "2026-01-01T00:01:00+00:00",
    }  # fmt: skip
    run.write_manifest(MANIFEST.model_copy(update=later))
    table = json.loads((tmp_path / "manifest.json").read_text())
    assert table["sweep"] == {"name": "0", "changes": {"seed": 4}} and table["outputs"] == {"grid.png": "ef"}
    assert run.manifest() == MANIFEST.model_copy(update=later)


def test_what_a_newer_writer_adds_to_a_manifest_is_kept(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.manifest() is None
    newer = MANIFEST.to_json() | {"units": {"done": [1]}, "weather": None}
    (tmp_path / "manifest.json").write_text(json.dumps(newer))
    manifest = run.manifest()
    assert manifest.seed == 3
    run.write_manifest(manifest.model_copy(update={"wall_seconds": 2.0}))
    assert json.loads((tmp_path / "manifest.json").read_text()) == newer | {"wall_seconds": 2.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("null", "nothing but null"),
        ("[]", r"schema \[\], this jinv reads 1"),
        ('{"schema": 2}', "schema 2, this jinv reads 1"),
        ("{}", "schema None, this jinv reads 1"),
        ('{"schema": 1, "seed": "x"}', "manifest.json: seed: 'x': "),
        ('{"schema": true}', "schema True, this jinv reads 1"),
        ('{"schema": 1, "labels": [1, 2, 3], "class_names": ["a"]}', "manifest.json: .*class_names: 1 for 3 labels"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": 1, "stages": [{"size": [1, 2]}]}', r"manifest.json: stages\.0\.steps: missing"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunConflictError if "schema 2" in words else UnsafeInputError, match=words) as error:
        RunDirectory(tmp_path).manifest()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json", "training.json"])
def test_a_record_that_somebody_writes_just_after_it_was_looked_for_was_not_there(tmp_path, monkeypatch, name):
    def read(path):
        path.write_text("{}")
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "read_bytes", read)
    run = RunDirectory(tmp_path)
    reads = {"manifest.json": run.manifest, "evaluation.json": run.evaluation}
    assert reads.get(name, lambda: read_record(TrainingRecord, tmp_path / name, 1, "training's record"))() is None


def evaluation():
    opinion = Opinion(
        image="images/000000_cat.png", label=7, label_confidence=0.25, predicted=9, class_name="dog", confidence=0.5,
        correct=False,
    )  # fmt: skip
    beside = RealImages(
        count=120, features=4, kernel_distance=Estimate(0.5, 0.25, 1.0), overlap=Withheld(withheld="too few"),
        frechet_distance=Distance(value=2.0), top1=Estimate(0.75, 0.66, 0.82, 120),
        nearest=(Nearest(image="images/000000_cat.png", neighbors=(Neighbor(name="a", distance=1.0),)),),
    )  # fmt: skip
    verdict = Verdict(
        count=2, top1=Estimate(0.5, 0.1, 0.9, 2), norm_distances=((0.1, 0.2),), per_image=(opinion,), reference=beside
    )
    figure = PictureFigure(0.5, per_image=(0.5,))
    pictures = Pictures(count=1, high_frequency_energy=figure, mean_variation=figure, mean_frequency=figure)
    return Evaluation(verifiers={"net": verdict}, pictures=pictures, reference="real")


def test_an_evaluation_comes_back_as_it_was(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.evaluation() is None
    run.write_evaluation(evaluation())
    read = run.evaluation()
    assert read == evaluation() and read.verifiers["net"].reference.top1.right == 90
    table = json.loads((tmp_path / "evaluation.json").read_text())
    assert table["verifiers"]["net"]["interval"] == [0.1, 0.9] and "top5" not in table["verifiers"]["net"]
    assert table["verifiers"]["net"]["reference"]["nearest"][0]["neighbors"] == [{"name": "a", "distance": 1.0}]
    assert table["verifiers"]["net"]["reference"]["kernel_distance"] == {"value": 0.5, "low": 0.25, "high": 1.0}


def test_an_evaluation_of_before_is_still_read(tmp_path):
    """As the first version wrote it: no pictures, no real images, no diversity, nothing of a student."""
    opinion = {"image": "images/000000_a.png", "label": 0, "label_confidence": 0.2, "predicted": 1, "class_name": "b"}
    verdict = {
        "architecture": "net", "sha256": None, "input_size": 8, "count": 1, "top1": 0.0, "interval": [0.0, 0.79],
        "top5": 1.0, "top5_interval": [0.2, 1.0], "norm_distances": [[0.1, 0.2]], "independent": True,
        "per_image": [opinion | {"confidence": 0.6, "correct": False}],
    }  # fmt: skip
    (tmp_path / "evaluation.json").write_text(json.dumps({"verifiers": {"a": verdict}}))
    read = RunDirectory(tmp_path).evaluation()
    assert read.pictures is None and read.verifiers["a"].top5 == Estimate(1.0, 0.2, 1.0, 1)
    assert read.to_json() == {"verifiers": {"a": verdict}}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t["verifiers"]["net"].pop("count"), r"evaluation.json: verifiers\.net\.count: missing"),
        (lambda t: t["verifiers"]["net"].update(top1="x"), r"verifiers\.net\.top1: 'x': "),
        (lambda t: t["verifiers"]["net"].pop("interval"), r"verifiers\.net: .*interval must be the two ends"),
        (lambda t: t["verifiers"]["net"].update(part="judge"), r"verifiers\.net\.part: 'judge': .*'student'"),
        (lambda t: t["pictures"].pop("mean_variation"), r"pictures\.mean_variation: missing"),
        (lambda t: t["verifiers"]["net"]["per_image"][0].update(label=None), r"per_image\.0\.label: None: "),
        (lambda t: t["verifiers"]["net"]["reference"]["kernel_distance"].pop("value"), r"kernel_distance\.value: missing"),
        (lambda t: t.update(verifiers=[]), r"verifiers: \[\]: "),
    ],
)  # fmt: skip
def test_a_damaged_evaluation_is_refused_in_a_line_that_names_the_key(tmp_path, damage, words):
    table = evaluation().to_json()
    damage(table)
    (tmp_path / "evaluation.json").write_text(json.dumps(table))
    with pytest.raises(UnsafeInputError, match=words) as error:
        RunDirectory(tmp_path).evaluation()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[1]", b"null"])
def test_what_is_no_evaluation_is_refused_in_a_line(tmp_path, data):
    (tmp_path / "evaluation.json").write_bytes(data)
    with pytest.raises(UnsafeInputError, match="evaluation.json: ") as error:
        RunDirectory(tmp_path).evaluation()
    assert "\n" not in str(error.value)


def test_records_cannot_be_changed_by_whoever_holds_them():
    with pytest.raises(ValueError, match="frozen"):
        MANIFEST.seed = 4
    with pytest.raises(AttributeError):
        Estimate(1.0).value = 2.0
    with pytest.raises(AttributeError):
        Neighbor(name="a", distance=1.0).file = "b.png"


@pytest.fixture
def run(tmp_path):
    """A finished run of two images of 8 by 6 pixels."""
    directory = RunDirectory(tmp_path)
    directory.write_manifest(MANIFEST)
    directory.write_config({"model": "net", "seed": 3})
    write_metrics(directory.path, [logged(10), logged(20)])
    np.save(tmp_path / "images.npy", np.arange(288, dtype=np.float32).reshape(2, 8, 6, 3))
    for i, name in enumerate(MANIFEST.class_names):
        directory.write_image(f"images/{i:06d}_{name}.png", png_bytes(np.full((8, 6, 3), 10 + i, np.uint8)))
    directory.write_evaluation(evaluation())
    return tmp_path


def test_a_run_is_opened_as_a_value(run):
    record = open_run(run)
    assert record.manifest == MANIFEST and record.config == {"model": "net", "seed": 3}
    assert [line.step for line in record.metrics] == [10, 20] and record.evaluation == evaluation()
    assert (
        record.images.dtype == np.float32 and record.images.shape == (2, 8, 6, 3) and record.images[1, 7, 5, 2] == 287
    )
    assert record.pictures.dtype == np.uint8 and record.pictures.shape == (2, 8, 6, 3)
    assert record.pictures[:, 0, 0, 0].tolist() == [10, 11]
    assert record.labels.tolist() == [7, 9] and record.class_names == ("cat", "dog")
    assert record.picture_files == ("images/000000_cat.png", "images/000001_dog.png")


def test_what_is_not_asked_for_need_not_be_there(tmp_path):
    RunDirectory(tmp_path).write_manifest(MANIFEST)
    record = open_run(str(tmp_path))
    assert record.metrics == [] and record.evaluation is None and record.labels.tolist() == [7, 9]
    for attribute, words in [
        ("images", "not finished"),
        ("config", "config.toml"),
        ("pictures", "0 images, the manifest has 2"),
    ]:
        with pytest.raises(StorageError, match=words) as error:
            getattr(record, attribute)
        assert "\n" not in str(error.value)


def test_what_is_no_run_is_a_storage_error(tmp_path, run):
    (tmp_path / "file").write_text("x")
    for name, words in (("nowhere", "no such"), ("file", "not a"), ("images", "not a run")):
        with pytest.raises(StorageError, match=f"{name}: {words} directory"):
            open_run(tmp_path / name)
    (run / "images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(StorageError, match=r"images.npy: cannot be read"):
        _ = open_run(run).images
    np.save(run / "images.npy", np.zeros(3))
    with pytest.raises(StorageError, match=r"images.npy: float64 of shape \(3,\)"):
        _ = open_run(run).images
    (run / "images" / "000001_dog.png").write_bytes(png_bytes(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(StorageError, match="not all of one size"):
        _ = open_run(run).pictures


def test_a_run_is_read_without_jax(run):
    program = (
        "import sys; from jinv.record.run import open_run; run = open_run(sys.argv[1]); run.images, run.pictures, "
        "run.metrics, run.evaluation; print({'jax', 'flax', 'torch', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_run_is_a_sequence_of_its_images(run):
    record = open_run(run)
    assert len(record) == 2 and [image.index for image in record] == [0, 1]
    assert record[-1].label == 9 and record[1].class_name == "dog" and record[1].file == "images/000001_dog.png"
    assert record[1].pixels.dtype == np.uint8 and record[1].pixels.shape == (8, 6, 3) and (record[1].pixels == 11).all()
    assert record[:1] == record.records[:1] and record[0].opinions["net"].class_name == "dog"
    assert record[1].opinions == {} and record[0].sha256 is None
    with pytest.raises(IndexError):
        record[2]
    (run / record[1].file).unlink()  # nothing is read of an image before its pixels are asked for
    with pytest.raises(StorageError, match="000001_dog.png"):
        _ = record[1].pixels
    assert (record[0].pixels == 10).all()


def test_images_are_mapped_and_cannot_be_written(run):
    images = open_run(run).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_the_finished_batches_of_an_unfinished_run_are_there(tmp_path):
    names = ["cat", "airplane", "dog", "cat", "ship"]
    whole = write_run(tmp_path / "run", [3, 0, 5, 3, 8], names, finished=False)
    directory = RunDirectory(tmp_path / "run")
    (tmp_path / "lines").write_text("")
    files = {"images/000004_ship.png": png_bytes(np.full((8, 6, 3), 55, np.uint8))}
    assert write_unit(directory.path, UnitRecord(unit=2, first=4, labels=(8,)), whole[4:], tmp_path / "lines", files)
    record = open_run(tmp_path / "run")
    assert [image.index for image in record] == [0, 1, 4] and len(record) == 3 and len(record.labels) == 5
    assert [image.label for image in record] == [3, 0, 8] and record[2].file == "units/000/000002/000004_ship.png"
    assert (record[2].pixels == 55).all()
    publish(directory.path, check_unit(directory.path, 2))
    assert open_run(tmp_path / "run")[2].file == "images/000004_ship.png"
    directory.write_image("images/000001_airplane.png", png_bytes(np.full((8, 6, 3), 77, np.uint8)))
    assert open_run(tmp_path / "run")[1].pixels.max() == 77  # its own file, where there is one
    directory.write_config({"image": {"batch": 0}})
    with pytest.raises(StorageError, match="image.batch: 0"):
        len(open_run(tmp_path / "run"))


def test_a_run_without_an_image_is_true_and_empty(tmp_path):
    RunDirectory(tmp_path).write_manifest(MANIFEST)
    record = open_run(tmp_path)
    assert record and len(record) == 0 and list(record) == []


def test_digests_are_compared_on_demand(tmp_path):
    write_run(tmp_path / "run", [3, 0], ["cat", "airplane"])
    record = open_run(tmp_path / "run", verify=True)
    picture = tmp_path / "run" / record[0].file
    assert hashlib.sha256(picture.read_bytes()).hexdigest() == record[0].sha256
    data = bytearray(picture.read_bytes())
    data[-20] ^= 1
    picture.write_bytes(data)
    (tmp_path / "run" / "images.npy").unlink()
    open_run(tmp_path / "run")
    with pytest.raises(
        StorageError, match=r"images.npy: missing; .*000000_cat.png: altered|altered.*images.npy: missing"
    ) as error:
        open_run(tmp_path / "run", verify=True)
    assert "\n" not in str(error.value)
    with pytest.raises(StorageError, match="its pictures are read without it"):
        _ = record.images
    write_run(tmp_path / "other", [3, 0], ["cat", "airplane"], finished=False)
    with pytest.raises(StorageError, match="not finished, so there are no digests"):
        open_run(tmp_path / "other", verify=True)


def test_two_files_of_one_number_are_refused(run):
    (run / "images" / "000001_cow.png").write_bytes((run / "images" / "000001_dog.png").read_bytes())
    with pytest.raises(StorageError, match="are both image 1"):
        _ = open_run(run).picture_files


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [(-1, UnsafeInputError, "labels.1: -1"), (10**12, StorageError, "labels: 1000000000000 is no class id")],
)
def test_a_label_that_is_no_class_is_refused(tmp_path, label, error, words):
    RunDirectory(tmp_path).write_manifest(MANIFEST.model_copy(update={"labels": (7, label)}))
    with pytest.raises(error, match=words):
        _ = open_run(tmp_path).labels


def test_an_array_with_any_byte_of_its_head_changed_is_read_or_refused(run):
    """Of another length, another type, an archive, a pickle: one line each, and no traceback."""
    path = run / "images.npy"
    data = path.read_bytes()
    refused = 0
    for place in range(128):
        for value in (0, 32, 48, 0x28, data[place] ^ 1):
            path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            try:
                _ = open_run(run).images
            except StorageError as error:
                refused += "\n" not in str(error)
    assert refused > 100
    for whole in (data[:-1], data[:64], b"", b"PK\x03\x04" + data, b"\x80\x04."):
        path.write_bytes(whole)
        with pytest.raises(StorageError, match="images.npy: cannot be read"):
            _ = open_run(run).images


@pytest.mark.parametrize("record", ["sweep.json", "search.json", "distillation.json", "training.json"])
def test_what_is_no_run_is_said_to_be_what_it_is(tmp_path, record):
    (tmp_path / record).write_text("{}")
    with pytest.raises(
        StorageError, match=rf"not a run directory \(no manifest.json\); a {record.removesuffix('.json')}, wh"
    ):
        open_run(tmp_path)
