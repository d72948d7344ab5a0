"""`jinv export` as those who train on it read it: by torchvision's rule and timm's, written here anew, and by Pillow."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.files import atomic_directory
from jinv.record.run import open_run
from jinv.weights.labels import class_names, folder_class
from tests.small_runs import write_run

ROOT = Path(__file__).resolve().parents[2]
CIFAR = class_names("cifar10")


def image_folder(root, allow_empty=False):
    """What torchvision.datasets.ImageFolder says: [(path, index)], {folder: index}."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    assert classes, "Couldn't find any class folder"
    index, samples = {name: i for i, name in enumerate(classes)}, []
    for name in classes:
        files = [Path(at, f) for at, _, files in sorted(os.walk(root / name, followlinks=True)) for f in sorted(files)]
        pictures = [file for file in files if file.name.lower().endswith((".jpg", ".jpeg", ".png"))]
        assert pictures or allow_empty, f"Found no valid file for the classes {name}"
        samples += [(file, index[name]) for file in pictures]
    return samples, index


def timm_folder(root, class_map=None):
    """What timm's folder reader says: {path: index}; folders in natural order, or a class map's, which has one per line."""
    walked = [Path(at, name) for at, _, names in os.walk(root, followlinks=True) for name in names]
    files = [file for file in walked if file.name.endswith((".jpg", ".png"))]

    def natural(name):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name.lower())]

    order = class_map.read_text().split() if class_map else sorted({file.parent.name for file in files}, key=natural)
    index = {name: i for i, name in enumerate(order)}
    return {file: index[file.parent.name] for file in files if file.parent.name in index}


def rows(directory):
    with (directory / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def run(arguments, capsys):
    code = main(["export", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.fixture
def cifar(tmp_path):
    """A run with two images of every class, in no order."""
    labels = np.random.default_rng(0).permutation(20) % 10
    write_run(tmp_path / "cifar", labels.tolist(), [CIFAR[i] for i in labels])
    return tmp_path / "cifar"


def test_folders_count_as_labels_for_torchvision_and_timm(cifar, tmp_path, capsys):
    out = tmp_path / "out"
    code, said = run([cifar, out], capsys)
    assert code == 0 and said.out == f"{out}: 20 images of 10 classes\n" and "ImageFolder" not in said.err
    samples, index = image_folder(out)
    assert list(index) == list(CIFAR) and len(samples) == 20
    record = open_run(cifar)
    for path, label in samples:
        image = record[int(path.name[:6])]
        assert label == image.label and (pixels(path) == image.pixels).all()
        assert path.read_bytes() == (cifar / image.file).read_bytes() and not path.is_symlink()
    assert timm_folder(out) == dict(samples) == timm_folder(out, out / "class_map.txt")
    assert hidden(tmp_path) == []


def test_lists_say_where_each_image_is_from(cifar, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([cifar, out], capsys)[0] == 0
    table = rows(out)
    assert [row["file"] for row in table] == [
        f"{CIFAR[i.label]}/{i.index:06d}_{i.class_name}.png" for i in open_run(cifar)
    ]
    assert all(row["run"] == str(cifar) and (cifar / row["source"]).is_file() for row in table)
    assert {row["sha256"] for row in table} <= set(open_run(cifar).manifest.outputs.values())
    about = json.loads((out / "classes.json").read_text())
    assert about["classes"][3] == {"label": 3, "folder": "cat", "class_name": "cat", "images": 2}
    assert about["runs"][0]["images"] == about["runs"][0]["of"] == 20 and about["quality"] is None


@pytest.mark.parametrize(("names", "folders"), [
    ({1: "goldfish", 0: "tench", 999: "toilet tissue"}, ["n01440764", "n01443537", "n15075141"]),
    ({12: "The Cat", 3: "ship", 0: "fish"}, ["0000_fish", "0003_ship", "0012_the-cat"]),
])  # fmt: skip
def test_of_some_classes_the_order_is_kept_and_the_numbers_on_demand(names, folders, tmp_path, capsys):
    known = class_names("imagenet")
    names = {i: known[i] if 999 in names else name for i, name in names.items()}
    write_run(tmp_path / "run", names, names.values())
    out, full = tmp_path / "out", tmp_path / "full"
    code, said = run([tmp_path / "run", out], capsys)
    assert code == 0 and "3 of " in said.err and "--all-classes" in said.err
    assert list(image_folder(out)[1]) == folders and sorted(timm_folder(out).values()) == [0, 1, 2]
    assert sorted(timm_folder(out, out / "class_map.txt").values()) == sorted(names)
    assert run([tmp_path / "run", full, "--all-classes"], capsys)[0] == 0
    assert sorted(label for _, label in image_folder(full, allow_empty=True)[0]) == sorted(names)
    everything = known if 999 in names else [names.get(i, "") for i in range(13)]
    for path, label in image_folder(full, allow_empty=True)[0]:
        assert folder_class(path.relative_to(full).as_posix(), everything) == label


def test_a_flat_export_has_no_folders(cifar, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([cifar, out, "--layout", "flat", "--format", "jpeg", "--quality", "60"], capsys)[0] == 0
    assert not any(path.is_dir() for path in out.iterdir()) and len(list(out.glob("*.jpg"))) == 20
    assert {p.name for p in out.iterdir()} - {r["file"] for r in rows(out)} == {"classes.json", "labels.csv"}
    assert json.loads((out / "classes.json").read_text())["quality"] == 60


def test_jpegs_lose_as_little_as_their_quality_says(tmp_path, capsys):
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    write_run(tmp_path / "run", [0], ["airplane"], size=(64, 64))
    Image.fromarray(smooth).save(tmp_path / "run/images/000000_airplane.png")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest | {"outputs": {}}))
    files = {}
    for quality in ("10", None, "100"):
        out = tmp_path / f"q{quality}"
        chosen = ["--quality", quality] if quality else []
        assert run([tmp_path / "run", out, "--format", "jpeg", *chosen], capsys)[0] == 0
        files[quality] = out / "airplane" / "000000_airplane.jpg"
        with Image.open(files[quality]) as image:
            assert image.format == "JPEG" and image.size == (64, 64)
    errors = [np.abs(pixels(file).astype(int) - smooth).mean() for file in files.values()]
    assert errors[0] > errors[1] >= errors[2] and errors[2] < 1
    assert files["10"].stat().st_size < files[None].stat().st_size < files["100"].stat().st_size


@pytest.mark.parametrize("how", ["--link", "--symlink"])
def test_links_are_the_runs_own_files(how, cifar, tmp_path, capsys):
    out = tmp_path / "sets" / "out"
    assert run([how, cifar, out], capsys)[0] == 0
    for path, _ in image_folder(out)[0]:
        own = cifar / open_run(cifar)[int(path.name[:6])].file
        assert path.samefile(own) and path.is_symlink() == (how == "--symlink")
    code, said = run([how, cifar, tmp_path / "jpegs", "--format", "jpeg"], capsys)
    assert code == 0 and "20 images were written: the run has no jpeg files" in said.err
    if how == "--symlink":  # relative: they move together
        shutil.copytree(tmp_path, tmp_path.with_name("moved"), symlinks=True)
        shutil.rmtree(cifar)
        assert all(pixels(p).shape == (8, 6, 3) for p, _ in image_folder(tmp_path.with_name("moved") / "sets/out")[0])


def test_several_runs_go_into_one_folder(cifar, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    write_run(tmp_path / "b" / "cifar", [3, 0], ["cat", "airplane"])
    write_run(tmp_path / "c", [5], ["dog"])
    out = tmp_path / "out"
    assert run([cifar, tmp_path / "b" / "cifar", tmp_path / "c", out], capsys)[0] == 0
    samples, index = image_folder(out)
    assert len(samples) == 23 and list(index) == list(CIFAR)
    assert (out / "cat/cifar-2_000000_cat.png").is_file() and (out / "dog/c_000000_dog.png").is_file()
    for row in rows(out):
        assert (pixels(out / row["file"]) == open_run(row["run"])[int(row["index"])].pixels).all()


def test_runs_of_other_classes_are_not_mixed(cifar, tmp_path, capsys):
    write_run(tmp_path / "other", [3], ["tiger shark"])
    code, said = run([cifar, tmp_path / "other", tmp_path / "out"], capsys)
    assert code == 2 and "label 3 is 'cat'" in said.err and not (tmp_path / "out").exists()
    code, said = run([cifar, f"{cifar}/../cifar", tmp_path / "out"], capsys)
    assert code == 2 and "named twice" in said.err


def test_the_finished_part_of_an_unfinished_run_is_exported(tmp_path, capsys):
    images = write_run(tmp_path / "run", [3, 0, 5], ["cat", "airplane", "dog"], finished=False)
    code, said = run([tmp_path / "run", tmp_path / "out"], capsys)
    assert code == 0 and "not finished: 2 of its 3 images" in said.err and "2 images of 2 classes" in said.out
    expected = np.rint(np.clip(images[1] * [0.25, 0.2, 0.3] + [0.5, 0.4, 0.3], 0, 1) * 255)
    assert np.abs(pixels(tmp_path / "out/airplane/000001_airplane.png") - expected).max() <= 1
    assert rows(tmp_path / "out")[0]["source"] == "images/000000_cat.png"
    shutil.move(tmp_path / "run" / "images" / "000001_airplane.png", tmp_path / "run" / "units/000/000000")
    code, said = run(["--symlink", tmp_path / "run", tmp_path / "none"], capsys)
    assert code == 5 and "000001_airplane.png: is not in the run's images/ yet" in said.err
    assert said.err.count("\n") == 1 and not (tmp_path / "none").exists()
    assert run(["--link", tmp_path / "run", tmp_path / "links"], capsys)[0] == 0
    shutil.rmtree(tmp_path / "run" / "images")
    (tmp_path / "run" / "units/000/000000/000001_airplane.png").unlink()
    code, said = run([tmp_path / "run", tmp_path / "none"], capsys)
    assert code == 5 and "none of its images is finished yet" in said.err and not (tmp_path / "none").exists()


def test_what_is_there_is_not_overwritten(cifar, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    assert run([cifar, out], capsys)[0] == 0  # an empty directory is none
    (out / "cat" / "mine.png").write_bytes(b"")
    code, said = run([cifar, out], capsys)
    assert code == 6 and "--replace" in said.err and (out / "cat" / "mine.png").exists()
    assert run([cifar, out, "--replace", "--layout", "flat"], capsys)[0] == 0
    assert not (out / "cat").exists() and len(list(out.glob("*.png"))) == 20 and hidden(tmp_path) == []
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.png").write_bytes(b"")
    code, said = run([cifar, tmp_path / "photographs", "--replace"], capsys)
    assert code == 6 and "no export" in said.err and (tmp_path / "photographs" / "a.png").exists()


@pytest.mark.parametrize(("words", "code", "message"), [
    (["nowhere", "out"], 5, "nowhere: no such directory"),
    (["photo", "out"], 5, "photo: not a directory"),
    (["sweep", "out"], 5, "a sweep, whose runs are its folders"),
    (["cifar"], 2, "DIR"),
    (["cifar", "cifar"], 2, "is in the run"),
    (["cifar", "cifar/out"], 2, "is in the run"),
    (["cifar", "link/out"], 2, "is in the run"),
    (["cifar", "cifar", "--replace"], 2, "is in the run"),
    (["cifar", "photo"], 5, "photo: is a file"),
    (["cifar", "photo", "--replace"], 5, "photo: is a file"),
    (["cifar", "photo/out"], 5, "photo/out: cannot be written: "),
    (["cifar", "out", "--layout", "imagefolders"], 2, "did you mean 'imagefolder'?"),
    (["cifar", "out", "--format", "jpg"], 2, "did you mean 'jpeg'?"),
    (["cifar", "out", "--format", "jpeg", "--quality", "0"], 2, "--quality 0: must be from 1 to 100"),
    (["cifar", "out", "--format", "jpeg", "--quality", "101"], 2, "--quality 101: must be from 1 to 100"),
    (["cifar", "out", "--format", "jpeg", "--quality", "best"], 2, "--quality best: must be a whole number"),
    (["cifar", "out", "--quality", "90"], 2, "--quality 90: is for --format jpeg"),
    (["cifar", "out", "--layout", "flat", "--all-classes"], 2, "--all-classes: is for"),
    (["cifar", "out", "--link", "--symlink"], 2, "not allowed with"),
    (["cifar", "out", "--symlinks"], 2, "did you mean '--symlink'?"),
])  # fmt: skip
def test_a_newcomers_mistakes_get_one_line_and_leave_nothing(
    words, code, message, cifar, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("photo").write_bytes(b"x")
    Path("link").symlink_to("cifar")
    Path("sweep").mkdir()
    Path("sweep/sweep.json").write_text("{}")
    before = sorted(p for p in tmp_path.rglob("*"))
    found, said = run(words, capsys)
    assert found == code and message in said.err and said.err.count("\n") == 1, said.err
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_export_that_holds_the_run_is_not_replaced(cifar, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([cifar, out], capsys)[0] == 0
    shutil.move(cifar, out / "cifar")
    code, said = run([out / "cifar", out, "--replace"], capsys)
    assert code == 2 and "has the run" in said.err and (out / "cifar" / "manifest.json").exists()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("form", ["png", "jpeg"])
@pytest.mark.parametrize(("damage", "message"), [(flip, "altered"), (cut, "altered"), (Path.unlink, "19 images")])
def test_a_damaged_picture_is_named_and_nothing_is_left(damage, message, form, cifar, tmp_path, capsys):
    picture = sorted((cifar / "images").iterdir())[7]
    damage(picture)
    code, said = run([cifar, tmp_path / "out", "--format", form], capsys)
    assert code == 5 and message in said.err and (picture.name in said.err or message == "19 images")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar"]


def test_every_refused_write_leaves_what_was_there(cifar, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert run([cifar, out, "--layout", "flat"], capsys)[0] == 0
    before = sorted(p.name for p in out.iterdir())
    failures = 0
    for function in ("write_bytes", "mkdir", "write_text", "rename", "open", "fsync"):
        owner = os if function in ("rename", "fsync") else Path
        real = getattr(owner, function)
        for at in (1, 2, 3) if function == "fsync" else (1, 2, 3, 7, 21):
            calls = 0

            def failing(*args, real=real, at=at, function=function, **options):
                nonlocal calls
                if function == "fsync" or ".tmp" in str(args):
                    calls += 1
                    if calls == at:
                        raise OSError(28, "No space left on device")
                return real(*args, **options)

            monkeypatch.setattr(owner, function, failing)
            code, said = run([cifar, out, "--replace"], capsys)
            monkeypatch.setattr(owner, function, real)
            assert hidden(tmp_path) == [], (function, at)
            if calls >= at:
                failures += 1
                assert code == 5 and "No space left" in said.err, (function, at, said.err)
                assert sorted(p.name for p in out.iterdir()) == before, (function, at)
            else:
                assert code == 0
                assert run([cifar, out, "--replace", "--layout", "flat"], capsys)[0] == 0
    assert failures >= 15


def test_a_killed_export_leaves_nothing_under_its_name_and_the_next_one_cleans_up(cifar, tmp_path, capsys):
    program = (
        "import sys, time; from jinv.cli import main; from pathlib import Path; write = Path.write_text\n"
        "Path.write_text = lambda *a, **k: (print('here', flush=True), time.sleep(60), write(*a, **k))\n"
        "main(['export', *sys.argv[1:]])"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, str(cifar), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"here\n"
    beside = hidden(tmp_path)
    assert not out.exists() and len(beside) == 1
    with atomic_directory(out):  # another process' directory is not taken for abandoned while that lives
        assert beside[0] in hidden(tmp_path)
    shutil.rmtree(out)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert hidden(tmp_path) == beside and not out.exists()
    assert run([cifar, out], capsys)[0] == 0 and hidden(tmp_path) == []


def test_an_export_needs_no_jax(cifar, tmp_path):
    program = "import sys; from jinv.cli import main; code = main(['export', *sys.argv[1:]]); print(code, {'jax', 'flax', 'torch'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", program, str(cifar), str(tmp_path / "out")],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.stdout.splitlines()[-1] == "0 set()"
