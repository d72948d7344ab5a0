"""A whole synthesis on a GPU, in float32, TF32 and bfloat16: seconds, fraction of the card's peak, verifier accuracy.

    python -m benchmarks.gpu [--checkpoint FILE --verifier FILE] [--json benchmarks/results/gpu.json]

84 images out of ResNet-50, 2,000 steps at 112 px and 1,000 at 224 px, the objective and schedule of NVlabs' DeepInversion
program, through the library as `jinv synthesize` runs it. Without a checkpoint the network has random weights: as fast,
but no accuracy. Where there is no GPU the result says "not measured", unless --on-cpu asks for a run in small.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.core.choices import Precision
from jinv.errors import JinvError, UsageError
from jinv.experiment.bind import Measured
from jinv.experiment.experiment import bind_experiment
from jinv.experiment.inputs import Inputs
from jinv.experiment.shared import Shared
from jinv.judge import metrics
from jinv.judge.judge import judge
from jinv.models.classifier import Classifier
from jinv.models.layers import Conv, Dense
from jinv.models.ops import for_shapes
from jinv.models.precision import check_precision, matmul_precision
from jinv.models.registry import get_architecture
from jinv.recipe.read import check_config
from jinv.recipe.recipe import Recipe
from jinv.runs.allocator import keep_freed_memory
from jinv.weights.load import load

PRECISIONS: tuple[Precision, ...] = ("bf16", "tf32", "float32")
"""In the order of the memory that they need: a card tells no peak but the process'."""
NOT_MEASURED = "not measured"
NO_ACCURACY = "random weights: no accuracy"


class StageArgument(NamedTuple):
    """`SIZE:STEPS` of the command line."""

    size: int
    steps: int

    @classmethod
    def parse(cls, text: str) -> "StageArgument":
        size, _, steps = text.partition(":")
        return cls(int(size), int(steps))


def make_recipe(batch: int, stages: Sequence[StageArgument], precision: Precision, log_every: int) -> Recipe:
    """NVlabs' program: Adam (0.5, 0.9) with a cosine from 0.25, CE + TV + L2 + biased statistics, roll and flip."""
    return check_config(
        {
            "model": "benchmark",
            "precision": precision,
            "log_every": log_every,
            "image": {"size": max(stage.size for stage in stages), "labels": list(range(batch))},
            "stages": [
                {
                    "size": stage.size,
                    "steps": stage.steps,
                    "learning_rate": {"schedule": "warmup_cosine", "peak": 0.25, "warmup": min(100, stage.steps // 10)},
                    "optimizer": {"name": "adam", "b1": 0.5, "b2": 0.9},
                }
                for stage in stages
            ],
            "terms": {
                "cross_entropy": {},
                "total_variation": {"weight": 1e-4, "neighbors": 8},
                "image_norm": {"weight": 1e-5},
                "feature_statistics": {"weight": 1e-2, "variance": "biased", "first_layer_weight": 10.0},
            },
            "augment": {"roll": {}, "flip": {}},
        }
    )


def random_classifier(name: str, seed: int = 0) -> Classifier:
    """A registered network with random weights and statistics, scaled so that activations stay of order one."""
    architecture = get_architecture(name)
    module = architecture.make(architecture.num_classes)
    image = jax.ShapeDtypeStruct((1, architecture.min_size, architecture.min_size, 3), jnp.float32)
    with for_shapes():
        shapes = jax.eval_shape(module.init, jax.random.key(0), image)
    random = np.random.default_rng(seed)
    spans = {"scale": (0.25, 0.75), "bias": (-0.2, 0.2), "mean": (-0.3, 0.3), "var": (0.5, 2.0)}

    def draw(path: Any, leaf: Any) -> jax.Array:
        if path[-1].key in spans:
            return jnp.asarray(random.uniform(*spans[path[-1].key], leaf.shape), jnp.float32)
        deviation = (2 / math.prod(leaf.shape[:-1])) ** 0.5
        return jnp.asarray(random.normal(0, deviation, leaf.shape), jnp.float32)

    return Classifier(
        architecture=name,
        module=module,
        variables=jax.tree_util.tree_map_with_path(draw, shapes),
        mean=architecture.mean,
        std=architecture.std,
        input_size=architecture.input_size,
        min_size=architecture.min_size,
        class_names=tuple(map(str, range(architecture.num_classes))),
    )


def forward_flops(classifier: Classifier, size: int) -> int:
    """Multiplications and additions of one image's forward pass, convolutions and dense layers by the direct method."""
    counted: list[int] = []

    def count(call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*arguments, **keywords)
        if isinstance(context.module, Conv | Dense) and context.method_name == "__call__":
            kernel: Any = context.module.get_variable("params", "kernel")
            counted.append(2 * math.prod(kernel.shape[:-1]) * output.size)
        return output

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    with nn.intercept_methods(count):
        jax.eval_shape(lambda image: classifier.forward(classifier.variables, image).logits, image)
    return sum(counted)


def matmul_flops_per_second(size: int, precision: Precision, repetitions: int = 20) -> float:
    """The machine's rate for one square matrix product in that precision: the roof that a fraction refers to."""
    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)  # a GPU multiplies zeros and ones faster
    with matmul_precision(precision):
        multiply = jax.jit(jnp.dot).lower(a, a).compile()
    multiply(a, a).block_until_ready()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(repetitions):
            product = multiply(a, a)
        product.block_until_ready()
        times.append((time.perf_counter() - started) / repetitions)
    return 2 * size**3 / min(times)


def synthesize(recipe: Recipe, classifier: Classifier) -> tuple[np.ndarray, dict[str, Any]]:
    """(images, seconds and the last loss); what is not steps is compiling, for the most part."""
    size = cast(tuple[int, int], recipe.image.size)
    inputs = Inputs(classifier, _labels(recipe.image.count, classifier).tolist(), size, None, Measured())
    experiment = bind_experiment(recipe, inputs, shared=Shared({recipe.models[0]: classifier}))
    marks: dict[int, list[tuple[int, float]]] = {}
    with experiment.precision():
        started = time.perf_counter()
        for snapshot in experiment.snapshots(0):
            total = float(snapshot.metrics.total)  # as a run reads every logged loss
            marks.setdefault(snapshot.stage, []).append((snapshot.stage_step, time.perf_counter()))
        image = np.asarray(snapshot.image)
        whole = time.perf_counter() - started
    # From a stage's first snapshot to its last: the compiler's time is before the first.
    rates = [(last[1] - first[1]) / (last[0] - first[0]) for first, *_, last in marks.values()]
    steps = sum(rate * stage.steps for rate, stage in zip(rates, recipe.stages, strict=True))
    return image, {
        "seconds": whole,
        "seconds_of_steps": steps,
        "seconds_of_compiling": max(whole - steps, 0.0),
        "seconds_per_step": dict(zip((f"{s.size[0]} px" for s in recipe.stages), rates, strict=True)),
        "last_total": total,
        "finite": bool(np.isfinite(image).all()),
    }


def _labels(count: int, classifier: Classifier) -> np.ndarray:
    return np.arange(count, dtype=np.int32) % len(classifier.class_names)


class Verifier(NamedTuple):
    """Another network, which judges."""

    file: str
    network: Classifier

    @classmethod
    def of(cls, file: str) -> "Verifier":
        return cls(file, load(file))


def accuracy(images: np.ndarray, classifier: Classifier, verifier: Verifier) -> dict[str, Any]:
    """How many images another network gives their class, with a 95 % interval."""
    predicted = judge(verifier.network, classifier.to_uint8(images), statistics=False).logits.argmax(1)
    right = int((predicted == _labels(len(images), classifier)).sum())
    interval = list(metrics.wilson_interval(right, len(images)))
    return {"verifier": Path(verifier.file).name, "right": right, "of": len(images), "interval": interval}


def measure(
    classifier: Classifier, recipe: Recipe, *, verifier: Verifier | None, random_weights: bool, matmul_size: int
) -> dict[str, Any]:
    """One precision's entry of the result."""
    before = _peak_bytes()
    images, entry = synthesize(recipe, classifier)
    flops = sum(
        2 * forward_flops(classifier, stage.size[0]) * recipe.image.batch * stage.steps for stage in recipe.stages
    )  # forward, and the image's gradient; the weights' is never needed
    if (taken := _peak_bytes()) > before:
        entry["peak_bytes"] = taken
    peak = matmul_flops_per_second(matmul_size, recipe.precision)
    entry |= {
        "image_steps_per_second": recipe.image.batch * sum(s.steps for s in recipe.stages) / entry["seconds_of_steps"],
        "flops": flops,
        "matmul_peak_flops_per_second": peak,
        "fraction_of_matmul_peak": flops / entry["seconds_of_steps"] / peak,
    }
    if verifier:
        entry["accuracy"] = accuracy(images, classifier, verifier)
    else:
        entry["accuracy"] = NO_ACCURACY if random_weights else NOT_MEASURED
    return entry


def _peak_bytes() -> int:
    """The most that this process has had of the card; 0 on a CPU."""
    taken = jax.devices()[0].memory_stats() or {}
    return int(taken.get("peak_bytes_in_use", 0))


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """The whole result, written as JSON after each precision: cards are rented by the minute.

    Raises:
      JinvError: a network is unknown or can't be read, or takes no images of so few pixels.
    """
    device = jax.devices()[0]
    on_gpu = device.platform == "gpu"
    verifier = Verifier.of(options.verifier) if options.verifier else None
    classifier = load(options.checkpoint) if options.checkpoint else random_classifier(options.model)
    if (smallest := min(stage.size for stage in options.stages)) < classifier.min_size:
        raise UsageError(f"--stages {smallest} px: {classifier.architecture} takes {classifier.min_size} px or more")
    result: dict[str, Any] = {
        "model": classifier.architecture,
        "weights": Path(options.checkpoint).name if options.checkpoint else "random",
        "batch": options.batch,
        "stages": [stage._asdict() for stage in options.stages],
        "device": device.device_kind if on_gpu else "cpu",
        "machine": machine.describe(),
        "load": machine.load(),
        "precisions": {},
    }
    for precision in options.precisions:
        if not on_gpu and not options.on_cpu:
            entry: dict[str, Any] | str = f"{NOT_MEASURED}: no GPU was available"
        else:
            entry = _of_precision(precision, classifier, verifier, options)
        result["precisions"][precision] = entry
        print(line(precision, entry), flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _of_precision(
    precision: Precision, classifier: Classifier, verifier: Verifier | None, options: argparse.Namespace
) -> dict[str, Any] | str:
    try:
        check_precision(precision)
    except JinvError as error:
        return f"{NOT_MEASURED}: {error}"
    recipe = make_recipe(options.batch, options.stages, precision, options.log_every)
    return measure(
        classifier,
        recipe,
        verifier=verifier,
        random_weights=not options.checkpoint,
        matmul_size=options.matmul_size,
    )


def line(precision: str, entry: dict[str, Any] | str) -> str:
    """A precision's entry as a line of text."""
    if isinstance(entry, str):
        return f"{precision:8} {entry}"
    verdict = entry["accuracy"]
    said = verdict if isinstance(verdict, str) else f"{verdict['right']} of {verdict['of']} by {verdict['verifier']}"
    return (
        f"{precision:8} {entry['seconds']:8.1f} s in all, {entry['seconds_of_steps']:8.1f} s of steps, "
        f"{entry['image_steps_per_second']:9.1f} image-steps/s, {entry['fraction_of_matmul_peak']:4.0%} of "
        f"{entry['matmul_peak_flops_per_second'] / 1e12:.2f} TFLOP/s; {said}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="resnet50", help="with random weights")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="a converted file (or an embedded name) instead of --model"
    )
    parser.add_argument("--verifier", metavar="FILE", help="another network, which judges; needs --checkpoint")
    parser.add_argument("--batch", type=int, default=84)
    parser.add_argument("--stages", nargs="+", type=StageArgument.parse, metavar="SIZE:STEPS",
                        default=[StageArgument(112, 2000), StageArgument(224, 1000)])  # fmt: skip
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, metavar="NAME")
    parser.add_argument("--log-every", type=int, default=50, help="steps in one program, and between two losses")
    parser.add_argument("--matmul-size", type=int, default=8192)
    parser.add_argument("--on-cpu", action="store_true", help="run where there is no GPU: give small arguments")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "batch", "log_every", "matmul_size")
    refuse_places(parser, options, "json")
    if options.verifier and not options.checkpoint:
        parser.error("--verifier: random weights have no accuracy; give --checkpoint too")
    if any(stage.steps < 2 * options.log_every for stage in options.stages):
        parser.error(f"--stages: every stage needs at least two times --log-every {options.log_every} steps")
    if options.on_cpu:
        keep_freed_memory()
    try:
        benchmark(options)
    except JinvError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
