"""Whole runs side by side: K settings of the seed and of any numbers of an experiment, vmapped into one program.

Each setting's step is `make_step`'s own, bound inside the program to that setting's numbers, so that a run beside others
takes the path it would take alone, to float32 rounding: same noise, same draws, statistics of its own batch only.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jinv.core.augment import Augmentation
from jinv.core.objective import Term
from jinv.core.parameterization import Parameterization, Size
from jinv.core.step import (
    Bounds,
    ForwardFunction,
    Metrics,
    Stage,
    SynthesisState,
    clip_image,
    first_params,
    make_step,
    start_state,
)
from jinv.core.synthesis import Snapshot, initial_noise, stage_image

Setting = Any
"""The numbers in which settings differ: a pytree of scalars, or of (K,) arrays for all settings at once."""


class Bound(NamedTuple):
    """What one setting makes of one stage. Numbers in it may be traced; sizes, steps and names are plain."""

    stage: Stage
    terms: Sequence[Term]
    augmentations: Sequence[Augmentation] = ()


class SweepSnapshot(NamedTuple):
    """All settings' syntheses at one moment: a `Snapshot`'s fields with a leading axis K; `state` is not kept."""

    step: int
    stage: int
    stage_step: int
    images: Float[Array, "k n h w c"]
    metrics: Metrics
    learning_rates: Float[np.ndarray, " k"]
    stage_done: bool


def make_sweep_step(
    forward: ForwardFunction,
    bind: Callable[[Setting], Bound],
    image_size: Size,
    *,
    bounds: Bounds | None = None,
    keep: Literal["last", "best"] = "last",
    copies: int = 1,
) -> Callable[..., tuple[SynthesisState, Metrics]]:
    """K settings' steps as one pure function, `(states, settings, run_keys, labels, variables, image_ids, first_step)`.

    The first four have a leading axis K (labels are (K, N)); variables and the N image ids are shared by all.
    """

    def step(
        state: SynthesisState, setting: Setting, run_key: Array, labels: Array, variables: Any, ids: Array, first: Array
    ) -> tuple[SynthesisState, Metrics]:
        stage, terms, augmentations = bind(setting)
        one = make_step(
            forward, terms, stage, stage.parameterization(image_size, stage.size, bounds),
            augmentations=augmentations, bounds=bounds, keep=keep, copies=copies,
        )  # fmt: skip
        return one(state, variables, labels, (run_key, ids), first)

    return jax.vmap(step, in_axes=(0, 0, 0, 0, None, None, None))


def synthesize_sweep(
    forward: ForwardFunction,
    variables: Any,
    labels: Int[Array, "k n"],
    *,
    bind: Callable[[int, Setting], Bound],
    num_stages: int,
    settings: Setting,
    seeds: Sequence[int],
    image_size: Size,
    image_ids: Array | None = None,
    init: Float[np.ndarray, "k n h w c"] | None = None,
    bounds: Bounds | None = None,
    keep: Literal["last", "best"] = "last",
    copies: int = 1,
    log_every: int = 10,
) -> Iterator[SweepSnapshot]:
    """Synthesize K batches of N images at once; a generator of `SweepSnapshot`s that does no I/O.

    Every `log_every` steps and at the end of each stage it yields, as `synthesize` does. It takes the memory of a batch
    of K * N images.

    Args:
      forward: `(variables, image, labels) -> Forward`, as `Classifier.forward`.
      labels: (K, N) class ids.
      bind: `(index of the stage, one setting) -> Bound`; called with traced numbers inside the program and with plain
        ones outside, where sizes and steps are read: they must not depend on the setting.
      settings: a pytree of (K,) arrays; a setting is one slice of each.
      seeds: K seeds, from which noise and draws derive.
      image_ids: (N,) ids, default 0..N-1, the same for every setting.
      init: each setting's start images, instead of noise.
      bounds, keep, copies: as in `synthesize`.

    Raises:
      ValueError: labels, seeds and settings for different numbers of runs, or an init of another shape.
    """
    labels = jnp.asarray(labels, jnp.int32)
    runs, count = labels.shape
    lengths = {len(seeds), *(leaf.shape[0] for leaf in jax.tree.leaves(settings))}
    if lengths != {runs}:
        raise ValueError(f"synthesize_sweep: labels for {runs} runs, but seeds and settings for {sorted(lengths)}")
    ids = jnp.arange(count, dtype=jnp.uint32) if image_ids is None else jnp.asarray(image_ids, jnp.uint32)
    # Made one by one: a seed is then read exactly as `synthesize` reads it.
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    if init is None:
        images = jax.vmap(lambda key: initial_noise(key, ids, image_size))(keys)
    elif init.shape[:4] == (runs, count, *image_size):
        images = jnp.asarray(init)
    else:
        raise ValueError(f"init: shape {init.shape}, expected {(runs, count, *image_size, 3)}")
    plain = [jax.tree.map(lambda leaf, k=k: leaf[k], settings) for k in range(runs)]
    first, first_step, previous_size = jnp.copy(images), 0, image_size
    for index in range(num_stages):
        bind_here = partial(bind, index)
        stages = [bind_here(setting).stage for setting in plain]
        size, steps = stages[0].size, stages[0].steps
        way = stages[0].parameterization(image_size, size, bounds)
        if any((stage.size, stage.steps) != (size, steps) for stage in stages):
            raise ValueError(f"synthesize_sweep: stage {index} has other sizes or steps in other settings")
        if not steps:
            continue
        step = jax.jit(
            make_sweep_step(forward, bind_here, image_size, bounds=bounds, keep=keep, copies=copies), donate_argnums=0
        )
        render = jax.jit(jax.vmap(partial(_render, way, bounds)))
        noise, at = init is None and not first_step, (index, first_step, previous_size)
        start = jax.vmap(partial(_start, bind_here, way, ids, keep=keep, noise=noise, at=at))
        # Copied: an unvaried start may share its buffer with the images, and the step donates it.
        states = jax.tree.map(jnp.copy, start(images, first, keys, settings))
        shared = (settings, keys, labels, variables, ids, jnp.asarray(first_step, jnp.int32))
        previous = None
        for stage_step in range(1, steps + 1):
            states, metrics = step(states, *shared)
            if previous is not None:  # at most one step ahead of the device, as in `synthesize`
                previous.total.block_until_ready()
            previous = metrics
            done = stage_step == steps
            if done or stage_step % log_every == 0:
                images = render(states.best_params if done and keep == "best" else states.params)
                rates = np.array([_rate(stage, stage_step - 1) for stage in stages])
                yield SweepSnapshot(first_step + stage_step, index, stage_step, images, metrics, rates, done)
        first_step, previous_size = first_step + steps, size


def _start(
    bind: Callable[[Setting], Bound],
    way: Parameterization,
    ids: Array,
    image: Array,
    first: Array,
    run_key: Array,
    setting: Setting,
    *,
    keep: str,
    noise: bool,
    at: tuple[int, int, Size],
) -> SynthesisState:
    """One setting's state before a stage, as `synthesize` has it; `at` is the stage's index, steps and size before it."""
    stage, (index, first_step, previous_size) = bind(setting).stage, at
    image = stage_image(stage, index, image, first, (run_key, ids), first_step, previous_size)
    return start_state(first_params(way, image, noise=noise), stage, keep, ids.shape)


def snapshot_of(snapshot: SweepSnapshot, run: int) -> Snapshot:
    """One setting's share of a snapshot, without a state; arrays that lie on the host are sliced there."""
    metrics = jax.tree.map(lambda leaf: leaf[run], snapshot.metrics)
    rate = float(snapshot.learning_rates[run])
    at = (snapshot.step, snapshot.stage, snapshot.stage_step)
    return Snapshot(*at, snapshot.images[run], metrics, rate, snapshot.stage_done)


def _render(way: Parameterization, bounds: Bounds | None, params: Any) -> Array:
    return clip_image(way.render(params), bounds)


def _rate(stage: Stage, step: int) -> float:
    rate = stage.learning_rate
    return float(rate(step)) if callable(rate) else float(rate)
