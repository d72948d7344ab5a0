"""The validator's power on networks that are normalised before their convolutions: the same bugs, and those of their own."""

import dataclasses
from functools import partial

import flax.linen as nn
import pytest

from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from tests.converter.conversion_bugs import WIDE, bugs_at
from tests.converter.test_validator_power import SAME, Subject, assert_caught, intercept, is_conv, is_norm

pytestmark = pytest.mark.usefixtures("unoptimized")

BUGS = bugs_at(WIDE)


@pytest.fixture(scope="module")
def wide():
    make = partial(ResNetWide, blocks_per_stage=2, width=16)
    return Subject(dataclasses.replace(ARCHITECTURES["wrn_16_1"], make=make))


@pytest.fixture(scope="module")
def preact():
    make = partial(ResNetPreAct, stage_sizes=(1, 1, 1, 1), bottleneck=False, width=8)
    return Subject(dataclasses.replace(ARCHITECTURES["preactresnet18"], make=make))


def test_the_unbroken_networks_pass(wide, preact):
    assert wide.judge().numerically_equal and preact.judge().numerically_equal


@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_tensor_of_a_wide_resnet_is_caught_and_its_layer_named(wide, bug):
    assert_caught(wide, BUGS[bug])


WRONG = {
    "epsilon wrong by a thousandth": ("layer1.0.bn1", intercept(is_norm, epsilon=1.001e-5)),
    '"SAME" for torch padding': ("layer2.0.conv1", intercept(partial(is_conv, kernel_size=3, stride=2), padding=SAME)),
}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_hyperparameter_is_caught_and_its_layer_named(preact, bug):
    layer, broken = WRONG[bug]
    with broken:
        report = preact.judge(flax=preact.compiled())
    assert not report.numerically_equal and report.first_wrong_layer == layer


def test_a_shortcut_of_the_wrong_input_is_caught_and_named(preact, monkeypatch):
    monkeypatch.setattr(preact, "module", preact.module.clone(raw_shortcut=True))
    report = preact.judge(flax=preact.compiled())
    assert not report.numerically_equal and report.first_wrong_layer == "layer2.0.shortcut.0"


def test_a_last_relu_left_out_is_caught_and_named(wide, monkeypatch):
    """Blocks have two each; the thirteenth is behind the last norm."""
    calls, relu = [], nn.relu
    monkeypatch.setattr(nn, "relu", lambda x: calls.append(x) or (x if len(calls) % 13 == 0 else relu(x)))
    report = wide.judge(flax=wide.compiled())
    assert not report.numerically_equal and report.first_wrong_layer == "fc"
