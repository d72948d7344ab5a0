"""The programs that a run has on a GPU or a TPU, lowered for it here: the library's convolutions and none of the CPU's ways
around them (but a GPU's depthwise ones), buffers donated, steps scanned, nobody called back, and bfloat16's statistics and losses in float32.

Each is what the loop calls first, of a whole recipe; it is lowered once per platform for all of the tests.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from torch import nn

from benchmarks.gpu import StageArgument, make_recipe, random_classifier
from jinv.core.loop import _stage_snapshots
from jinv.core.program import Before
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.shared import Shared
from jinv.recipe.read import check_config
from jinv.recipe.recipe import replaced
from jinv_convert.reference import make_reference
from tests.lowered import Module, Operation
from tests.networks import CLASSES, tiny_classifier

CONFIGS = Path(__file__).parents[2] / "configs"
PLATFORMS = ("cuda", "tpu")
STEPS = 10
"""In one program, `jinv.core.loop.LONGEST_SCAN`, where a loss is logged every 10 or 50 steps."""


class Called(Exception):
    """Carries the trace of what a loop has called."""


def cifar() -> Experiment:
    """A CIFAR ResNet-20 by its config: five augmentations, Fourier parameters, a prior."""
    table = tomllib.loads((CONFIGS / "quality/cifar10_standard.toml").read_text(encoding="utf-8"))
    table |= {"model": "benchmark", "image": table["image"] | {"count": 4, "batch": 4}, "evaluate": {}}
    network = replace(random_classifier("resnet20"), class_names=CLASSES)
    return load_experiment(check_config(table), shared=Shared({"benchmark": network}))


def lite0_bf16() -> Experiment:
    """EfficientNet-Lite0 in bfloat16 by NVlabs' recipe, as `python -m benchmarks.gpu` runs it."""
    recipe = replaced(make_recipe(2, [StageArgument(32, 100)], "bf16", 50), keep="best")
    return load_experiment(recipe, shared=Shared({"benchmark": random_classifier("efficientnet_lite0")}))


def committee() -> Experiment:
    """Two networks, of which each step asks one."""
    table = {
        "model": ["one", "other"],
        "committee": {"draw": "one"},
        "image": {"size": 16, "labels": [1, 2]},
        "stages": [{"size": 16, "steps": 20}],
        "terms": {"cross_entropy": {}, "feature_statistics": {"weight": 0.1}},
    }
    networks = {"one": tiny_classifier(), "other": tiny_classifier(3, blocks=0)}
    return load_experiment(check_config(table), shared=Shared(networks))


EXPERIMENTS = {"cifar": cifar, "lite0_bf16": lite0_bf16, "committee": committee}
NETWORKS = {"cifar": "resnet20", "lite0_bf16": "efficientnet_lite0"}


class Run(NamedTuple):
    """What a run calls first where JAX's default is a GPU, how it takes a step alone, and the number of its state's leaves."""

    first: jax.stages.Traced
    alone: Callable[[], jax.stages.Traced]
    leaves: int


@contextmanager
def where_the_default_is(backend: str) -> Iterator[None]:
    """It decides of four things only: whether kernels are derived for the CPU, what is traced, steps scanned, and memory checked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: backend)
        yield


@cache
def called(name: str, default: str = "gpu") -> Run:
    with where_the_default_is(default):
        experiment = EXPERIMENTS[name]()
        with experiment.precision():
            batch = experiment.batch(0)
            synthesis = experiment.synthesis(len(batch.labels))
            ((program, state, inputs),) = synthesis.shapes(experiment.networks.variables, batch)
            state = state._replace(step=jnp.int32(0))  # which the loop reads; of the others it needs the shapes alone
            listening = copy(program)
            listening.step = partial(_call, program.step)
            listening.steps = partial(_call, program.steps)
            snapshots = _stage_snapshots(listening, state, inputs, Before(0, 0, experiment.size, True), experiment.pace)
            with pytest.raises(Called) as call:
                next(snapshots)

    def alone() -> jax.stages.Traced:
        with where_the_default_is(default):
            return program.step.trace(state, inputs)

    return Run(call.value.args[0], alone, len(jax.tree.leaves(state)))


def _call(function, *arguments):
    raise Called(function.trace(*arguments))


@cache
def lowered(name: str, platform: str, default: str = "gpu") -> Module:
    return Module(called(name, default).first, platform)


every_program = pytest.mark.parametrize("name", EXPERIMENTS)
every_platform = pytest.mark.parametrize("platform", PLATFORMS)


def depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups == layer.in_channels > 1


def kinds(module: Module) -> Counter[tuple[int, int, int]]:
    """(groups, stride, how far its input is spread) of every convolution."""
    return Counter(
        (
            operation.integer("feature_group_count"),
            operation.integers("window_strides")[0],
            operation.integers("lhs_dilation")[0],
        )
        for operation in module.all("convolution")
    )


@every_platform
@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_is_the_librarys_forward_and_backward(name, platform):
    """Each of the torch twin's layers is met twice: forward, and spread by its stride for the image's gradient. Depthwise ones
    are shifted sums on a GPU: without its search for the quickest kernel, which is chance, the library's take 20 times as long."""
    layers = [layer for layer in make_reference(NETWORKS[name]).modules() if isinstance(layer, nn.Conv2d)]
    if platform == "cuda":
        layers = [layer for layer in layers if not depthwise(layer)]
    forward = Counter((layer.groups, layer.stride[0], 1) for layer in layers)
    backward = Counter((layer.groups, 1, layer.stride[0]) for layer in layers)
    assert kinds(lowered(name, platform)) == forward + backward


@every_platform
def test_of_a_committee_that_draws_each_member_is_in_the_program_once(platform):
    """Seven convolutions and one; a program that computed both in every step would have no case of two."""
    module = lowered("committee", platform)
    assert module.counts["convolution"] == 2 * (7 + 1)
    asked = [case for case in module.all("case") if computing(case) > 1]
    assert [len(list(case.raw.regions)) for case in asked] == [2]


def computing(case: Operation) -> int:
    """How many branches of a case compute anything; where a platform was chosen, one is left."""
    bodies = [
        [operation.operation.name for block in region.blocks for operation in block] for region in case.raw.regions
    ]
    return sum(not {"stablehlo.constant", "stablehlo.return"}.issuperset(body) for body in bodies)


@every_platform
def test_nothing_of_the_cpus_formulations_is_there(platform):
    """Winograd's fences, products in place of 1x1 convolutions, both formulas of a variance; of the head two products stay."""
    for name in EXPERIMENTS:
        module = lowered(name, platform)
        assert module.counts["optimization_barrier"] == 0
        if name != "committee":
            assert not [case for case in module.all("case") if computing(case) > 1]
    plain = lowered("lite0_bf16", platform)  # its augmentations have no products of their own
    assert plain.counts["dot_general"] == 2


@pytest.mark.parametrize("default", ["gpu", "cpu"])
def test_the_same_program_for_a_cpu_has_other_formulations(default):
    """What the tests above would see: no depthwise convolution, dots for 1x1 ones, a choice in every variance."""
    module = lowered("lite0_bf16", "cpu", default)
    # The stem is left, forward; its gradient is products.
    assert kinds(module) == {(1, 2, 1): 1}
    assert module.counts["dot_general"] > 60
    assert len([case for case in module.all("case") if computing(case) > 1]) > 40


@every_platform
@every_program
def test_a_states_buffers_are_donated_each_to_its_successor_and_no_others(name, platform):
    _, alone, leaves = called(name)
    modules = [lowered(name, platform)]
    if name == "committee":  # the rest of a stage, of fewer steps than a program has
        modules.append(Module(alone(), platform))
        assert modules[1].counts["while"] == 0
    for module in modules:
        donated = [f"{{tf.aliasing_output = {leaf} : i32}}" for leaf in range(leaves)]
        assert module.arguments[:leaves] == donated
        others = module.arguments[leaves:]
        assert others and not [argument for argument in others if "alias" in argument or "donor" in argument]


@every_platform
@every_program
def test_ten_steps_are_one_loop_in_one_program(name, platform):
    module = lowered(name, platform)
    outer = [loop for loop in module.all("while") if "stablehlo.while" not in loop.inside]
    assert len(outer) == 1
    condition, _ = outer[0].raw.regions
    limits = [
        int(str(operation.operation.attributes["value"]).split("<")[1].split(">")[0])
        for operation in condition.blocks[0]
        if operation.operation.name == "stablehlo.constant"
    ]
    assert limits == [STEPS]
    assert all("stablehlo.while" in operation.inside for operation in module.all("convolution"))


@every_platform
@every_program
def test_nobody_is_called_back_and_nothing_is_sent_to_the_host(name, platform):
    module = lowered(name, platform)
    assert not {"infeed", "outfeed", "send", "recv"} & set(module.counts)
    # Of custom calls there is none at all: a kernel of somebody's, or a callback, would be one.
    assert [str(operation.raw.attributes["call_target_name"]) for operation in module.all("custom_call")] == []


@every_platform
def test_float32_is_multiplied_as_float32(platform):
    """XLA's own choice for a GPU would be TF32, for a TPU bfloat16."""
    for name in ("cifar", "committee"):
        for kind in ("convolution", "dot_general"):
            operations = lowered(name, platform).all(kind)
            assert operations
            for operation in operations:
                assert {*operation.operands, *operation.results} == {"f32"}
                assert str(operation.raw.attributes["precision_config"]).count("HIGHEST") == 2


@every_platform
def test_bfloat16_is_in_the_networks_products(platform):
    for operation in lowered("lite0_bf16", platform).all("convolution"):
        assert {*operation.operands, *operation.results} == {"bf16"}


def source(value):
    """The operation that a value is from; where a platform was chosen, inside of the one branch that is left."""
    operation = value.owner.operation
    if operation.name == "stablehlo.case" and len(list(operation.regions)) == 1:
        *_, last = operation.regions[0].blocks[0]
        return source(last.operation.operands[value.result_number])
    return operation


@every_platform
def test_bfloat16s_statistics_are_summed_and_kept_in_float32(platform):
    """Two sums over N, H, W per batch norm: of the convolution's bfloat16 output, converted, and of float32 squares. What is
    a float32 sum of shifts, on a GPU, is rounded to bfloat16 before."""
    module = lowered("lite0_bf16", platform)
    layers = list(make_reference("efficientnet_lite0").modules())
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    shifted = sum(isinstance(layer, nn.Conv2d) and depthwise(layer) for layer in layers) if platform == "cuda" else 0
    sums = [
        operation
        for operation in module.all("reduce")
        if operation.integers("dimensions") == [0, 1, 2] and len(operation.raw.operands[0].type.shape) == 4
    ]
    summed: Counter[str] = Counter()
    measured: Counter[str] = Counter()
    for operation in sums:
        assert operation.operands == ["f32", "f32"] and operation.results == ["f32"]
        origin = source(operation.raw.operands[0])
        if origin.name == "stablehlo.convert":
            measured[source(origin.operands[0]).name] += 1
        summed[origin.name] += 1
    assert measured == Counter({"stablehlo.convolution": norms - shifted}) + Counter({"stablehlo.convert": shifted})
    assert summed == {"stablehlo.convert": norms, "chlo.square": norms}


ROUNDED = ("reduce", "exponential", "log", "divide", "sqrt", "rsqrt")
"""What statistics, losses, norms and optimizer are computed with, and a network's layers here are not."""


@every_platform
def test_bfloat16s_losses_and_optimizer_are_float32_from_end_to_end(platform):
    module = lowered("lite0_bf16", platform)
    assert module.outputs == {"f32", "i32"}  # the next state, the terms, their total and the accuracy
    for operation in module.operations:
        if operation.name.removeprefix("stablehlo.") in ROUNDED:
            assert "bf16" not in {*operation.operands, *operation.results}
            users = [use.owner for result in operation.raw.results for use in result.uses]
            narrowed = [
                user for user in users if user.name == "stablehlo.convert" and "bf16" in str(user.results[0].type)
            ]
            assert not narrowed, operation.name
