"""A committee in a config: what is refused, what a run records of it, and everything around it that looks at networks."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from jinv.cli import main
from jinv.errors import UsageError
from jinv.experiment.experiment import load_experiment
from jinv.experiment.memory import check_fits, weight_bytes
from jinv.experiment.shared import Shared
from jinv.judge.relations import Pedigree, pedigrees_of, relation_of
from jinv.recipe.read import check_config
from jinv.record.directory import RunDirectory
from jinv.record.manifest import InvertedModel, Manifest
from jinv.runs.checks import check_same
from jinv.runs.in_memory import run
from jinv.runs.records import new_manifest
from jinv.runs.synthesize import begin
from tests.networks import tiny_classifier
from tests.runs.test_runs import compiled
from tests.small_runs import CONFIG, save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")
TABLE = {
    "model": ["a", "b"],
    "committee": {"weights": [3, 1]},
    "image": {"size": 16, "labels": [1, 2], "count": 4, "batch": 2},
    "stages": [{"size": 8, "steps": 2}, {"size": 16, "steps": 2}],
    "terms": {"cross_entropy": {}, "feature_statistics": {"weight": 0.1}, "total_variation": {"weight": 1e-3}},
    "log_every": 1,
}


def networks(second=3):
    other = replace(tiny_classifier(second, blocks=0), architecture="other", mean=(0.5,) * 3, std=(0.25,) * 3)
    return {"a": tiny_classifier(blocks=0), "b": other}


@pytest.fixture(scope="module")
def shared():
    return Shared(networks())


def recipe(**keys):
    return check_config({**TABLE, **keys})


def test_a_committee_compiles_once_per_stage_and_each_member_is_bound_once(shared):
    mine = Shared(networks())
    result = run(recipe(), shared=mine)
    assert compiled(mine) == 2 and result.images.shape == (4, 16, 16, 3)
    run(recipe(seed=1), shared=mine)
    assert compiled(mine) == 2
    both, alone = load_experiment(recipe(), shared=mine), load_experiment(recipe(model="b", committee={}), shared=mine)
    assert both.networks.members[1] is alone.networks.first and both.networks.shares == (0.75, 0.25)
    assert weight_bytes(both.networks) == sum(weight_bytes(member) for member in both.networks.members)
    line = result.metrics[0]
    for name in ("cross_entropy", "feature_statistics"):
        mean = 0.75 * line.members[0].terms[name] + 0.25 * line.members[1].terms[name]
        assert line.terms[name].value == pytest.approx(mean, rel=1e-5)
    assert line.accuracy == pytest.approx(0.75 * line.members[0].accuracy + 0.25 * line.members[1].accuracy)


@pytest.mark.parametrize("draw", ["all", "one"])
def test_chunks_and_recomputation_change_nothing(shared, draw):
    committee = {"weights": [3, 1], "draw": draw}
    stages = [{"size": 16, "steps": 3}]
    plain = run(recipe(committee=committee, stages=stages), shared=shared)
    image = {**TABLE["image"], "chunk": 1}
    other = run(recipe(committee=committee, stages=stages, image=image, remat=True), shared=shared)
    np.testing.assert_allclose(other.images, plain.images, atol=2e-3)
    for one, two in zip(plain.metrics, other.metrics, strict=True):
        assert [m is None for m in one.members] == [m is None for m in two.members]
        assert sum(m is None for m in one.members) == (1 if draw == "one" else 0)


def test_every_member_computes_in_the_precision_that_is_asked(shared):
    bound = load_experiment(recipe(precision="bf16"), shared=shared).networks
    for member in bound.members:
        kernels = [x for path, x in jax.tree_util.tree_leaves_with_path(member.variables) if path[-1].key == "kernel"]
        assert {kernel.dtype.name for kernel in kernels} == {"bfloat16"} and member.compute_dtype is not None


def test_memory_is_planned_for_all_members_or_for_the_largest_that_is_drawn(shared, monkeypatch):
    from jinv.errors import MemoryLimitError
    from jinv.experiment import memory

    # The tiny network has one norm layer: 4 channels at 16 px.
    values, weights = 4 * 16 * 16, weight_bytes(load_experiment(recipe(), shared=shared).networks)
    monkeypatch.setattr(memory, "available_bytes", lambda: weights + 2 * 4 * values * 3 // 2)
    with pytest.raises(MemoryLimitError):
        check_fits(load_experiment(recipe(), shared=shared))
    check_fits(load_experiment(recipe(committee={"draw": "one"}), shared=shared))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"committee": {"weights": [1]}},
            "committee.weights: [1] must be one number per network of model, which are 2",
        ),
        ({"committee": {"weights": [1, 2, 3]}}, "which are 2"),
        ({"model": "a"}, "committee.weights: [3, 1] must be one number per network of model, which are 1"),
        (
            {"committee": {"weights": [1, -1]}},
            "committee.weights: [1, -1] must be a list of finite numbers of at least 0",
        ),
        ({"committee": {"weights": [0, 0.0]}}, "committee.weights: [0, 0.0] must not all be 0"),
        ({"committee": {"weights": 1}}, "committee.weights: 1 must be a list of finite numbers"),
        ({"committee": {"draw": "two"}}, "committee.draw: 'two' must be one of 'all', 'one'"),
        ({"committee": {"weight": [1, 1]}}, "unknown key 'committee.weight' (did you mean 'committee.weights'?)"),
        ({"committee": {"draw": "one"}, "keep": "best"}, "keep: 'best' compares steps"),
        ({"model": []}, "model: [] must be the name or the file of a network, or a list of these"),
        ({"model": ["a", 3]}, "model: ['a', 3] must be the name or the file of a network, or a list of these"),
        ({"model": 3}, "model: 3 must be the name or the file of a network, or a list of these"),
    ],
)
def test_what_no_committee_can_be_is_said_by_its_key(keys, words):
    with pytest.raises(UsageError) as caught:
        recipe(**keys)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_only_the_networks_can_say():
    with pytest.raises(UsageError, match=r"stages\[0\].size: \[8, 8\] is smaller than other allows, 9 px"):
        both = networks()
        load_experiment(recipe(), shared=Shared(both | {"b": replace(both["b"], min_size=9)}))
    with pytest.raises(UsageError, match="'efficientnet_lit1' is no embedded model .*efficientnet_lite1"):
        load_experiment(recipe(model=["a", "efficientnet_lit1"]), shared=Shared(networks()))
    with pytest.raises(
        UsageError, match="terms.layer_activation.layer: 1 must be a batch-norm layer of the model, 0 to 0"
    ):
        terms = {**TABLE["terms"], "layer_activation": {"layer": 1}}
        deep = networks() | {"a": tiny_classifier(blocks=1)}  # whose layers are more than the second's
        load_experiment(recipe(terms=terms), shared=Shared(deep))


def test_a_list_of_one_is_that_network():
    assert recipe(model=["a"], committee={}) == recipe(model="a", committee={})
    assert recipe(model=["a"], committee={}).models == ("a",)


def test_going_on_needs_the_same_weights_of_every_member(tmp_path):
    experiment = load_experiment(recipe(), shared=Shared(networks()))
    manifest, directory = new_manifest(experiment), RunDirectory(tmp_path / "run")
    (tmp_path / "run").mkdir()
    begin(directory, experiment, manifest)
    read = directory.manifest()
    assert read == manifest and [m.sha256 for m in read.inverted] == ["tiny0", "tiny3"]
    check_same(directory, read, experiment)
    other = load_experiment(recipe(), shared=Shared(networks(second=4)))
    with pytest.raises(Exception, match="other weights"):
        check_same(directory, read, other)
    fewer = load_experiment(recipe(committee={}), shared=Shared(networks()))
    with pytest.raises(Exception, match=r"another config: committee.weights: \[3, 1\] then, 'not set'? ?now|committee"):
        check_same(directory, read, fewer)
    inverted = pedigrees_of(read)
    family = experiment.classifier.family
    assert inverted == (Pedigree(family, None, "tiny0"), Pedigree(family, None, "tiny3"))
    judges = [Pedigree("other", "others", digest) for digest in ("tiny0", "tiny3", "tiny4")]
    assert [relation_of(judge, inverted) for judge in judges] == ["inverted", "inverted", "unknown"]
    alone = Manifest(model=InvertedModel(sha256="x"))
    assert alone.inverted == (alone.model,) and "committee" not in alone.to_json()


def test_a_run_of_files_says_who_took_part(tmp_path, one_block, capsys):
    for name, seed in (("tiny", 1), ("second", 2)):
        save_tiny(tmp_path / f"{name}.safetensors", seed, name=one_block)
    text = CONFIG.replace('"tiny.safetensors"', '["tiny.safetensors", "second.safetensors"]')
    (tmp_path / "small.toml").write_text(text.replace("other.safetensors", "second.safetensors"))
    few = ["--set", "image.labels=[3]", "stages.0.steps=1", "stages.1.steps=1", "committee.draw=one"]
    out = tmp_path / "run"
    assert main(["synthesize", str(tmp_path / "small.toml"), "--out", str(out), *few]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["model"]["name"] == str(tmp_path / "tiny.safetensors")
    assert [(m["sha256"], m["share"]) for m in manifest["committee"]] == [("1" * 8, 0.5), ("2" * 8, 0.5)]
    verdicts = json.loads((out / "evaluation.json").read_text())["verifiers"]
    assert [verdict["part"] for verdict in verdicts.values()] == ["inverted"]
    assert "tiny + second" in (out / "report.html").read_text()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["members"].count(None) for line in lines] == [1, 1]
    assert not any("finite" in line for line in lines)
    again = tmp_path / "again"
    assert main(["synthesize", str(out / "config.toml"), "--out", str(again)]) == 0
    assert (again / "images.npy").read_bytes() == (out / "images.npy").read_bytes()
    save_tiny(tmp_path / "second.safetensors", 2, name=one_block, classes=tuple("abcdefghij"))
    assert main(["synthesize", str(tmp_path / "small.toml"), "--out", str(tmp_path / "x"), *few]) == 4
    assert "class 0 is 'airplane' and 'a'" in capsys.readouterr().err and not (tmp_path / "x").exists()
