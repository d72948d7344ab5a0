"""Conversion bugs sown into networks with squeeze-and-excitation, depthwise kernels, hard activations, shuffled channels.

Every one of them is seen by what the layers compute, not by comparing tensors alone.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jinv.models import activations, mobilenet_v3, shufflenet
from jinv.models.mobilenet_v3 import MobileNetV3, Row
from jinv.models.registry import ARCHITECTURES
from jinv.models.shufflenet import ShuffleNetV2
from jinv.models.squeeze_excitation import SqueezeExcitation
from jinv_convert.parity.compare import compare_operations
from jinv_convert.parity.inputs import LARGE, Inputs
from jinv_convert.parity.report import LAYER_FLOAT64, ValidationReport
from jinv_convert.reference import mobilenet_v3 as reference
from tests.converter.conversion_bugs import element, one, permuted, swap
from tests.converter.test_validator_power import Subject, intercept, is_conv, is_norm, patched

pytestmark = pytest.mark.usefixtures("unoptimized")

IMAGE = np.random.default_rng(0).normal(size=(2, 24, 32, 3))
FORWARD = [Inputs("random and large", IMAGE * np.reshape([1, LARGE], (2, 1, 1, 1)))]

# The same two blocks in each side's own table, with everything that a MobileNetV3's can have.
ROWS = (Row(5, 2, 16, 16, True, False), Row(3, 1, 32, 16, True, True))
PLAN = """
    rs 5 16 16 2
    hs 3 32 16 1
"""


@pytest.fixture(scope="module")
def excited():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mobilenet_v3.ROWS, "tiny", ROWS)
        patch.setitem(mobilenet_v3.HIDDEN, "tiny", 64)
        patch.setitem(reference.PLANS, "tiny", (PLAN, 64))
        make = partial(MobileNetV3, variant="tiny")
        yield Subject(dataclasses.replace(ARCHITECTURES["mobilenet_v3_small"], make=make))


@pytest.fixture(scope="module")
def shuffled():
    make = partial(ShuffleNetV2, width=8, head_features=16, stage_sizes=(2,), stem_features=8)
    return Subject(dataclasses.replace(ARCHITECTURES["shufflenet_v2_x0_5"], make=make))


def test_the_unbroken_networks_pass(excited, shuffled):
    for subject in (excited, shuffled):
        report = subject.judge(inputs=FORWARD)
        assert report.numerically_equal
        assert max(layer.float64 for layer in report.layers) < LAYER_FLOAT64 / 100


SE, OTHER_BIAS = "params/features_2/block_2", "params/features_1/block_1/fc1/bias"
FC1, FC1_BIAS, FC2, FC2_BIAS = (f"{SE}/{name}" for name in ("fc1/kernel", "fc1/bias", "fc2/kernel", "fc2/bias"))
DEPTHWISE = "params/features_1/block_0_0/kernel"  # (5, 5, 1, 16)
HIDDEN, HIDDEN_BIAS = "params/classifier_0/kernel", "params/classifier_0/bias"  # (96, 64)
TENSOR_BUGS = {
    "bias of fc1 dropped": one(FC1_BIAS, np.zeros_like),
    "bias of fc2 dropped": one(FC2_BIAS, np.zeros_like),
    "fc1 and fc2 exchanged and transposed": lambda v: {
        FC1: v[FC2].transpose(0, 1, 3, 2),
        FC2: v[FC1].transpose(0, 1, 3, 2),
    },
    "fc1's bytes read as fc2's layout": one(FC1, lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
    "two inputs of fc1 exchanged": one(FC1, permuted(2, 4, 5)),
    "two outputs of fc1 exchanged": one(FC1, permuted(3, 4, 5)),
    "two outputs of fc2 exchanged": one(FC2, permuted(3, 4, 5)),
    "fc2 negated": one(FC2, lambda k: -k),
    "fc2 through bfloat16": one(FC2, lambda k: k.astype(ml_dtypes.bfloat16).astype(np.float32)),
    "one element of fc1 changed by a thousandth": one(FC1, element(lambda x: x * 1.001)),
    "biases of two blocks' fc1 exchanged": swap(FC1_BIAS, OTHER_BIAS),
    "depthwise kernel flipped": one(DEPTHWISE, lambda k: k[::-1, ::-1]),
    "depthwise kernel flipped left to right": one(DEPTHWISE, lambda k: k[:, ::-1]),
    "depthwise kernel's height and width transposed": one(DEPTHWISE, lambda k: k.transpose(1, 0, 2, 3)),
    "depthwise kernel shifted by one tap": one(DEPTHWISE, lambda k: np.roll(k, 1, axis=0)),
    "depthwise channels shifted by one": one(DEPTHWISE, lambda k: np.roll(k, 1, axis=3)),
    "depthwise kernel: bytes read as HWIO": one(DEPTHWISE, lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
    "hidden layer's bias dropped": one(HIDDEN_BIAS, np.zeros_like),
    "hidden layer's bytes not transposed": one(HIDDEN, lambda k: k.T.reshape(k.shape)),
    "scale and bias of the norm behind the depthwise kernel exchanged": swap(
        "params/features_1/block_0_1/scale", "params/features_1/block_0_1/bias"
    ),
}


@pytest.mark.parametrize("bug", TENSOR_BUGS)
def test_a_wrong_tensor_is_caught_by_what_its_layer_computes(excited, bug):
    changes = {
        name: np.ascontiguousarray(array, np.float32) for name, array in TENSOR_BUGS[bug](excited.variables).items()
    }
    assert any(not np.array_equal(array, excited.variables[name]) for name, array in changes.items())
    report = excited.judge(excited.variables | changes, inputs=FORWARD)
    assert not report.numerically_equal
    broken = [pair.torch_name for pair in excited.pairs if any(t.path in changes for t in pair.tensors.values())]
    assert report.first_wrong_layer == next(layer.name for layer in report.layers if layer.name in broken)
    by_name = {layer.name: layer for layer in report.layers}
    assert all(by_name[name].float64 > LAYER_FLOAT64 for name in broken)


def is_excitation(module):
    return isinstance(module, SqueezeExcitation)


def hardswish_without_top(x):
    return x * jnp.maximum(x + 3, 0) / 6


UNEVEN = ((1, 3), (1, 3))
MODULE_BUGS = {
    "torch's usual epsilon": intercept(is_norm, epsilon=1e-5),
    "5x5 kernels padded unevenly": intercept(partial(is_conv, kernel_size=5, stride=2), padding=UNEVEN),
    "nothing between fc1 and fc2": intercept(is_excitation, activation=lambda x: x),
    "the gate and the activation exchanged": intercept(is_excitation, activation=activations.hardsigmoid, gate=nn.relu),
}


@pytest.mark.parametrize("bug", MODULE_BUGS)
def test_a_wrong_module_is_caught(excited, bug):
    with MODULE_BUGS[bug]:
        assert not excited.judge(flax=excited.compiled(), inputs=FORWARD).numerically_equal


FUNCTION_BUGS = {
    "sigmoid for its hard one": ("excited", patched(mobilenet_v3, "hardsigmoid", nn.sigmoid)),
    "SiLU for hard swish": ("excited", patched(mobilenet_v3, "hardswish", nn.silu)),
    "channels in two halves": (
        "shuffled",
        patched(shufflenet, "interleaved", lambda a, b: jnp.concatenate((a, b), -1)),
    ),
    "channels interleaved the other way": (
        "shuffled",
        patched(shufflenet, "interleaved", lambda a, b: jnp.stack((b, a), -1).reshape(*a.shape[:3], -1)),
    ),
}


@pytest.mark.parametrize("bug", FUNCTION_BUGS)
def test_a_wrong_function_is_caught(request, monkeypatch, bug):
    name, patch = FUNCTION_BUGS[bug]
    subject = request.getfixturevalue(name)
    patch(monkeypatch)
    assert not subject.judge(flax=subject.compiled(), inputs=FORWARD).numerically_equal


OPERATION_BUGS = {
    "SiLU for hard swish": ("hardswish", nn.silu),
    "hard swish that bends on above 3": ("hardswish", hardswish_without_top),
    "sigmoid for its hard one": ("hardsigmoid", nn.sigmoid),
    "Keras' hard sigmoid": ("hardsigmoid", lambda x: jnp.clip(0.2 * x + 0.5, 0, 1)),
    "hard swish for SiLU": ("silu", activations.hardswish),
    "GELU for SiLU": ("silu", nn.gelu),
}


@pytest.mark.parametrize("bug", OPERATION_BUGS)
def test_a_wrong_activation_alone_is_caught(monkeypatch, bug):
    from jinv_convert.parity import compare

    name, broken = OPERATION_BUGS[bug]
    monkeypatch.setitem(compare.OPERATIONS, name, broken)
    report = ValidationReport("", "", "", "", "", ())
    compare_operations(report)
    assert [operation.name for operation in report.operations if not operation.passed] == [name]
