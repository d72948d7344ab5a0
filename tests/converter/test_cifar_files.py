"""Files of CIFAR networks as repositories save them: the robustness package's own, TRADES', of 100 classes, of two readings."""

import re
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import dill
import numpy as np
import pytest
import torch

import jinv
from jinv.models.architecture import CIFAR100_MEAN, CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, Alike, Architecture
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet import ResNet, ShortcutResNet
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from jinv.models.vgg import LinearVGG
from jinv.weights.file import read_converted
from jinv.weights.labels import class_names
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.validate import _left_out, _read_both
from tests.converter.checkpoint_files import random_reference, randomize, save

pytestmark = pytest.mark.usefixtures("unoptimized")

SMALL = (1, 1, 1, 1)
STUBS = ("pandas", "cox", "cox.store", "tqdm")


@pytest.fixture
def register(monkeypatch):
    """Adds a small network to the registry until the test ends."""

    def add(name, make, alike=None):
        row = Architecture(name, make, 32, 8, CIFAR_MEAN, CIFAR_STD, num_classes=10, class_names="cifar10", alike=alike)
        monkeypatch.setitem(ARCHITECTURES, name, row)

    return add


@pytest.fixture
def robustness(monkeypatch):
    """The package's modules that need no data sets, with stubs for what it imports and they never call."""
    if find_spec("robustness") is None:
        pytest.skip("the package robustness is not here (pip install --no-deps robustness==1.2.1.post2)")
    # Stubs only while it imports them: torch looks for pandas, and would find what is none.
    with monkeypatch.context() as patch:
        for name in STUBS:
            patch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["cox"].store, sys.modules["tqdm"].tqdm = sys.modules["cox.store"], None
        attacker, models = import_module("robustness.attacker"), import_module("robustness.cifar_models")
    yield SimpleNamespace(attacker=attacker, models=models)
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustness"]:
        del sys.modules[name]


def as_robustness_saves(package, network, path):
    """The wrapped model, and the file that the package's training loop would leave of it."""
    colours = SimpleNamespace(mean=torch.tensor(CIFAR_MEAN), std=torch.tensor(CIFAR_STD))
    model = package.attacker.AttackerModel(randomize(network), colours).eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    tree = {
        "model": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 50).state_dict(),
        "epoch": 150,
        "amp": None,
    }
    torch.save(tree, path, pickle_module=dill, _use_new_zipfile_serialization=False)
    return model


NETWORKS = {
    "a narrow ResNet": (
        lambda package: package.resnet.ResNet(package.resnet.BasicBlock, SMALL, wm=1 / 16),
        ("narrow", partial(ShortcutResNet, stage_sizes=SMALL, bottleneck=False, width=4, stem="3x3")),
    ),
    "a narrow ResNet of bottlenecks": (
        lambda package: package.resnet.ResNet(package.resnet.Bottleneck, SMALL, num_classes=100, wm=1 / 16),
        ("narrow", partial(ShortcutResNet, stage_sizes=SMALL, bottleneck=True, width=4, stem="3x3")),
    ),
    "ResNet18": (lambda package: package.ResNet18(), ("resnet18_cifar", None)),
}
FULL = {name: (lambda package, name=name: getattr(package, name)(), (ours, None)) for name, ours in {
    "ResNet34": "resnet34_cifar", "ResNet50": "resnet50_cifar", "ResNet18Wide": "resnet18_cifar_wide",
    "VGG11": "vgg11_bn_cifar", "VGG16": "vgg16_bn_cifar",
}.items()}  # fmt: skip


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.full) for name in FULL)])
def test_the_robustness_packages_own_networks_give_their_logits(name, robustness, register, tmp_path, out):
    make, (ours, module) = (NETWORKS | FULL)[name]
    if module is not None:
        register(ours, module)
    network = make(robustness.models)
    model = as_robustness_saves(robustness, network, tmp_path / "checkpoint.pt.best")
    report = convert_checkpoint(tmp_path / "checkpoint.pt.best", out, ConversionOptions(clamp=True))
    assert (report.architecture, report.container, report.warnings) == (ours, "legacy", ())
    assert report.mean == CIFAR_MEAN and report.std == CIFAR_STD and "file's own" in report.preprocessing
    classifier = jinv.load(out)
    # Beyond black and white too, which the package clips.
    pixels = np.random.default_rng(0).uniform(-0.2, 1.2, (2, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))[0].numpy()
    image = (pixels - np.float32(CIFAR_MEAN)) / np.float32(CIFAR_STD)
    logits = classifier.forward(classifier.variables, image).logits
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_what_trades_makes_twice_is_left_out_and_said(register, tmp_path, out):
    register("narrow", partial(ResNetWide, blocks_per_stage=1, width=4, stem_width=4))
    state = random_reference("narrow").state_dict()
    convert_checkpoint(save(state, tmp_path / "plain.pt"), out)
    digest = read_converted(out)[1]["sha256_of_tensors"]
    twice = {f"sub_{name}": value + 1 for name, value in state.items() if name.startswith("block1.")}
    path = save({f"module.{name}": value for name, value in (state | twice).items()}, tmp_path / "trades.pt")
    report = convert_checkpoint(path, out)
    assert report.warnings == () and read_converted(out)[1]["sha256_of_tensors"] == digest
    assert any("that no classification reads (sub_block1)" in note for note in report.notes)
    assert _left_out(_read_both(out, path, None, True)) == []


def test_a_hundred_outputs_are_cifar_100s_unless_said_otherwise(register, tmp_path, out):
    register("narrow", partial(ResNetWide, blocks_per_stage=1, width=4, stem_width=4))
    path = save(random_reference("narrow", 100).state_dict(), tmp_path / "a.pt")
    report = convert_checkpoint(path, out)
    assert (report.num_classes, report.warnings) == (100, ()) and report.mean == CIFAR100_MEAN
    assert any("CIFAR-100" in note and "--labels" in note for note in report.notes)
    assert jinv.load(out).class_names == class_names("cifar100")
    assert convert_checkpoint(path, out, ConversionOptions(num_classes=100)).mean == CIFAR100_MEAN
    (tmp_path / "labels.txt").write_text("".join(f"kind {i}\n" for i in range(100)))
    report = convert_checkpoint(path, out, ConversionOptions(labels=tmp_path / "labels.txt"))
    assert jinv.load(out).class_names[99] == "kind 99" and any("100 of 100 names" in w for w in report.warnings)
    assert ARCHITECTURES["resnet20"].of_classes(100).mean == IMAGENET_MEAN
    assert ARCHITECTURES["resnet50"].of_classes(100) is ARCHITECTURES["resnet50"]


def test_pixels_that_the_file_says_nothing_of_are_noted(register, tmp_path, out):
    register("narrow", partial(LinearVGG, stage_sizes=(1, 1), width=4))
    path = save(random_reference("narrow").state_dict(), tmp_path / "a.pt")

    def told(**options):
        report = convert_checkpoint(path, out, ConversionOptions(**options))
        return report.mean, any("--mean 0 0 0 --std 1 1 1" in note for note in report.notes)

    assert told() == (CIFAR_MEAN, True)
    assert told(mean=(0, 0, 0), std=(1, 1, 1)) == ((0, 0, 0), False)


READINGS = {
    "a pool behind the stem": partial(ResNet, stage_sizes=SMALL, bottleneck=False, width=4),
    "what a shortcut projects": partial(ResNetPreAct, stage_sizes=SMALL, bottleneck=False, width=4),
}
FIELDS = {
    "a pool behind the stem": ({"stem": "3x3"}, {"stem": "3x3 pooled"}),
    "what a shortcut projects": ({}, {"raw_shortcut": True}),
}


@pytest.mark.parametrize("what", READINGS)
def test_of_two_networks_with_the_same_names_one_is_taken_and_the_other_said(what, register, tmp_path, out):
    usual, other = (partial(READINGS[what], **fields) for fields in FIELDS[what])
    register("usual", usual)
    register("other", other, Alike("usual", what))
    network = random_reference("other")
    path = save(network.state_dict(), tmp_path / "a.pt")
    report = convert_checkpoint(path, out)
    assert report.architecture == "usual"
    (warning,) = report.warnings
    assert re.fullmatch(rf"other \({what}\) has the same names and shapes; .*usual.*--architecture", warning)
    as_usual = jinv.load(out)
    report = convert_checkpoint(path, out, ConversionOptions(architecture="other"))
    assert (report.architecture, report.warnings) == ("other", ())
    as_other = jinv.load(out)
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    difference, none = (
        np.abs(classifier.forward(classifier.variables, image).logits - expected).max() / np.abs(expected).max()
        for classifier in (as_usual, as_other)
    )
    assert none < 2e-4 and difference > 0.05
    # It is the network that its converted file says, not the one that a file without one would be taken for.
    assert _read_both(out, path, None, True).architecture is ARCHITECTURES["other"]


def test_every_reading_is_of_a_network_with_the_same_names():
    for name, row in ARCHITECTURES.items():
        if row.alike:
            other = ARCHITECTURES[row.alike.other]
            assert other.alike is None and other.family is row.family and row.num_classes == other.num_classes, name
