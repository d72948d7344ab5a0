"""Networks that come with jinv: whole, what their records say, and found by name."""

import math
import shlex
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

import jinv
import jinv.weights.packaged as packaged
from jinv.cli import main
from jinv.errors import UnsafeInputError
from jinv.images.folder import open_image_folder
from jinv.judge.metrics import wilson_interval
from jinv.recipe.packaged import TRAININGS, find_config
from jinv.recipe.resolved import table_of
from jinv.recipe.training import TrainingRecipe, read_training
from jinv.record.training import EPOCHS, read_epochs, read_training_record
from jinv.students.pictures import Pictures
from jinv.training.accuracy import recognised
from jinv.training.adversary import Adversary
from jinv.weights.labels import folder_class
from jinv.weights.packaged import PACKAGED, packaged_training

COUNT, ATTACKED = 500, 60


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_network_is_the_one_that_was_trained(name, shared_data):
    network, record = jinv.load(name), read_training_record(packaged_training(name))
    assert record.finished and network.source["source_sha256"] == record.network_sha256
    assert network.class_names == record.class_names and network.input_size == 32
    plain = record.tested[0]
    assert plain.count == 10_000 and all(test.count == plain.count for test in record.tested)
    folder = open_image_folder(shared_data / "cifar10" / "test.zip")
    labels = np.array([folder_class(place, network.class_names) for place in folder.names], np.int32)
    chosen = np.random.default_rng(0).permutation(len(labels))[:COUNT]
    pixels = np.stack([pixels for _, pixels in folder.read([folder.names[i] for i in chosen])])
    assert_as_recorded(plain, recognised(network, network.variables, Pictures(pixels, labels[chosen]).data))
    for test in record.tested[1:]:
        attack = Adversary("pgd", test.eps / 255, test.step / 255, test.steps)
        some = Pictures(pixels[:ATTACKED], labels[chosen[:ATTACKED]]).data
        assert_as_recorded(test, recognised(network, network.variables, some, attack, jax.random.key(0)))


def assert_as_recorded(test, right):
    low, high = wilson_interval(int(right.sum()), len(right), 0.999)
    assert low < test.right / test.count < high


@pytest.mark.parametrize("name", PACKAGED)
def test_its_config_is_what_its_command_says_and_what_its_record_says(name):
    path = packaged_training(name) / "config.toml"
    recipe, record = read_training(path, TrainingRecipe), read_training_record(packaged_training(name))
    written = tomllib.loads(path.read_text())
    assert [written["test"], *written["train"]] == ["TEST", "TRAIN"] and Path(written["init"]).name == written["init"]
    program, command, config, _, *sets = shlex.split(path.read_text().splitlines()[0].removeprefix("#"))
    assert (program, command, config) == ("jinv", "train", f"training/{name}")
    typed = read_training(find_config(config, TRAININGS), TrainingRecipe, tuple(sets))
    files = ("train", "test", "init")
    one, other = (
        {key: value for key, value in table_of(each, every_key=True).items() if key not in files}
        for each in (typed, recipe)
    )
    assert one == other
    assert (recipe.architecture, recipe.seed) == (record.architecture, record.seed) and record.init_sha256
    attack = recipe.attack
    assert [(t.eps, t.steps, t.step) for t in record.tested[1:]] == [(e, attack.steps, attack.step) for e in attack.eps]
    assert_epochs_as_configured(written, record.images, read_epochs(packaged_training(name) / EPOCHS))


def assert_epochs_as_configured(config, images, lines):
    """As many as the config says, at its rates: of a linear warmup and half a cosine, written out here."""
    updates = images // config["batch"]
    assert [(line.epoch, line.step) for line in lines] == [(n, n * updates) for n in range(1, config["epochs"] + 1)]
    rate, total = config["learning_rate"], config["epochs"] * updates
    for line in lines:
        done, warmup = line.step - 1, rate["warmup"]
        assert rate["schedule"] == "warmup_cosine"
        part = (
            (done + 1) / warmup if done < warmup else (1 + math.cos(math.pi * (done - warmup) / (total - warmup))) / 2
        )
        assert line.learning_rate == pytest.approx(rate["peak"] * part, rel=1e-3)


def test_another_file_in_its_place_is_refused(monkeypatch):
    name = next(iter(PACKAGED))
    monkeypatch.setitem(packaged.PACKAGED, name, "0" * 64)
    with pytest.raises(UnsafeInputError, match=f"the one of the packaged {name}"):
        jinv.load(name)


def test_they_are_listed_with_what_they_recognise(capsys):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    for name in PACKAGED:
        plain = read_training_record(packaged_training(name)).tested[0]
        assert name in said and f"{plain.right / plain.count:.1%} of 10,000" in said


def test_they_need_no_conversion(tmp_path, capsys):
    name = next(iter(PACKAGED))
    assert main(["convert", name, str(tmp_path / "out.safetensors")]) == 2
    assert f"{name}: comes with jinv, converted" in capsys.readouterr().err
