"""`jinv train` and `jinv distill` as a user has them: directories, interruptions, what is wrong in one line."""

import hashlib
import json
import shutil

import numpy as np
import pytest

import jinv
from jinv.cli import main
from jinv.errors import Interrupted
from jinv.files import write_text
from jinv.images.codec import png_bytes
from jinv.recipe.resolved import table_of
from jinv.recipe.training import DistillationRecipe, TrainingRecipe, read_training
from jinv.record.config import signed_text
from jinv.record.training import read_training_record
from jinv.students import distill as distillation
from jinv.students import train as training
from jinv.students.pictures import Pictures
from tests.networks import CLASSES

pytestmark = pytest.mark.usefixtures("one_block", "unoptimized")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures of every class, of a colour of its own; as many others are beside them."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for place in ("train", "test"):
        for label, name in enumerate(CLASSES):
            (root / place / name).mkdir(parents=True)
            for i in range(6):
                pixels = np.clip(random.normal(25 * label + 12, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                (root / place / name / f"{i}.png").write_bytes(png_bytes(pixels))
    return root / "train"


def config(folder, **more):
    lines = {"architecture": "one_block", "epochs": 3, "batch": 20, "train": str(folder)} | more
    lines = {"test": str(folder.with_name("test"))} | lines
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items()) + "\n[augment.flip]\n"


def files(directory):
    wanted = ("model.safetensors", "metrics.jsonl", "config.toml")
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in wanted}


def test_a_network_is_trained_tested_and_can_be_loaded(tmp_path, folder, capsys):
    (tmp_path / "c.toml").write_text(config(folder) + "[attack]\neps = [8]\nsteps = 2\n")
    out = tmp_path / "out"
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    record = read_training_record(out)
    assert record.finished and record.images == 60 and [t.eps for t in record.tested] == [None, 8.0]
    assert f"{record.tested[0].right} of 60" in said
    network = jinv.load(out / "model.safetensors")
    assert network.class_names == CLASSES and network.architecture == "one_block"
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6, 9]
    assert "attacked within 8/255" in (out / "training.html").read_text()
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(out)]) == 6
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(out), "--resume"]) == 0
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(out), "--resume", "--set", "batch=10"]) == 6
    assert "batch: 20 then, 10 now" in capsys.readouterr().err
    assert_tested_as_it_is_asked(tmp_path, out, capsys)


def assert_tested_as_it_is_asked(tmp_path, out, capsys):
    """A finished training whose tests are asked for otherwise, and whose network is another one or gone."""
    before, again = read_training_record(out), ["train", str(tmp_path / "c.toml"), "--out", str(out), "--resume"]
    for name in ("checkpoint.npz", "checkpoint_before.npz"):
        (out / name).write_bytes(b"left by a kill")
    assert main([*again, "--set", "attack.eps=[2,8]"]) == 0
    record = read_training_record(out)
    assert [t.eps for t in record.tested] == [None, 2.0, 8.0] and record.tested[::2] == before.tested
    assert record.network_sha256 == before.network_sha256 and record.wall_seconds == before.wall_seconds
    assert not list(out.glob("checkpoint*")) and "attacked within 2/255" in (out / "training.html").read_text()
    (out / "config.toml").unlink()  # as of a training that was begun under no attack
    write_text(
        out / "config.toml",
        signed_text(table_of(read_training(tmp_path / "c.toml", TrainingRecipe, ("attack.eps=[]",)))),
    )
    assert main(again) == 0 and [t.eps for t in read_training_record(out).tested] == [None, 8.0]
    (out / "model.safetensors").rename(out / "other.safetensors")
    assert main(again) == 5
    assert "model.safetensors: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("stops", [[4], [1, 2, 9]])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, folder, monkeypatch, stops):
    recipe = TrainingRecipe(
        architecture="one_block", epochs=3, batch=20, train=str(folder), average=0.5, mix={"name": "mixup"},
        adversary={"name": "n_fgsm"}, augment={"flip": {}},
    )  # fmt: skip
    training.train(recipe, tmp_path / "whole")
    original, count = training.Saving.due, 0

    def due(self):
        nonlocal count
        count += 1
        if stops and count == stops[0]:
            stops.pop(0)
            self.stop.asked = True
        return original(self)

    monkeypatch.setattr(training.Saving, "due", due)
    while True:
        try:
            training.train(recipe, tmp_path / "parts", resume=True)
            break
        except Interrupted:
            count = read_step(tmp_path / "parts")
    assert not stops
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def read_step(directory):
    with np.load(directory / "checkpoint.npz", allow_pickle=False) as found:
        return int(found["position"][2])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("adversary.eps=4", "adversary.eps: of which one? Set adversary.name, such as 'pgd'"),
        ("mix.alpha=0.2", "mix.alpha: of which one? Set mix.name, such as 'cutmix'"),
        ("attack.steps=5", "attack.steps: of which attack? Set attack.eps, such as 8"),
        ("adversary={name='n_fgsm',steps=10}", "adversary.steps: is of name = 'pgd', and has no effect on 'n_fgsm'"),
        ("adversary={name='pgd',noise=2}", "adversary.noise: is of name = 'n_fgsm', and has no effect on 'pgd'"),
        ("batch=61", "--set batch: 61 must be at most 60, the number of images of train\n"),
        ("count=19", ".toml: batch: 20 must be at most 19, the number of images of train (count)\n"),
        ("augment.flip.draw=batch", "augment.flip.draw: is of a synthesis"),
        (
            "augment.gaussian_noise.std={schedule='linear',start=0.0,end=1.0}",
            "augment.gaussian_noise.std: a schedule is of a synthesis",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(tmp_path, folder, capsys, setting, words):
    (tmp_path / "c.toml").write_text(config(folder))
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out"), "--set", setting]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"train": "nowhere.zip"}, 5, "nowhere.zip: no such folder or zip of images"),
        ({"architecture": "resnet2"}, 2, "architecture: no such network 'resnet2'"),
        ({"epoch": 3}, 2, "unknown key 'epoch' (did you mean 'epochs'?)"),
        ({"count": 61}, 2, "count: 61 images, train has 60"),
        ({"optimizer": "sgdd"}, 2, "optimizer: no such optimizer 'sgdd'"),
        ({"learning_rate": -1}, 2, "learning_rate: -1 must be a finite number of at least 0"),
        ({"init": "nothing.safetensors"}, 5, "nothing.safetensors: no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(tmp_path, folder, capsys, changed, code, words):
    (tmp_path / "c.toml").write_text(config(folder, **changed))
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1 and words in said[0]
    assert not (tmp_path / "out").exists()


def test_no_network_is_tested_on_what_it_was_trained_on(tmp_path, folder, capsys):
    """Neither under the same name, nor a link's, nor where a copy lies; nor as one of several folders."""
    (tmp_path / "c.toml").write_text(config(folder))
    (tmp_path / "link").symlink_to(folder)
    shutil.copytree(folder, tmp_path / "copy")
    asked = ["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out"), "--set"]
    for settings in (
        [f"test={folder}"],
        [f"test={tmp_path / 'link'}", "count=30"],
        [f"test={tmp_path / 'copy'}", "count=30"],
        [f"train=['{folder}', '{folder.with_name('test')}']"],
    ):
        assert main([*asked, *settings]) == 2 and not (tmp_path / "out").exists()
        error = capsys.readouterr().err
        assert (
            ("c.toml: train: " in error or "--set train: " in error)
            and "test" in error
            and "to have never seen" in error
        )


def test_a_batch_that_nobody_set_is_as_large_as_there_are_images(tmp_path, folder):
    recipe = read_training(written(tmp_path / "c.toml", config(folder, epochs=1), "batch = 20\n"), TrainingRecipe)
    training.train(recipe, tmp_path / "out")
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]
    # The record says which it was, and is a config that can be carried out.
    again = read_training(tmp_path / "out" / "config.toml", TrainingRecipe)
    assert again.batch == 60 and "batch" in again.model_fields_set
    training.train(recipe, tmp_path / "out", resume=True)


def written(path, text, without):
    assert text.count(without) == 1
    path.write_text(text.replace(without, ""))
    return path


def test_pictures_in_no_class_folder_are_named(tmp_path, folder, capsys):
    strange = tmp_path / "pictures"
    (strange / "unicorn").mkdir(parents=True)
    (strange / "unicorn" / "1.png").write_bytes(png_bytes(np.zeros((32, 32, 3), np.uint8)))
    (tmp_path / "c.toml").write_text(config(strange))
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "unicorn/1.png lies in no class' folder (1 of 1 do not" in capsys.readouterr().err


def test_a_draw_has_every_class_as_often_as_there_are():
    labels = np.repeat(np.arange(4, dtype=np.int32), [10, 10, 10, 2])
    drawn = Pictures(np.zeros((32, 1, 1, 3), np.uint8), labels).drawn(14, seed=1)
    assert np.bincount(drawn.labels).tolist() == [4, 4, 4, 2]
    assert not np.array_equal(drawn.labels, np.sort(drawn.labels))


def test_a_distillation_compares_sources_with_real_images_and_goes_on(tmp_path, folder, capsys, monkeypatch):
    (tmp_path / "teacher.toml").write_text(config(folder, epochs=20))
    assert main(["train", str(tmp_path / "teacher.toml"), "--out", str(tmp_path / "teacher")]) == 0
    (tmp_path / "images.toml").write_text(
        'model = "none.safetensors"\n[image]\nlabels = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\nbatch = 10\n'
        "[[stages]]\nsize = 32\nsteps = 2\n[terms.cross_entropy]\n"
    )
    shutil.copytree(folder, tmp_path / "test")
    (tmp_path / "test" / "cat" / "0.png").unlink()
    (tmp_path / "compete.toml").write_text((tmp_path / "images.toml").read_text() + "[terms.competition]\n")
    text = f"""
teacher = "teacher/model.safetensors"
count = 20
seeds = [0, 1]
test = "{tmp_path / "test"}"
[student]
architecture = "one_block"
epochs = 2
batch = 10
temperature = 4
[images.real]
real = "{folder}"
[images.dream]
recipe = "images.toml"
[images.adaptive]
recipe = "compete.toml"
after = "dream"
"""
    (tmp_path / "d.toml").write_text(text)
    assert_found_before_anything_is_made(tmp_path, capsys)
    assert main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "d")]) == 0
    record = json.loads((tmp_path / "d" / "distillation.json").read_text())
    assert [source["name"] for source in record["sources"]] == ["real", "dream", "adaptive"]
    assert record["teacher"] == str(tmp_path / "teacher" / "model.safetensors")
    assert all(len(source["students"]) == 2 and source["images"] == 20 for source in record["sources"])
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "d")]) == main(["status", str(tmp_path / "d")]) == 0
    assert "  adaptive (recipe): 2 of 2 students, right " in capsys.readouterr().out
    real, dream, adaptive = record["sources"]
    assert "behind" not in real
    assert dream["behind"]["value"] == pytest.approx(dream["share"]["value"] - real["share"]["value"])
    assert len(jinv.open_run(tmp_path / "d" / "images" / "adaptive")) == 10
    student = jinv.load(tmp_path / "d" / "students" / "dream" / "seed_0" / "model.safetensors")
    manifest = jinv.open_run(tmp_path / "d" / "images" / "adaptive").manifest
    assert manifest.student_sha256 == student.source["source_sha256"]
    # From the same seed every image would have a twin among those of the other source.
    assert manifest.seed == jinv.open_run(tmp_path / "d" / "images" / "dream").manifest.seed + 1
    capsys.readouterr()
    (tmp_path / "d.toml").write_text(text + f'[images.run]\nrun = "{tmp_path / "d" / "images" / "dream"}"\n')
    assert main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "d"), "--resume"]) == 0
    again = json.loads((tmp_path / "d" / "distillation.json").read_text())
    assert again["sources"][:3] == record["sources"]
    assert again["sources"][3]["sha256"] == dream["sha256"]
    assert (
        main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "d"), "--resume", "--set", "count=10"]) == 6
    )
    assert "count: 20 then, 10 now" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "_carry_out", stopped)
        assert main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "d"), "--resume"]) == 75
    assert json.loads((tmp_path / "d" / "distillation.json").read_text())["sources"] == again["sources"]
    assert main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "teacher"), "--resume"]) == 6
    assert "not a distillation (no distillation.json)" in capsys.readouterr().err


def stopped(bench, *_):
    raise Interrupted(f"{bench.directory}: stopped")


def assert_found_before_anything_is_made(tmp_path, capsys):
    """Mistakes that would be met only after the first source's images and students."""
    teacher = tmp_path / "teacher" / "model.safetensors"
    (tmp_path / "like_a_run").mkdir()
    (tmp_path / "like_a_run" / "manifest.json").write_text("{}")
    for setting, words, code in (
        ("student.optimizer=sgdd", "--set student.optimizer: no such optimizer 'sgdd'", 2),
        (
            "student.architecture=one_blok",
            "--set student.architecture: no such network 'one_blok'",
            2,
        ),
        ("student.init=nosuchnet", "--set student.init: 'nosuchnet' is no ", 2),
        (
            f"student={{architecture='resnet20',epochs=1,init='{teacher}'}}",
            f"--set student.init: {teacher} is a one_block",
            4,
        ),
        ("teacher=nosuchnet", "--set teacher: 'nosuchnet' is no ", 2),
        (
            "images.adaptive.set=['terms.unknown.weight=1']",
            ".toml with --set images.adaptive.set: images.adaptive: terms.unknown: no such term",
            2,
        ),
        ("images.dream.recipe=nosuch.toml", ".toml with --set images.dream.recipe: images.dream: ", 5),
        (f"images.real.real={tmp_path / 'test'}", ".toml with --set images.real.real: images.real: ", 2),
        (f"images.real.real={tmp_path / 'like_a_run'}", "is a run; real images are asked for", 2),
        (f"test={tmp_path / 'like_a_run'}", "--set test: ", 2),
        (f"images.dream={{run='{tmp_path / 'test'}'}}", "--set images.dream: ", 5),
        ("images.dream.set=['image.count=3']", "images.dream.set: image.count: is not set here; count says it", 2),
        ("images.dream.set=['model=\"x\"']", "images.dream.set: model: is not set here; images.dream.model says it", 2),
        ("student.adversary={name='pgd',eps=0.031}", "student.adversary.eps: 0.031 must be at least 0.25 levels", 2),
        ("student.adversary={name='n_fgsm',eps=0}", "student.adversary.eps: 0 must be at least 0.25 levels", 2),
        ("count=100", "images.real: ", 2),
        ("student.batch=21", "--set student.batch: 21 must be at most 20, the number of images of every source", 2),
        ("student.adversary={name='pgd',noise=2}", "student.adversary.noise: is of name = 'n_fgsm'", 2),
        ("seeds=[0,1,0]", "seeds: [0, 1, 0] has one twice", 2),
    ):
        found = main(["distill", str(tmp_path / "d.toml"), "--out", str(tmp_path / "d"), "--set", setting])
        error = capsys.readouterr().err
        assert words in error and error.count("jinv: error") == 1, (setting, error)
        assert found == code, (setting, error)
        assert not (tmp_path / "d").exists()


PLUGIN = """
import jax
import numpy as np


def of_numpy(key: jax.Array, image: jax.Array) -> jax.Array:
    return jax.numpy.asarray(np.sort(image))


def of_nothing(key: jax.Array, image: jax.Array) -> jax.Array:
    return image * jax.numpy.nan
"""


def test_a_network_that_is_no_number_is_not_saved_and_what_cannot_be_traced_not_begun(tmp_path, folder, capsys):
    """A ReLU makes zeros of NaNs: the loss of such a network is finite."""
    (tmp_path / "c.toml").write_text(config(folder, epochs=1))
    (tmp_path / "own.py").write_text(PLUGIN)
    asked = [
        "train",
        str(tmp_path / "c.toml"),
        "--out",
        str(tmp_path / "out"),
        "--plugin",
        str(tmp_path / "own.py"),
        "--set",
    ]
    assert main([*asked, "augment.of_numpy={}"]) == 2 and not (tmp_path / "out").exists()
    assert "--set augment.of_numpy: cannot be carried out: TracerArrayConversionError at " in capsys.readouterr().err
    assert main([*asked, "augment.of_nothing={}"]) == 7 and not (tmp_path / "out" / "model.safetensors").exists()
    assert "stopped being finite in epoch 1" in capsys.readouterr().err


def test_sources_are_as_many_of_each_class():
    recipe = DistillationRecipe.model_construct(count=5, images={"run": {"run": "somewhere"}}, seeds=(0,))
    bench = object.__new__(distillation.Bench)
    object.__setattr__(bench, "recipe", recipe)
    labels = np.repeat(np.arange(5, dtype=np.int32), 4)
    run = Pictures(np.zeros((20, 1, 1, 3), np.uint8), labels)
    drawn = distillation._chosen(bench, "run", run, 3)
    assert np.bincount(drawn.labels).tolist() == [1] * 5
