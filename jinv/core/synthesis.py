"""The loop: stage after stage of jitted steps, from noise (or a given start) to images of chosen classes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jinv.core.augment import Augmentation
from jinv.core.devices import place, replicate
from jinv.core.objective import Term
from jinv.core.parameterization import Bounds, Size
from jinv.core.starts import next_start
from jinv.core.step import (
    SHARED_ID,
    ForwardFunction,
    Metrics,
    Stage,
    SynthesisState,
    clip_image,
    first_params,
    make_gradient_norms,
    make_step,
    start_state,
)
from jinv.core.stepping import scan_by_default, take_steps
from jinv.core.types import Image, Key, Labels


class Snapshot(NamedTuple):
    """The synthesis at one moment. `step` counts finished steps over all stages, `stage_step` within the stage.

    `image` is full-size, standardised NHWC, after the update; `metrics` are those of the last step, before it, and so
    are `gradient_norms` where they were asked for. `state` is the live state, valid until the generator is advanced (its
    buffers are donated to the next step); a sweep keeps none.
    """

    step: int
    stage: int
    stage_step: int
    image: Image
    metrics: Metrics
    learning_rate: float
    stage_done: bool
    state: SynthesisState | None = None
    gradient_norms: dict[str, Array] | None = None


class Resume(NamedTuple):
    """Where an interrupted synthesis goes on: the stage, and its state's leaves, or the image that the stage starts from."""

    stage: int
    leaves: Sequence[Any] | None = None
    image: Image | Float[np.ndarray, "n h w c"] | None = None


def initial_noise(run_key: Key, image_ids: Array, size: Size, channels: int = 3) -> Image:
    """Standard normal noise in network units, (N, height, width, channels), each image from its own id alone."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(run_key, i), 0))(image_ids)
    return jax.vmap(lambda key: jax.random.normal(key, (*size, channels), jnp.float32))(keys)


def clip_bounds(mean: Sequence[float], std: Sequence[float]) -> Bounds:
    """The standardised values of black and white, `(-m/s, (1-m)/s)` per channel. Thesis; Yin et al. (2020)."""
    m, s = jnp.asarray(mean, float), jnp.asarray(std, float)
    return -m / s, (1 - m) / s


def synthesize(
    forward: ForwardFunction,
    variables: Any,
    labels: Labels,
    *,
    terms: Callable[[Stage], Sequence[Term]] | Sequence[Term],
    stages: Sequence[Stage],
    image_size: Size,
    seed: int = 0,
    image_ids: Array | None = None,
    init: Image | Float[np.ndarray, "n h w c"] | None = None,
    augmentations: Callable[[Stage], Sequence[Augmentation]] | Sequence[Augmentation] = (),
    bounds: Bounds | None = None,
    keep: Literal["last", "best"] = "last",
    copies: int = 1,
    log_every: int = 10,
    log_gradients: bool = False,
    checkpoint_every: int | None = None,
    resume: Resume | None = None,
    sharding: NamedSharding | None = None,
    scan: bool | None = None,
) -> Iterator[Snapshot]:
    """Synthesize one batch of images; a generator of `Snapshot`s that does no I/O.

    Every `log_every` and `checkpoint_every` steps and at the end of each stage it yields; the last snapshot's image is
    the result.

    Args:
      forward: `(variables, image, labels) -> Forward`, as `Classifier.forward`.
      labels: (N,) class ids.
      image_size: (height, width) of the full-size image; no stage may be larger.
      image_ids: (N,) ids from which noise and augmentation keys derive, default 0..N-1.
      init: start image (N, height, width, C) in network units instead of noise.
      terms, augmentations: the same for every stage, or functions of the stage (schedules and shifts depend on it).
      bounds: per-channel (lower, upper) that plain pixels are clipped to after every update; another parameterization
        is rendered through a sigmoid between them.
      keep: "best" returns, per image, the parameters with the lowest score within the *stage*: an image of an earlier,
        smaller stage is never kept, its losses are of another resolution.
      sharding: how the images lie on several devices (`devices.batch_sharding`), which must divide N. Statistics stay
        those of the whole batch, results equal one device's to float32 rounding.
      scan: whether `log_every` steps go into one program (`lax.scan`); None decides by the platform.
      copies: views of each image per step, each with draws of its own.
      log_gradients: whether the snapshots have `gradient_norms`; the images stay the same to the bit.

    Raises:
      ValueError: a stage larger than the image, or an init of another shape.
    """
    labels = jnp.asarray(labels, jnp.int32)
    image_ids = (
        jnp.arange(labels.shape[0], dtype=jnp.uint32) if image_ids is None else jnp.asarray(image_ids, jnp.uint32)
    )
    run_key = jax.random.key(seed)
    resume = resume or Resume(0)
    image = initial_noise(run_key, image_ids, image_size) if init is None else jnp.array(init)
    first = jnp.copy(image)  # the steps are given the image itself, and their buffers are donated
    if resume.image is not None:
        image = jnp.array(resume.image)
    if image.shape[:3] != (labels.shape[0], *image_size):
        raise ValueError(f"init: shape {image.shape}, expected {(labels.shape[0], *image_size, 3)}")
    for index, stage in enumerate(stages):
        if stage.size[0] > image_size[0] or stage.size[1] > image_size[1]:
            raise ValueError(f"stages[{index}].size: {stage.size} is larger than the image {image_size}")
    variables = replicate(variables, sharding)
    labels, image_ids, image, first = place((labels, image_ids, image, first), sharding, len(labels))
    first_step, previous_size = 0, image_size
    for index, stage in enumerate(stages):
        if index >= resume.stage and stage.steps:
            parameterization = stage.parameterization(image_size, stage.size, bounds)
            chosen = augmentations(stage) if callable(augmentations) else augmentations
            objective = terms(stage) if callable(terms) else terms
            step = make_step(
                forward, objective, stage, parameterization,
                augmentations=chosen, bounds=bounds, keep=keep, copies=copies,
            )  # fmt: skip
            norms_of = jax.jit(
                make_gradient_norms(forward, objective, parameterization, augmentations=chosen, copies=copies)
            )
            image = stage_image(stage, index, image, first, (run_key, image_ids), first_step, previous_size)
            start = start_state(
                first_params(parameterization, image, noise=init is None and not first_step), stage, keep, labels.shape
            )
            if index == resume.stage and resume.leaves is not None:
                start = jax.tree.unflatten(jax.tree.structure(start), [jnp.asarray(leaf) for leaf in resume.leaves])
            start = place(start, sharding, len(labels))
            arguments = (variables, labels, (run_key, image_ids), jnp.asarray(first_step, jnp.int32))
            stops = [
                stop
                for stop in range(int(start.step) + 1, stage.steps + 1)
                if stop == stage.steps
                or stop % log_every == 0
                or (checkpoint_every and (first_step + stop) % checkpoint_every == 0)
            ]
            shown, begin = set(stops), int(start.step)
            norms = None
            if log_gradients:  # those before a logged step are taken of the state that it starts from
                norms = norms_of(start, *arguments) if begin + 1 in shown else None
                stops = sorted(shown | {stop - 1 for stop in stops if stop - 1 > begin})
            length = log_every if (scan_by_default() if scan is None else scan) else None
            for stage_step, state, metrics in take_steps(step, start, arguments, stops, scan_length=length):
                before = norms
                norms = norms_of(state, *arguments) if log_gradients and stage_step + 1 in shown else None
                if stage_step not in shown:
                    continue
                done = stage_step == stage.steps
                params = state.best_params if done and keep == "best" else state.params
                image = clip_image(parameterization.render(params), bounds)
                image = jnp.copy(image)  # pixels render to themselves, and the next step donates the state's buffers
                rate = stage.learning_rate
                rate = float(rate(stage_step - 1)) if callable(rate) else float(rate)
                yield Snapshot(first_step + stage_step, index, stage_step, image, metrics, rate, done, state, before)
        first_step += stage.steps
        previous_size = stage.size if stage.steps else previous_size


def stage_image(
    stage: Stage,
    index: int,
    image: Image,
    first: Image,
    keys: tuple[Key, Array],
    first_step: int,
    previous_size: Size,
) -> Image:
    """The full-size image that the stage of that index starts from, see `starts.next_start`; the run's first as it is."""
    if not first_step or stage.start == "image":
        return image
    run_key, image_ids = keys
    _, height, width, _ = image.shape
    fresh = initial_noise(jax.random.fold_in(run_key, SHARED_ID - index), image_ids, (height, width))
    return next_start(stage.start, image, first, fresh, previous_size, stage.size)
