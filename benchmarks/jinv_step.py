"""The step as `jinv synthesize` takes it: `make_step`, jitted, buffers donated."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import problem
from benchmarks.problem import Problem
from jinv.core.objective import TERMS, Term
from jinv.core.optimizers import adam
from jinv.core.processor import jit
from jinv.core.step import Inputs, Method, Stage, SynthesisState, make_step
from jinv.models.classifier import Classifier
from jinv.models.precision import matmul_precision, with_precision
from jinv.models.registry import get_architecture
from jinv.runs.allocator import keep_freed_memory
from jinv.weights.load import unflatten
from jinv_convert.families.rules import map_state_dict


def build(case: Problem, weights: dict[str, np.ndarray]) -> Classifier:
    """The classifier, prepared as a run prepares it."""
    architecture = get_architecture(case.model)
    targets = map_state_dict(case.model, {key: value.shape for key, value in weights.items()})
    arrays = {target.path: jnp.asarray(target.laid_out(weights[key])) for key, target in targets.items()}
    classifier = Classifier(
        architecture=case.model,
        module=architecture.make(architecture.num_classes),
        variables=unflatten(arrays),
        mean=architecture.mean,
        std=architecture.std,
        input_size=architecture.input_size,
        min_size=architecture.min_size,
        class_names=(),
    )
    return with_precision(classifier, case.precision).prepared()


class Implementation:
    """jinv, on JAX's default device."""

    def __init__(self, case: Problem, path: Path) -> None:
        keep_freed_memory()
        arrays, weights = problem.read(path)
        classifier = build(case, weights)
        optimizer = adam(problem.LEARNING_RATE, *problem.BETAS, problem.EPSILON)  # the one that runs use
        size = (case.size, case.size)
        terms = [
            Term("cross_entropy", TERMS["cross_entropy"], problem.CROSS_ENTROPY),
            Term("total_variation", TERMS["total_variation"], problem.TOTAL_VARIATION),
            Term("feature_statistics", TERMS["feature_statistics"], problem.FEATURE_STATISTICS),
        ]
        stage = Stage(size, 1, terms, optimizer, problem.LEARNING_RATE, problem.augmentations(case.size))
        method = Method(size, (jnp.asarray(arrays["lower"]), jnp.asarray(arrays["upper"])))
        step = make_step(classifier.forward, stage, method)
        self._start = arrays["image"]
        self._optimizer = optimizer
        self._precision = case.precision
        labels = jnp.asarray(arrays["labels"])
        self._inputs = Inputs(classifier.variables, labels, *problem.run_keys(case.batch), jnp.int32(0))
        self._state = self._first_state()
        with matmul_precision(self._precision):
            self._step = jit(step, donate_argnums=0).lower(self._state, self._inputs).compile()

    def _first_state(self) -> SynthesisState:
        image = jnp.array(self._start)
        return SynthesisState(image, self._optimizer.init(image), jnp.zeros((), jnp.int32))

    def first_steps(self, steps: int) -> tuple[list[float], np.ndarray]:
        """(losses of the first steps, the first one's gradient NHWC), read back from Adam's first moment."""
        state, losses, gradient = self._first_state(), [], np.zeros(0)
        for index in range(steps):
            state, metrics = self._step(state, self._inputs)
            losses.append(float(metrics.total))
            if index == 0:
                gradient = np.asarray(state.optimizer_state[0].mu) / (1 - problem.BETAS[0])
        return losses, gradient

    def run(self, steps: int) -> None:
        """That many steps; returns when they are done."""
        for _ in range(steps):
            self._state, metrics = self._step(self._state, self._inputs)
        metrics.total.block_until_ready()

    def matmul(self, size: int) -> Any:
        """A function that multiplies two square matrices once, in the case's precision."""
        dtype = jnp.bfloat16 if self._precision == "bf16" else jnp.float32
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)  # a GPU multiplies zeros and ones faster
        with matmul_precision(self._precision):
            multiply = jax.jit(jnp.dot).lower(a, a).compile()
        return lambda: multiply(a, a).block_until_ready()

    def stream(self, size: int) -> Any:
        """A function that reads `size` bytes from memory once, and writes as many."""
        a = jnp.ones((size // 4,), jnp.float32)
        add = jax.jit(lambda a: a + 1).lower(a).compile()
        return lambda: add(a).block_until_ready()

    def program(self) -> str:
        """The compiled step, as XLA prints it."""
        text: str = self._step.as_text()
        return text

    def describe(self) -> dict[str, Any]:
        """What the compiler says of the step; repeatable, unlike a time. On a GPU also the memory that was taken of it."""
        memory, cost = self._step.memory_analysis(), self._step.cost_analysis() or {}
        taken = jax.devices()[0].memory_stats()  # None on a CPU
        return ({"peak_bytes": taken["peak_bytes_in_use"]} if taken else {}) | {
            "device": str(jax.devices()[0].device_kind),
            "compiled_flops": cost.get("flops"),
            "compiled_bytes": cost.get("bytes accessed"),
            "buffer_bytes": memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else None,
        }
