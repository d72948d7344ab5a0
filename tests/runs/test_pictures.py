"""`[output]`: a run's own pictures in a folder per class, or as JPEGs, are read by everything that reads runs."""

import json

import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.errors import UsageError
from jinv.record.run import open_run
from tests.small_runs import CONFIG, save_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("pictures")
    save_tiny(path / "tiny.safetensors", 1, name=one_block)
    save_tiny(path / "other.safetensors", 2, name=one_block)
    (path / "small.toml").write_text(CONFIG)
    assert synthesize(path, "plain") == 0
    return path


def synthesize(place, name, *changes):
    changes = ["--set", *changes] if changes else []
    return main(["synthesize", str(place / "small.toml"), "--out", str(place / name), *changes])


def test_at_its_defaults_it_changes_no_byte(place):
    assert synthesize(place, "said", "output.layout=flat", "output.format=png") == 0
    for name in ("config.toml", "images.npy", "grid.png", "images/000001_ship.png", "metrics.jsonl"):
        assert (place / "said" / name).read_bytes() == (place / "plain" / name).read_bytes()
    assert "output" not in (place / "plain" / "config.toml").read_text()


def test_jpegs_in_folders_are_judged_reported_and_opened(place):
    changes = ["output.layout=imagefolder", "output.format=jpeg", "output.quality=80"]
    assert synthesize(place, "other", *changes) == 0
    run, plain = open_run(place / "other", verify=True), open_run(place / "plain")
    files = ("images/cat/000000_cat.jpg", "images/ship/000001_ship.jpg", "images/automobile/000002_automobile.jpg")
    assert run.picture_files == files and run.config["output"]["quality"] == 80
    assert (
        np.array_equal(run.images, plain.images)
        and (place / "other/grid.png").read_bytes() == (place / "plain/grid.png").read_bytes()
    )
    assert not np.array_equal(run.pictures, plain.pictures)
    for image in run:
        with Image.open(place / "other" / image.file) as picture:
            assert picture.format == "JPEG" and np.array_equal(np.asarray(picture), image.pixels)
        (opinion,) = image.opinions.values()
        assert opinion.image == image.file and opinion.label == image.label
    page = (place / "other" / "report.html").read_text()
    assert all(file in page for file in files) and page.count("data:image/jpeg") >= 3
    assert (
        main(["evaluate", str(place / "other")]) == 0
        and main(["report", str(place / "other"), str(place / "plain"), "--out", str(place / "both.html")]) == 0
    )
    assert synthesize(place, "other", *changes) == 6
    assert main(["export", str(place / "other"), str(place / "set"), "--format", "jpeg", "--link"]) == 0
    assert (place / "set/cat/000000_cat.jpg").samefile(place / "other" / files[0])
    assert json.loads((place / "set/classes.json").read_text())["runs"][0]["models"][0]["sha256"]


@pytest.mark.parametrize(("change", "message"), [
    ("output.layout=imagefolders", "output.layout"), ("output.format=jpg", "must be one of 'png', 'jpeg'"), ("output.quality=0", "output.quality"),
    ("output.quality=90", "output.quality: is for output.format"), ("output.quality=101", "output.quality"), ("output.formats=png", "did you mean 'output.format'"),
])  # fmt: skip
def test_mistakes_in_it_are_told_before_anything_is_made(change, message, place, capsys):
    assert synthesize(place, "wrong", change) == 2 and not (place / "wrong").exists()
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_quality_of_a_png_is_refused_in_python():
    import jinv

    table = {
        "model": "net",
        "image": {"labels": [1], "size": 8},
        "stages": [{"steps": 1}],
        "terms": {"cross_entropy": {}},
    }
    assert jinv.Recipe(**table).output.layout == "flat"
    with pytest.raises(UsageError, match="output.quality"):
        jinv.Recipe(**table, output={"quality": 5})
