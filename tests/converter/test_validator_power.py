"""The validator's own power: conversion bugs sown on purpose, every one caught; the smallest change that it sees."""

import dataclasses
import math
from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.models import layers, ops, pooling, resnet, resnet_cifar
from jinv.models.activations import relu6
from jinv.models.layers import Conv
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet import ResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv_convert.parity.compare import compare_networks, compare_operations, compare_weights, layer_pairs
from jinv_convert.parity.flax_side import FlaxNetwork
from jinv_convert.parity.inputs import LARGE, Inputs
from jinv_convert.parity.report import LAYER_FLOAT64, ValidationReport
from jinv_convert.reference import reference_for
from tests.converter.checkpoint_files import randomize
from tests.converter.conversion_bugs import BUGS, CONV, HEAD, SCALE, VAR

pytestmark = pytest.mark.usefixtures("unoptimized")

CLASSES = 64  # as many as features: a transposed last kernel keeps its shape
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(size=(2, 12, 16, 3))
FORWARD = [Inputs("random and large", IMAGE * np.reshape([1, LARGE], (2, 1, 1, 1)))]
BACKWARD = [Inputs("random", IMAGE, differentiate=True)]


class Subject:
    """A network with random weights on both sides, ready to be broken."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.module = architecture.make(CLASSES)
        self.reference = randomize(reference_for(self.module)).requires_grad_(False)
        self.pairs = layer_pairs(architecture, CLASSES)
        self.weights = {name: tensor.numpy() for name, tensor in self.reference.state_dict().items()}
        self.variables = {
            target.path: np.ascontiguousarray(target.laid_out(self.weights[name]))
            for pair in self.pairs
            for name, target in pair.tensors.items()
        }
        self.flax = self.compiled()

    def compiled(self):
        return FlaxNetwork(self.module, self.variables, [pair.flax_path for pair in self.pairs])

    def judge(self, variables=None, flax=None, inputs=FORWARD):
        """The report on these variables, or on a freshly compiled network."""
        variables = variables or self.variables
        report = ValidationReport("", "", self.architecture.name, "", "", ())
        compare_networks(report, flax or self.flax.with_variables(variables), self.reference, self.pairs, inputs)
        compare_weights(report, self.pairs, variables, self.weights)
        return report


@pytest.fixture(scope="module")
def cifar():
    return Subject(ARCHITECTURES["resnet20"])


@pytest.fixture(scope="module")
def small():
    """One block per stage: what has to be compiled anew for every bug."""
    return Subject(dataclasses.replace(ARCHITECTURES["resnet20"], make=partial(ResNetCifar, blocks_per_stage=1)))


@pytest.fixture(scope="module")
def bottleneck():
    make = partial(ResNet, stage_sizes=(1, 1, 1, 1), bottleneck=True, width=8)
    return Subject(dataclasses.replace(ARCHITECTURES["resnet50"], make=make))


def test_the_unbroken_networks_pass(cifar, small, bottleneck):
    assert cifar.judge().numerically_equal
    assert small.judge(inputs=BACKWARD).numerically_equal
    assert bottleneck.judge().numerically_equal


def assert_caught(subject, bug):
    """The wrong tensors that `bug` makes of the right ones are noticed, and the first layer that has one is named."""
    changes = {name: np.ascontiguousarray(array, np.float32) for name, array in bug(subject.variables).items()}
    assert any(not np.array_equal(array, subject.variables[name]) for name, array in changes.items())
    report = subject.judge(subject.variables | changes)
    assert not report.numerically_equal
    broken = {pair.torch_name for pair in subject.pairs if any(t.path in changes for t in pair.tensors.values())}
    assert report.first_wrong_layer == next(layer.name for layer in report.layers if layer.name in broken)


@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_tensor_is_caught_and_its_layer_named(cifar, bug):
    assert_caught(cifar, BUGS[bug])


def intercept(condition, **attributes):
    """A bug in the module: `attributes` of every submodule that fulfils `condition` are others while it is called."""

    def interceptor(next_function, args, kwargs, context):
        module = context.module
        if context.method_name == "__call__" and condition(module):
            for name, value in attributes.items():
                object.__setattr__(module, name, value)
        return next_function(*args, **kwargs)

    return nn.intercept_methods(interceptor)


def is_conv(module, **attributes):
    return isinstance(module, Conv) and all(getattr(module, name) == value for name, value in attributes.items())


def is_norm(module):
    return isinstance(module, layers.BatchNorm)


SAME = ((0, 1), (0, 1))
MODULE_BUGS = {
    "epsilon 1e-3 for 1e-5": ("small", intercept(is_norm, epsilon=1e-3)),
    "epsilon wrong by a thousandth": ("small", intercept(is_norm, epsilon=1.001e-5)),
    '"SAME" for torch padding': ("small", intercept(partial(is_conv, stride=2, kernel_size=3), padding=SAME)),
    '"SAME" in the 7x7 stem': ("bottleneck", intercept(partial(is_conv, kernel_size=7), padding=((2, 3), (2, 3)))),
}


@pytest.mark.parametrize("bug", MODULE_BUGS)
def test_a_wrong_hyperparameter_is_caught(request, bug):
    subject, broken = request.getfixturevalue(MODULE_BUGS[bug][0]), MODULE_BUGS[bug][1]
    with broken:
        assert not subject.judge(flax=subject.compiled()).numerically_equal


def test_the_stride_of_v1_is_caught(bottleneck):
    stride_on_first = intercept(lambda m: is_conv(m) and m.name == "conv1" and m.path[0] in STRIDED, stride=2)
    none_on_second = intercept(lambda m: is_conv(m) and m.name == "conv2", stride=1)
    with stride_on_first, none_on_second:
        report = bottleneck.judge(flax=bottleneck.compiled())
    assert report.first_wrong_layer == "layer2.0.conv1"


STRIDED = ("layer2_0", "layer3_0", "layer4_0")


def patched(target, name, value):
    return lambda monkeypatch: monkeypatch.setattr(target, name, value)


def jnp_with(**replaced):
    return SimpleNamespace(**{name: getattr(jnp, name) for name in ("pad",)} | replaced)


def pad_at_the_end(x, widths):
    return jnp.pad(x, (*widths[:3], (0, sum(widths[3]))))


def unbiased_moments(x):
    mean, variance = moments(x)
    count = x.size // x.shape[-1]
    return mean, variance * (count / (count - 1))


moments = ops.moments
FUNCTION_BUGS = {
    "ReLU6 for ReLU": ("small", patched(resnet_cifar.nn, "relu", relu6)),
    "leaky ReLU for ReLU": ("small", patched(resnet_cifar.nn, "relu", partial(nn.leaky_relu, negative_slope=1e-6))),
    "shortcut channels padded on one side": ("small", patched(resnet_cifar, "jnp", jnp_with(pad=pad_at_the_end))),
    "maximum for mean before the last layer": ("small", patched(ops, "global_average_pool", lambda x: x.max((1, 2)))),
    "mean for maximum after the stem": (
        "bottleneck",
        patched(resnet.pooling, "max_pool", lambda x, **_: nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))),
    ),
    "batch variance unbiased": ("small", patched(ops, "moments", unbiased_moments)),
    "batch statistics without gradient": (
        "small",
        patched(ops, "moments", lambda x: tuple(map(layers.lax.stop_gradient, moments(x)))),
    ),
}


@pytest.mark.parametrize("bug", FUNCTION_BUGS)
def test_a_wrong_function_is_caught(request, monkeypatch, bug):
    subject, patch = request.getfixturevalue(FUNCTION_BUGS[bug][0]), FUNCTION_BUGS[bug][1]
    patch(monkeypatch)
    inputs = BACKWARD if "gradient" in bug else FORWARD
    assert not subject.judge(flax=subject.compiled(), inputs=inputs).numerically_equal


OPERATION_BUGS = {
    "max-pool padded with 0": (
        "max_pool 3x3 stride 2 padding 1",
        lambda x: pooling.max_pool(jnp.pad(x, ZERO), window=3, stride=2),
    ),
    "max-pool window shifted": ("max_pool 2x2 stride 2", lambda x: pooling.max_pool(x[:, 1:, 1:], window=2, stride=2)),
    "half windows of maxima dropped": (
        "max_pool 3x3 stride 2 ceil",
        lambda x: pooling.max_pool(x, window=3, stride=2),
    ),
    "half windows of maxima padded with 0": (
        "max_pool 2x2 stride 2 ceil",
        lambda x: pooling.max_pool(
            jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))), window=2, stride=2
        ),
    ),
    "half windows of means dropped": ("average_pool 2x2 ceil", partial(pooling.average_pool, window=2)),
    "a border's mean of the pixels that are there": (
        "average_pool 3x3 stride 1",
        lambda x: pooling.smoothed(x) / pooling.smoothed(jnp.ones_like(x)),
    ),
    "adaptive pool by resizing": (
        "adaptive",
        lambda x: jnp.repeat(jnp.repeat(x.mean((1, 2), keepdims=True), 7, 1), 7, 2),
    ),
    "ReLU for ReLU6": ("relu6", nn.relu),
}
ZERO = ((0, 0), (1, 1), (1, 1), (0, 0))


@pytest.mark.parametrize("bug", OPERATION_BUGS)
def test_a_wrong_operation_is_caught_even_where_a_relu_hides_it(monkeypatch, bug):
    from jinv_convert.parity import compare

    start, broken = OPERATION_BUGS[bug]
    name = next(name for name in compare.OPERATIONS if name.startswith(start))
    monkeypatch.setitem(compare.OPERATIONS, name, broken)
    report = ValidationReport("", "", "", "", "", ())
    compare_operations(report)
    assert [operation.name for operation in report.operations if not operation.passed] == [name]


def test_the_smallest_change_that_is_seen(cifar, capsys):
    """Layers in float64 see a relative change of one weight far below float32's last bit; exact tensors, any bit."""
    rows = []
    for path in ("params/conv1/kernel", CONV, "params/layer3_2/conv2/kernel", VAR, SCALE, HEAD):
        seen = 0
        index = RANDOM.integers(cifar.variables[path].size, size=3)
        for position in index:
            array = cifar.variables[path].copy()
            array.flat[position] = np.nextafter(array.flat[position], np.float32(math.inf))
            report = cifar.judge(cifar.variables | {path: array})
            assert not report.numerically_equal
            worst = max(layer.float64 for layer in report.layers)
            seen += worst > LAYER_FLOAT64
        rows.append((path, seen, len(index)))
    with capsys.disabled():
        print(f"\n{'last bit of one element of':36}{'seen by float64 layers':>24}{'by exact tensors':>18}")
        for path, seen, tried in rows:
            print(f"{path:36}{f'{seen} of {tried}':>24}{f'{tried} of {tried}':>18}")
    assert sum(seen for _, seen, _ in rows) > sum(tried for *_, tried in rows) / 2
    bugs = len(BUGS) + len(MODULE_BUGS) + len(FUNCTION_BUGS) + len(OPERATION_BUGS) + 1
    assert bugs >= 50
