"""Time to recognition: NVlabs' objective is the one that jinv's configs state, each second is counted once, mistakes are told."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import contestants, nvlabs, problem, recognition
from benchmarks.contestants import Case, Moment
from benchmarks.nvlabs import SETTINGS, Objective
from jinv.core.objective import TERMS, Term, evaluate_terms
from jinv.recipe.read import read_table
from jinv.weights.load import load
from jinv_convert.reference import make_reference
from tests.small_runs import save_tiny

CONFIGS = Path(__file__).parents[2] / "configs"
pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """(a converted ResNet-20, its tensors as PyTorch has them)."""
    folder = tmp_path_factory.mktemp("network")
    save_tiny(folder / "tiny.safetensors", 0)
    contestants.write_network(str(folder / "tiny.safetensors"), folder / "network.npz")
    return folder / "tiny.safetensors", folder / "network.npz"


def test_nvlabs_objective_is_the_one_that_jinvs_configs_of_it_state(network):
    """By jinv's terms, and by its forward of the same weights, which so are laid out rightly too."""
    arrays, weights = problem.read(network[1])
    assert str(arrays["architecture"]) == "resnet20"
    image = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    labels, classifier = np.array([1, 2, 3, 4], np.int32), load(network[0])
    result = jax.jit(classifier.forward)(classifier.variables, image, jnp.asarray(labels))
    torch_network = make_reference("resnet20")
    torch_network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    for setting, config in (("imagenet", "nvlabs_deepinversion"), ("cifar10_paper", "cifar10_deepinversion")):
        table = read_table(CONFIGS / f"peers/{config}.toml")["terms"]
        terms = [Term(name, TERMS[name], own.pop("weight", 1.0), own) for name, own in table.items()]
        expected, _ = evaluate_terms(terms, result, 0)
        objective = Objective(torch_network.eval(), SETTINGS[setting])
        with torch.no_grad():
            loss = objective(torch.from_numpy(image).permute(0, 3, 1, 2), torch.from_numpy(labels).long())
        np.testing.assert_allclose(float(loss), float(expected), rtol=1e-4)
        for layer in objective.norms:
            layer._forward_pre_hooks.clear()


@pytest.mark.parametrize(
    ("setting", "config"), [("imagenet", "nvlabs_deepinversion"), ("cifar10_paper", "cifar10_deepinversion")]
)
def test_the_numbers_are_those_of_jinvs_configs_of_the_same_programs(setting, config):
    table, own = read_table(CONFIGS / f"peers/{config}.toml"), SETTINGS[setting]
    stages = [(own.size // pooled, steps) for pooled, steps in own.stages]
    assert stages == [(stage["size"], stage["steps"]) for stage in table["stages"]]
    said = table["stages"][0]["learning_rate"]
    assert own.learning_rate == (said["peak"] if isinstance(said, dict) else said)
    assert own.batch == table["image"]["count"] and own.clip == (table["clip"] == "variable")
    assert own.flip == ("flip" in table["augment"])
    optimizer = table["stages"][0]["optimizer"]
    assert own.betas == (optimizer.get("b1", 0.9), optimizer.get("b2", 0.999))
    if setting == "imagenet":
        assert contestants.CLASSES["imagenet"] == tuple(table["image"]["labels"])


def test_the_rate_is_warmed_up_and_let_down_by_a_cosine():
    own = SETTINGS["imagenet"]
    assert nvlabs.rate(own, 0, 2000) == 0.25 / 100 and nvlabs.rate(own, 99, 2000) == 0.25
    assert nvlabs.rate(own, 1050, 2000) == pytest.approx(0.125)
    assert nvlabs.rate(own, 1999, 2000) == pytest.approx(0.125 * (1 + math.cos(math.pi * 1899 / 1900)))
    assert {nvlabs.rate(SETTINGS["cifar10_paper"], step, 2000) for step in (0, 1999)} == {0.05}


@pytest.fixture
def one_thread():
    """Several would wait for one another longer than steps this small take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_nvlabs_run_goes_through_its_stages_and_stays_within_black_and_white(network, tmp_path, monkeypatch):
    own = nvlabs.Setting(4, 16, ((2, 40), (1, 20)), 0.25, (0.5, 0.9), 10, 4, True, True, 1e-4, 1e-5, 1e-2, 10.0)
    monkeypatch.setitem(SETTINGS, "small", own)
    (tmp_path / "run").mkdir()
    (tmp_path / "network.npz").write_bytes(network[1].read_bytes())
    case = Case("cifar10", str(network[0]), "small", "", batches=2, batch=1, shrink=10, every=2)
    moments = list(contestants.run_nvlabs(case, tmp_path / "run", compiled=False))
    assert [moment[:4] for moment in moments] == [(b, *at) for b in (0, 1) for at in ((0, 2, 2), (0, 4, 4), (1, 2, 6))]
    first, last = (np.load(tmp_path / "run" / moments[i].file) for i in (0, 2))
    assert last.shape == (1, 16, 16, 3) and last.dtype == np.uint8 and (first != last).any()
    program = nvlabs.Program("resnet20", problem.read(network[1])[1], own.shrunk(1, 20), compiled=False)
    bound = np.full(3, 0.5)
    (*_, end) = program.run(np.array([1]), (-bound, bound), 1)
    assert np.abs(end.images).max() == 0.5  # of noise of deviation one
    assert end.stage == 1 and end.images.shape == (1, 16, 16, 3)


def moment(batch, stage, stage_step, step, seconds):
    return Moment(batch, stage, stage_step, step, seconds, "")


# A second a step, then two; ten and three seconds of compiling, in the first batch alone.
MOMENTS = [
    moment(0, 0, 5, 5, 15), moment(0, 0, 10, 10, 20), moment(0, 1, 5, 15, 33), moment(0, 1, 10, 20, 43),
    moment(1, 0, 5, 5, 5), moment(1, 0, 10, 10, 10), moment(1, 1, 5, 15, 20), moment(1, 1, 10, 20, 30),
]  # fmt: skip


def test_steps_are_counted_and_compiling_is_told_apart():
    assert recognition.seconds_at(MOMENTS[:4]) == {5: (5, 10), 10: (10, 10), 15: (20, 13), 20: (30, 13)}
    rows = recognition.curve(MOMENTS, [0, 1, 2, 3, 0, 0, 2, 3], [4] * 8)
    assert [(row["step"], row["seconds_per_image"], row["share"]) for row in rows] == [
        (5, 10 / 8, 0), (10, 20 / 8, 1 / 8), (15, 40 / 8, 4 / 8), (20, 60 / 8, 6 / 8),
    ]  # fmt: skip
    assert [row["seconds_per_recognised"] for row in rows] == [None, 20, 10, 10]
    assert rows[-1]["compiling_seconds"] == 13


def test_jinv_is_compared_by_recognised_images_and_to_the_same_share():
    ours = recognition.curve(MOMENTS, [0, 1, 2, 3, 0, 0, 2, 3], [4] * 8)
    slower = [row | {"seconds_per_image": 50.0, "share": 0.5, "seconds_per_recognised": 100.0} for row in ours]
    none = [row | {"share": 0.9, "recognised": 0, "seconds_per_recognised": None} for row in ours]
    assert recognition.compare({"a": slower, "b": none, "jinv": ours}) == {
        "a": {"per_recognised": 10, "to_the_same_share": 10},
        "b": {"per_recognised": None, "to_the_same_share": None},
    }
    assert recognition.compare({"a": slower}) == {}


def test_jinvs_recipe_is_its_galleries_with_the_cases_classes(network):
    case = Case("cifar10", str(network[0]), "cifar10_pictures", str(recognition.RECIPES["cifar10"]), batches=3, batch=4)
    recipe = contestants.jinv_recipe(case)
    assert recipe.image.labels == (*range(10), 0, 1) and len(recipe.image.batches) == 3
    assert [stage.steps for stage in recipe.stages] == [300] and not recipe.evaluate.verifiers
    lite0 = Case("imagenet", "efficientnet_lite0", "imagenet", str(recognition.RECIPES["imagenet"]), shrink=10)
    assert [stage.steps for stage in contestants.jinv_recipe(lite0).stages] == [40, 10]


def test_a_result_is_judged_printed_drawn_and_written(network, tmp_path, monkeypatch, capsys):
    def contest(name, case, folder):
        (folder / name).mkdir()
        for step in (2, 4):
            np.save(folder / name / f"{step}", np.full((3, 8, 8, 3), 10 * step, np.uint8))
        each = 1.0 if name == "jinv" else 5.0
        return [Moment(0, 0, step, step, each * step, f"{step}.npy") for step in (2, 4)]

    def judge(stranger, pictures, statistics):
        right = np.eye(10)[: len(pictures)]  # classes 0, 1, 2
        return type("Said", (), {"logits": right if pictures[0, 0, 0, 0] == 40 else -right})

    monkeypatch.setattr(recognition, "contest", contest)
    monkeypatch.setattr("jinv.judge.judge.judge", judge)
    monkeypatch.setattr("jinv.judge.onnx_judge.load_onnx", lambda path, tables: None)
    written, picture = tmp_path / "result.json", tmp_path / "curve.png"
    words = ["cifar10", "--network", str(network[0]), "--judge", "stranger.onnx", "--only", "nvlabs_eager", "jinv"]
    assert recognition.main([*words, "--json", str(written), "--picture", str(picture)]) == 0
    result = json.loads(written.read_text())
    assert [row["recognised"] for row in result["contestants"]["jinv"]] == [0, 3]
    assert result["ratios"]["nvlabs_eager"] == pytest.approx({"per_recognised": 5, "to_the_same_share": 5})
    assert picture.stat().st_size > 1000 and str(tmp_path) not in written.read_text()
    assert "jinv against nvlabs_eager: per recognised 5.0x, to the same share 5.0x" in capsys.readouterr().out


def test_a_network_of_other_classes_is_refused(network, monkeypatch, capsys):
    monkeypatch.setattr("jinv.judge.onnx_judge.load_onnx", lambda path, tables: None)
    assert recognition.main(["imagenet", "--network", str(network[0]), "--judge", "a.onnx"]) == 4
    assert "its classes are not those of imagenet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cifar10", "--judge", "a.onnx"], "--network and --judge: which files?"),
        (["imagenet"], "--judge: which FILE.onnx?"),
        (["imagenet", "--judge", "a.onnx", "--batch", "0"], "--batch 0: above 0"),
        (["imagenet", "--judge", "a.onnx", "--json", "/nowhere/x"], "no folder /nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(words, said, capsys):
    with pytest.raises(SystemExit):
        recognition.main(words)
    assert said in capsys.readouterr().err
    assert recognition.main(["imagenet", "--judge", "/nowhere/a.onnx"]) == 5
    assert capsys.readouterr().err == "recognition: /nowhere/a.onnx: cannot be read: No such file or directory\n"
