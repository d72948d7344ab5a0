"""Runs of any number of images: a page of bounded bytes in bounded memory, with a sample of images and totals of all."""

import base64
import json
import re
import subprocess
import sys
import weakref

import numpy as np
import pytest

from jinv.images.codec import decode_image, png_bytes
from jinv.record import directory
from jinv.record.metrics import MetricsLine, iter_metrics
from jinv.report import gallery, page
from jinv.report.gallery import Room, sampled_text
from jinv.report.page import write_comparison, write_report
from jinv.report.view import read_run
from tests.report.test_report import Page, line, verdict

MOST_PAGE = 8_000_000


def large_run(path, count, classes, *, size=8, judges=2, missing=0, lines=(), blocks=False):
    """A run whose first judge is right on an image unless its number is a multiple of three; the second always, others never."""
    (path / "images").mkdir(parents=True)
    labels = [i * classes // count if blocks else i % classes for i in range(count)]
    names = [f"class {label}" for label in labels]
    pixels = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    for i in range(count - missing):
        (path / "images" / f"{i:06d}_x.png").write_bytes(png_bytes(pixels[i % 4]))
    manifest = {"schema": 1, "labels": labels, "class_names": names}
    (path / "manifest.json").write_text(json.dumps(manifest | {"finished": None if missing else "2026-01-01T00:00:00"}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    says = [[i % 3 != 0 for i in range(count)], [True] * count, [False] * count]
    verdicts = {f"judge_{j}": verdict(names, says[j]) for j in range(judges)}
    for said in verdicts.values():
        for i, opinion in enumerate(said["per_image"]):
            opinion |= {"label": labels[i]} | ({} if opinion["correct"] else {"class_name": f"taken {i % 2}"})
    if judges:
        (path / "evaluation.json").write_text(json.dumps({"verifiers": verdicts}))
    return path


def shown_images(text):
    """The bytes of the pictures in a page."""
    return [base64.b64decode(data) for data in re.findall(r"data:image/(?:png|jpeg);base64,([^\"]*)", text)]


@pytest.mark.parametrize(
    ("count", "classes", "words"),
    [
        (256, 10, None),
        (300, 10, "250 of 300 images are shown, the first 25 of every class"),
        (300, 1, "256 of 300 images are shown, the first 256;"),
        (300, 300, "256 of 300 images are shown, the first of 256 of the 300 classes"),
        (2000, 5, "255 of 2000 images are shown, the first 51 of every class"),
    ],
)
def test_a_page_shows_a_sample_by_class_and_says_so(tmp_path, count, classes, words):
    run = large_run(tmp_path / "run", count, classes, judges=0, size=2)
    path = write_report(run)
    found = Page(path)
    assert len(found.all("img")) == (int(words.split()[0]) if words else count)
    assert words in found.text if words else "are shown" not in found.text
    assert path.stat().st_size < 500_000 and "No other network has judged" not in found.text


def test_what_is_shown_is_said_in_words():
    assert sampled_text([1, 2], [2, 1]) == ""
    assert sampled_text([1, 1], [1] * 50_000) == "2 of 50\N{THIN SPACE}000 images are shown, the first 2"
    assert sampled_text([1], [1] * 9) == "1 of 9 images are shown, the first"
    assert sampled_text([1, 2], [1, 2] * 9) == "2 of 18 images are shown, the first of every class"
    assert (
        sampled_text([0], range(20_000))
        == "1 of 20\N{THIN SPACE}000 images are shown, the first of 1 of the 20\N{THIN SPACE}000 classes"
    )


def test_totals_are_of_all_images_however_many_are_shown(tmp_path):
    run = large_run(tmp_path / "run", 600, 6, judges=3)
    found = Page(write_report(run)).text
    right = sum(i % 3 != 0 for i in range(600))
    assert right == 400 and f"{right} of 600 recognised" in found and "600 of 600 recognised" in found
    # Nobody is never right, one always: all are divided.
    assert "0 recognised by all" in found and "600 by some" in found and "0 by none" in found
    totals = read_run(run).totals
    assert (totals.right, totals.divided, totals.wrong, totals.between) == (0, 600, 0, 0)
    rows = {row.name: row for row in totals.rows}
    # Of classes 0 and 3 every number is a multiple of three, of the others none.
    assert {name: [s.right for s in row.scores] for name, row in rows.items()} == {
        f"class {c}": [0 if c % 3 == 0 else 100, 100, 0] for c in range(6)
    }
    assert rows["class 2"].guess == "taken 0" and rows["class 3"].guesses == 200 and rows["class 3"].count == 100
    assert [row.share for row in totals.rows] == sorted((row.share for row in totals.rows), reverse=True)


def test_of_many_classes_the_best_and_the_worst_have_a_row(tmp_path):
    run = large_run(tmp_path / "run", 400, 40, judges=1)
    totals = read_run(run).totals
    assert len(totals.rows) + totals.between == totals.classes == 40 and totals.chart is not None
    assert "24 classes between these" in Page(write_report(run)).text
    few = read_run(large_run(tmp_path / "few", 120, 40, judges=1)).totals
    assert few.rows == () and few.chart is None and few.right == 80


def test_pictures_fit_their_room_by_leaving_some_out_before_they_shrink_far(tmp_path):
    run = large_run(tmp_path / "run", 60, 5, size=40, judges=0, blocks=True)
    exact = read_run(run, room=Room(60, 500_000, 10)).gallery
    assert exact.exact and len(exact.images) == 60 and exact.side is None
    for size, images in ((100_000, 60), (60_000, 30), (30_000, 10)):
        found = read_run(run, room=Room(60, size, 10)).gallery
        pictures = shown_images("".join(f'{image.source}"' for image in found.images))
        assert sum(map(len, pictures)) <= size and not found.exact
        assert images * 0.4 <= len(found.images) <= images, (size, len(found.images))
        assert set(np.bincount([image.label for image in found.images])) == {len(found.images) // 5}
        assert {decode_image(data, "x").shape for data in pictures} == {(40, 40, 3)}
    tiny = read_run(run, room=Room(60, 1, 10)).gallery
    assert len(tiny.images) == 1 and tiny.sampled.startswith(
        "1 of 60 images are shown, the first of 1 of the 5 classes"
    )


def test_large_pictures_shrink_and_keep_their_aspect(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SIDES", (16, 8, 4))
    run = large_run(tmp_path / "run", 10, 2, size=64, judges=0)
    (run / "images" / "000000_x.png").write_bytes(png_bytes(np.full((64, 16, 3), 99, np.uint8)))
    found = read_run(run, room=Room(10, 12_000, 10)).gallery
    assert found.side == 16 and len(found.images) == 10
    first, second = shown_images("".join(f'{image.source}"' for image in found.images[:2]))
    assert decode_image(first, "x").shape == (16, 4, 3) and decode_image(second, "x").shape == (16, 16, 3)
    assert (found.images[0].height, found.images[0].width) == (64, 16)


def test_real_images_beside_them_have_a_room_of_their_own(tmp_path):
    run = large_run(tmp_path / "run", 20, 2, judges=1)
    (run / "nearest").mkdir()
    entries = []
    for i in range(20):
        (run / "nearest" / f"{i:06d}_1.png").write_bytes(
            png_bytes(np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8))
        )
        entries.append({"image": f"images/{i:06d}_x.png", "neighbors": [{"name": f"real {i}", "distance": 1.0,
                                                                         "file": f"nearest/{i:06d}_1.png"}]})  # fmt: skip
    table = json.loads((run / "evaluation.json").read_text())
    table["verifiers"]["judge_0"]["reference"] = {
        "count": 9, "features": 2, "kernel_distance": {"withheld": "x"}, "overlap": {"withheld": "x"},
        "frechet_distance": {"withheld": "x"}, "nearest": entries, "sampled": 7,
    }  # fmt: skip
    table["verifiers"]["judge_0"]["sampled"] = 5
    (run / "evaluation.json").write_text(json.dumps(table))
    assert all(image.neighbors for image in read_run(run).gallery.images)
    found = read_run(run, room=Room(20, 40_000, 20)).gallery
    with_real = [image for image in found.images if image.neighbors]
    assert 0 < len(with_real) < 20 and with_real == found.images[: len(with_real)]
    assert len("".join(image.neighbors[0].source for image in with_real)) * 3 / 4 < 10_000 + 40 * len(with_real)
    words = "5 of the run's 20, 7 of the 9 real ones, drawn class by class"
    assert words in Page(write_report(run)).text


def test_a_run_that_goes_on_shows_what_is_there(tmp_path):
    run = large_run(tmp_path / "run", 900, 3, judges=0, missing=500)
    found = Page(write_report(run)).text
    assert "This run is not finished." in found
    # 400 are there: of class 0 one more than of the others.
    assert "255 of 400 images are shown, the first 85 of every class" in found


def test_a_comparison_is_bounded_in_runs_and_images(tmp_path, monkeypatch):
    one = large_run(tmp_path / "one", 90, 3, judges=1)
    two = large_run(tmp_path / "two", 3, 3, judges=0)
    monkeypatch.setattr(page, "MOST_IMAGES", 40)
    monkeypatch.setattr(page, "MOST_RUNS", 4)
    found = Page(write_comparison([one, two], tmp_path / "c.html"))
    assert len(found.all("img")) == 18 + 3 and "Not all images are shown" in found.text
    assert "runs are shown" not in found.text
    found = Page(write_comparison([one] * 9, tmp_path / "c.html"))
    assert len(found.all("img")) == 4 * 9 and "4 of 9 runs are shown, evenly spread over them." in found.text
    assert "60 of 90" in found.text
    small = Page(write_comparison([two, two], tmp_path / "c.html")).text
    assert "Not all images" not in small and "are shown" not in small


def test_no_line_is_kept(tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), 0

    def watched(path):
        nonlocal most
        for entry in iter_metrics(path):
            alive.add(found := Watched(**dict(entry)))
            del entry
            yield found
            most = max(most, len(alive))

    monkeypatch.setattr(directory, "iter_metrics", watched)
    logged = [line(step, 8 / step, batch=batch) for batch in range(3) for step in range(1, 21)]
    curves = read_run(large_run(tmp_path / "run", 4, 2, lines=logged)).curves
    assert len(curves.series("total").x) == 20 and len(curves.last) == 3 and 1 <= most <= 3


class Watched(MetricsLine):
    """A line that can be in a weak set."""

    __hash__ = object.__hash__


MAKE = """
import resource, sys
from jinv.report.page import write_report
print(write_report(sys.argv[1]).stat().st_size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_and_page_of_5000_images_are_those_of_200(tmp_path):
    weights = {}
    for count in (200, 5000):
        logged = [line(step, 8 / step, batch=batch) for batch in range(count // 100) for step in range(1, 61)]
        run = large_run(tmp_path / str(count), count, 10, size=32, judges=3, lines=logged)
        made = subprocess.run([sys.executable, "-c", MAKE, run], capture_output=True, text=True, check=True)
        weights[count] = tuple(map(int, made.stdout.split()))
    (small_page, small), (large_page, large) = weights[200], weights[5000]
    assert large_page < 1.4 * small_page < MOST_PAGE and large < 1.3 * small, weights
