"""Every config of `jinv train` and `jinv distill` that comes with jinv is carried out: its own tables, on a small network and few pictures."""

import tomllib

import numpy as np
import pytest

from jinv.cli import main
from jinv.images.codec import png_bytes
from jinv.recipe.packaged import DISTILLATIONS, TRAININGS, find_config, packaged_names
from jinv.record.distillation import read_distillation
from jinv.record.training import read_training_record
from tests.networks import CLASSES

pytestmark = pytest.mark.usefixtures("one_block", "unoptimized")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder to train on and one to be tested on, of two pictures of every class each."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "test"):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for i in range(2):
                pixels = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                (root / part / name / f"{i}.png").write_bytes(png_bytes(pixels))
    return root


@pytest.fixture(scope="module")
def network(pictures, tmp_path_factory):
    """A network of one epoch."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "c.toml").write_text(f'architecture = "one_block"\nepochs = 1\nbatch = 10\ntrain = "{pictures}/train"\n')
    assert main(["train", str(folder / "c.toml"), "--out", str(folder / "out")]) == 0
    return folder / "out" / "model.safetensors"


@pytest.mark.parametrize("name", packaged_names(TRAININGS))
def test_a_training_runs(name, pictures, network, tmp_path):
    table = tomllib.loads(find_config(name, TRAININGS).read_text())
    changes = [
        "architecture=one_block", "epochs=1", "batch=10", f"train={pictures}/train", f"test={pictures}/test",
        *([f"init={network}"] if "init" in table else []),
        *(["attack.steps=1", "attack.eps=[8]"] if "attack" in table else []),
    ]  # fmt: skip
    assert main(["train", name, "--out", str(tmp_path / "out"), "--set", *changes]) == 0
    record = read_training_record(tmp_path / "out")
    assert record.finished and [test.eps for test in record.tested] == [None, *([8] if "attack" in table else [])]


@pytest.mark.parametrize("name", packaged_names(DISTILLATIONS))
def test_a_distillation_runs(name, pictures, network, tmp_path):
    images = tomllib.loads(find_config(name, DISTILLATIONS).read_text())["images"]
    changes = [
        f"teacher={network}", f"test={pictures}/test", "count=10", "seeds=[0]",
        "student.architecture=one_block", "student.epochs=1", "student.batch=5", f"images.real.real={pictures}/train",
    ]  # fmt: skip
    for source, table in images.items():
        if "recipe" in table:
            changed = [*table.get("set", []), "image.batch=10"]
            steps = [] if "stages.0.steps=0" in changed else ["stages.0.steps=2"]
            changes.append(f"images.{source}.set={changed + steps}")
        if "model" in table:
            changes.append(f"images.{source}.model={network}")
    assert main(["distill", name, "--out", str(tmp_path / "out"), "--set", *changes]) == 0
    record = read_distillation(tmp_path / "out")
    assert [source.name for source in record.sources] == [*images]
    assert all(source.images == 10 and len(source.students) == 1 for source in record.sources)
