"""A stage's functions, compiled once for every batch of the same shapes, of one run or of K settings side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jinv.core.choices import Size
from jinv.core.committee import AnyForward
from jinv.core.inspection import make_gradients, make_statistics
from jinv.core.processor import jit
from jinv.core.starts import initial_noise, next_start
from jinv.core.step import (
    SHARED_ID,
    Inputs,
    Method,
    Metrics,
    Stage,
    SynthesisState,
    clip_image,
    first_averages,
    first_params,
    make_last_look,
    make_step,
    start_state,
)
from jinv.core.types import Image

Setting = Any
"""The numbers in which a sweep's settings differ: a pytree of scalars, or of (K,) arrays for all settings at once."""


BindStage = Callable[[Setting], Stage]
"""What a setting makes of a stage. Numbers in it may be traced; sizes, steps and names are plain and the same for all."""


def constant(stage: Stage) -> BindStage:
    """A stage that no setting changes."""
    return lambda setting: stage


# Of a sweep's `Inputs`: each setting has its own labels, run key and numbers; variables and image ids are shared.
SIDE_BY_SIDE = Inputs(variables=None, labels=0, run_key=0, image_ids=None, first_step=None, setting=0)  # type: ignore[arg-type]


class StageProgram:
    """A stage's compiled functions, of one run, or of K settings side by side (`example` is one of them, to read sizes from)."""

    def __init__(self, forward: AnyForward, bind: BindStage, method: Method, example: Setting, sweep: bool) -> None:
        self.forward, self.bind, self.method, self.sweep = forward, bind, method, sweep
        self.stage = bind(example)
        step, look = self._of(make_step, forward), self._of(make_last_look, forward)
        gradients, statistics = self._of(make_gradients, forward), self._of(make_statistics, forward)
        scanned = self._scanned(step)
        self.step = jit(step, donate_argnums=0)
        self.steps = jit(scanned, donate_argnums=0, static_argnums=2)
        self.last_look = jit(look)
        self.gradients = jit(gradients)
        self.statistics = jit(statistics)
        way = method.way(self.stage)
        self._render = (lambda params: clip_image(way.render(params), method.bounds)) if not sweep else jit(
            jax.vmap(lambda params: clip_image(way.render(params), method.bounds))
        )  # fmt: skip

    def _of(self, make: Callable[..., Callable[..., Any]], forward: AnyForward) -> Callable[..., Any]:
        """The function that `make` makes, bound to the setting inside the program."""

        def function(state: SynthesisState, inputs: Inputs) -> Any:
            return make(forward, self.bind(inputs.setting), self.method)(state, inputs)

        return jax.vmap(function, in_axes=(0, SIDE_BY_SIDE)) if self.sweep else function

    @staticmethod
    def _scanned(step: Callable[..., Any]) -> Callable[..., Any]:
        def many(state: SynthesisState, inputs: Inputs, length: int) -> tuple[SynthesisState, Metrics]:
            state, metrics = lax.scan(lambda state, _: step(state, inputs), state, length=length)
            return state, jax.tree.map(lambda values: values[-1], metrics)

        return many

    def begin(self, image: Array, first: Array, inputs: Inputs, before: "Before") -> SynthesisState:
        """The state before the stage's first step, from the image that the stage before left."""

        def begin(image: Array, first: Array, inputs: Inputs) -> SynthesisState:
            stage = self.bind(inputs.setting)
            image = stage_image(stage, image, first, inputs, before)
            params = first_params(self.method.way(stage), image, noise=before.noise and not before.steps)
            averages = first_averages(self.forward, stage, self.method, params, inputs)
            return start_state(params, stage, self.method)._replace(averages=averages)

        make = jax.vmap(begin, in_axes=(0, 0, SIDE_BY_SIDE)) if self.sweep else begin
        # Copied: the state may share its buffers with the image (pixels are their own parameters), and the step donates it.
        state: SynthesisState = jax.tree.map(jnp.copy, make(image, first, inputs))
        return state

    def image(self, state: SynthesisState, *, done: bool) -> Array:
        """The full-size image of a state; at the end of a stage the best one where that is kept."""
        params = state.best_params if done and self.method.keep == "best" else state.params
        # Pixels render to themselves, and the next step donates the state's buffers.
        return jnp.copy(self._render(params))

    def rates(self, inputs: Inputs) -> Callable[[int], Any]:
        """`step -> learning rate`, one per setting of a sweep."""
        if not self.sweep:
            return self.stage.rate_at
        runs = range(inputs.labels.shape[0])
        stages = [self.bind(jax.tree.map(lambda leaf, k=k: leaf[k], inputs.setting)) for k in runs]
        return lambda step: np.array([stage.rate_at(step) for stage in stages])


class Before(NamedTuple):
    """What was before a stage: its number, the steps of earlier stages, what the last of those saw, whether the run began
    with noise."""

    number: int
    steps: int
    size: Size
    noise: bool


def stage_image(stage: Stage, image: Image, first: Image, inputs: Inputs, before: Before) -> Image:
    """The full-size image that a stage starts from, see `starts.next_start`; the run's first as it is."""
    if not before.steps or stage.start == "image":
        return image
    _, height, width, _ = image.shape
    key = jax.random.fold_in(inputs.run_key, SHARED_ID - before.number)
    fresh = initial_noise(key, inputs.image_ids, (height, width))
    return next_start(stage.start, image, first, fresh, before.size, stage.size)
