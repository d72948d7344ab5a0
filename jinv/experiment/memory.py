"""How much memory a run needs, said before it is started: `jinv synthesize CONFIG --memory`, and the refusal of a run
that evidently cannot fit.

Bytes of a program's buffers are the compiler's own (`memory_analysis`), of the step at the largest stage. What the
process itself holds (Python, JAX, the weights) is measured where host memory is the device's, on a CPU.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinv.core import draws
from jinv.core.choices import Size
from jinv.core.loop import Batch
from jinv.core.objective import term_fields
from jinv.errors import MemoryLimitError, UsageError, legible
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.vocabulary import Vocabulary
from jinv.models.classifier import Classifier
from jinv.models.networks import Networks
from jinv.recipe.recipe import Recipe

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


class Plan(NamedTuple):
    """One way to carry the recipe out: bytes of the step's buffers at its batch, and of every further image."""

    name: str
    buffers: int
    per_image: float
    largest_batch: int


def parse_bytes(text: str) -> int:
    """ "8GB" (10**9 each), "8GiB" (2**30 each), or plain bytes.

    Raises:
      UsageError: anything else.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in UNITS or not float(match[1]):
        raise UsageError(f"--memory {text}: not an amount of memory such as 8GB or 7.5GiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def available_bytes() -> int:
    """The default device's memory; on a CPU the machine's, or what its control group allows."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            return int(stats["bytes_limit"])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return total


def resident_bytes() -> int:
    """What this process holds in memory now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def weight_bytes(networks: Classifier | Networks) -> int:
    """Bytes of the variables, with what `prepared` added."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(networks.variables))


def step_bytes(experiment: Experiment, batch: int) -> int:
    """Bytes of the buffers of one step at the largest stage, without the variables. Compiles it; runs nothing."""
    networks = experiment.networks
    labels, ids = (jax.ShapeDtypeStruct((batch,), dtype) for dtype in (jnp.int32, jnp.uint32))
    init = None if experiment.init is None else jax.ShapeDtypeStruct((batch, *experiment.size, 3), jnp.float32)
    shapes = Batch(labels, jax.eval_shape(lambda: draws.run_key(0)), ids, init)  # type: ignore[arg-type]
    with experiment.precision():
        stages = experiment.synthesis(batch).shapes(networks.variables, shapes)
        if not stages:
            raise UsageError("--memory: no stage has a step, so that nothing but the start is computed")
        program, state, inputs = max(stages, key=lambda found: math.prod(found[0].stage.size))
        memory = program.step.lower(state, inputs).compile().memory_analysis()
    if memory is None:
        raise UsageError(f"--memory: the compiler for {jax.default_backend()} does not say what it needs")
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return int(whole - memory.alias_size_in_bytes - weight_bytes(networks))


def plans(experiment: Experiment, budget: int) -> Iterator[Plan]:
    """The recipe as given, then with chunks, with rematerialisation and with both, as far as it has them not yet."""
    recipe = experiment.recipe
    bound = experiment.varied(chunk=recipe.image.chunk, remat=False).networks
    held = resident_bytes() if jax.default_backend() == "cpu" else weight_bytes(bound)
    batch = recipe.image.batch
    chunk = recipe.image.chunk or min(8, batch // 2)
    can_remat = bound.can_remat
    ways = [(recipe.image.chunk, recipe.remat), (chunk, False), (None, can_remat), (chunk, can_remat)]
    for number, (ways_chunk, remat) in enumerate(dict.fromkeys((c or None, r) for c, r in ways)):
        one_way = experiment.varied(chunk=ways_chunk, remat=remat)
        buffers, twice = (step_bytes(one_way, n * batch) for n in (1, 2))
        per_image = (twice - buffers) / batch
        # What is not per image may be negative where the compiler reuses buffers better in the larger program.
        fixed = max(buffers - per_image * batch, 0)
        largest = max(int((budget - held - fixed) / max(per_image, 1)), 0)
        settings = [f"image.chunk = {ways_chunk}"] if ways_chunk else []
        name = ", ".join(settings + ["remat = true"] * remat) or "neither"
        yield Plan(f"{name} (as given)" if number == 0 else name, buffers, per_image, largest)


def print_plan(recipe: Recipe, budget: int | None = None, vocabulary: Vocabulary | None = None) -> None:
    """What `--memory` prints: a line per way, as they are compiled."""
    experiment = load_experiment(recipe, vocabulary=vocabulary)
    networks, budget = experiment.networks, budget or available_bytes()
    height, width = _largest(recipe)
    device = jax.devices()[0]
    where = "CPU" if device.platform == "cpu" else device.device_kind
    images = f"{recipe.image.batch} images of {height}x{width} px"
    print(legible(f"{networks.name}, {images}, {recipe.precision}, on {where}"))
    weights = weight_bytes(networks)
    process = f", process with weights {_amount(resident_bytes())}" if device.platform == "cpu" else ""
    print(f"weights {_amount(weights)}{process}, budget {_amount(budget)}")
    print(f"{'':34} {'buffers':>10} {'per image':>10} {'largest batch':>14}")
    for plan in plans(experiment, budget):
        columns = f"{_amount(plan.buffers):>10} {_amount(plan.per_image):>10} {plan.largest_batch:>14}"
        print(f"{plan.name:34} {columns}", flush=True)


def _largest(recipe: Recipe) -> Size:
    return max((stage.size for stage in recipe.stages), key=math.prod)


MOST_VALUES_PER_PIXEL = 4000
"""More than the norms of any network here are given (a CIFAR ResNet-110 1,024, a ResNeXt-101 622, a ResNet-50 222)."""


def check_fits(experiment: Experiment) -> None:
    """Refuse what cannot fit, by a lower bound: the backward pass of batch statistics needs every norm's input.

    Only on a CPU, where the system would end the process without a word; other devices say themselves that they are
    full. Only for objectives with statistics: without them a compiler may keep less.

    Raises:
      MemoryLimitError: the bound is above the machine's memory.
    """
    recipe, networks = experiment.recipe, experiment.networks
    fields = {field for name in recipe.terms for field in term_fields(experiment.vocabulary.terms[name])}
    if jax.default_backend() != "cpu" or "norm_stats" not in fields or recipe.remat:
        return
    height, width = _largest(recipe)
    images = min(recipe.image.chunk or recipe.image.batch, recipe.image.batch)
    if images * height * width * 4 * MOST_VALUES_PER_PIXEL * len(networks.members) < available_bytes():
        return  # looking closer takes a second
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    values = [_norm_values(member, image) for member in networks.members]
    per_image = (max(values) if networks.draw == "one" else sum(values)) * (2 if recipe.precision == "bf16" else 4)
    needed, available = weight_bytes(networks) + images * per_image, available_bytes()
    if needed > available:
        fitting = max(int((available - weight_bytes(networks)) / per_image / 2), 1)
        raise MemoryLimitError.of(
            f"image.{'chunk' if recipe.image.chunk else 'batch'}",
            f"{images} images of {height}x{width} px at once need more than "
            f"{_amount(needed)}, this machine has {_amount(available)}; try image.chunk = {fitting}, or see --memory",
        )


def _norm_values(classifier: Classifier, image: jax.ShapeDtypeStruct) -> int:
    """How many values a network's batch norms are given for an image."""
    values: list[int] = []

    def shapes(variables: Any, image: jax.Array) -> None:
        stats = classifier.forward(variables, image).norm_stats
        values.extend(int(layer.count) * layer.batch_mean.shape[0] for layer in stats)

    jax.eval_shape(shapes, classifier.variables, image)
    return sum(values)


def _amount(number: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number / 1e3:.1f} kB"
