"""The loop: stage after stage of jitted steps, from noise (or a given start) to images of chosen classes.

    view  = augment(parameterization.view(params))       what the network sees
    total = sum_t weight_t * term_t(Forward(view, ...))   the objective
    params <- project(params + optimizer(grad total))     projection (clipping) outside the optimizer

Keys are derived, never carried: an image's draws depend on the run's key, its id and the step alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jinv.core.augment import Augmentation, augment_batch
from jinv.core.devices import place, replicate
from jinv.core.losses import cross_entropy_per_image
from jinv.core.objective import Term, evaluate_terms
from jinv.core.parameterization import Parameterization, Size, pooled_pixels
from jinv.core.stepping import scan_by_default, take_steps
from jinv.core.types import Forward, Image, Key, Keys, Labels

ForwardFunction = Callable[[Any, Image, Labels], Forward]
Bounds = tuple[Float[Array, " c"], Float[Array, " c"]]

# Shared draws (`draw="batch"`) have an id of their own that no image has. It is the same for every batch, so that an
# image's augmentations do not depend on the batch it is in.
_SHARED_ID = 2**32 - 1


class Stage(NamedTuple):
    """One resolution: `steps` steps in which the network sees images of `size`, with an optimizer of its own."""

    size: Size
    steps: int
    optimizer: optax.GradientTransformation
    learning_rate: float | Array | optax.Schedule = 0.05
    parameterization: Callable[[Size, Size], Parameterization] = pooled_pixels


class SynthesisState(NamedTuple):
    """What a step turns into the next: parameters, optimizer state, the stage's step, the best parameters so far."""

    params: Any
    optimizer_state: Any
    step: Array
    best_params: Any = None
    best_score: Array | None = None


class Metrics(NamedTuple):
    """What a step reports, computed before its update. `terms` maps a name to (value, weighted value)."""

    total: Array
    terms: dict[str, tuple[Array, Array]]
    accuracy: Array


class Snapshot(NamedTuple):
    """The synthesis at one moment. `step` counts finished steps over all stages, `stage_step` within the stage.

    `image` is full-size, standardised NHWC, after the update; `metrics` are those of the last step, before it. `state`
    is the live state, valid until the generator is advanced (its buffers are donated to the next step); a sweep keeps none.
    """

    step: int
    stage: int
    stage_step: int
    image: Image
    metrics: Metrics
    learning_rate: float
    stage_done: bool
    state: SynthesisState | None = None


class Resume(NamedTuple):
    """Where an interrupted synthesis goes on: the stage, and its state's leaves, or the image that the stage starts from."""

    stage: int
    leaves: Sequence[Any] | None = None
    image: Image | Float[np.ndarray, "n h w c"] | None = None


def make_step(
    forward: ForwardFunction,
    terms: Sequence[Term],
    stage: Stage,
    parameterization: Parameterization,
    *,
    augmentations: Sequence[Augmentation] = (),
    bounds: Bounds | None = None,
    keep: Literal["last", "best"] = "last",
) -> Callable[..., tuple[SynthesisState, Metrics]]:
    """One synthesis step as a pure function of arrays, `(state, variables, labels, keys, first_step) -> (state, metrics)`.

    Args:
      keys: (run key, image ids (N,) uint32).
      first_step: how many steps earlier stages took, so that no stage repeats another's draws.
    """

    def loss(params: Any, variables: Any, labels: Labels, batch_key: Key, image_keys: Keys, step: Array) -> Any:
        view = augment_batch(augmentations, batch_key, image_keys, parameterization.view(params))
        result = forward(variables, view, labels)
        total, values = evaluate_terms(terms, result, step)
        return total, (values, result.logits)

    def step(
        state: SynthesisState, variables: Any, labels: Labels, keys: tuple[Key, Array], first_step: Array
    ) -> tuple[SynthesisState, Metrics]:
        batch_key, image_keys = step_keys(keys, first_step + state.step)
        (total, (values, logits)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params, variables, labels, batch_key, image_keys, state.step
        )
        updates, optimizer_state = stage.optimizer.update(gradient, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params = clip_image(params, bounds)
        accuracy = jnp.mean(jnp.argmax(logits, axis=1) == labels)
        best_params, best_score = state.best_params, state.best_score
        if keep == "best" and best_score is not None:
            # The batch's total with the image's own cross-entropy in place of the batch's mean: what can be said of one
            # image. It belongs to the parameters before the update, so those are kept with it.
            own = cross_entropy_per_image(logits, labels)
            score = total - jnp.mean(own) + own
            better = score < best_score
            best_params = jax.tree.map(
                lambda old, new: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old),
                best_params,
                state.params,
            )
            best_score = jnp.where(better, score, best_score)
        new = SynthesisState(params, optimizer_state, state.step + 1, best_params, best_score)
        return new, Metrics(total, values, accuracy)

    return step


def step_keys(keys: tuple[Key, Array], step: Array | int) -> tuple[Key, Keys]:
    """(the key shared by the batch, one key per image) of a step counted over all stages."""
    run_key, image_ids = keys
    # 0 is the initial noise, so steps start at 1.
    batch_key = jax.random.fold_in(jax.random.fold_in(run_key, _SHARED_ID), step + 1)
    image_keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(run_key, i), step + 1))(image_ids)
    return batch_key, image_keys


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
    log_every: int = 10,
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
      bounds: per-channel (lower, upper) that the full-size variable is clipped to after every update.
      keep: "best" returns, per image, the parameters with the lowest score within the *stage*: an image of an earlier,
        smaller stage is never kept, its losses are of another resolution.
      sharding: how the images lie on several devices (`devices.batch_sharding`), which must divide N. Statistics stay
        those of the whole batch, results equal one device's to float32 rounding.
      scan: whether `log_every` steps go into one program (`lax.scan`); None decides by the platform.

    Raises:
      ValueError: a stage larger than the image, or an init of another shape.
    """
    labels = jnp.asarray(labels, jnp.int32)
    image_ids = (
        jnp.arange(labels.shape[0], dtype=jnp.uint32) if image_ids is None else jnp.asarray(image_ids, jnp.uint32)
    )
    run_key = jax.random.key(seed)
    resume = resume or Resume(0)
    if resume.image is not None:
        init = resume.image
    image = initial_noise(run_key, image_ids, image_size) if init is None else jnp.array(init)
    if image.shape[:3] != (labels.shape[0], *image_size):
        raise ValueError(f"init: shape {image.shape}, expected {(labels.shape[0], *image_size, 3)}")
    for index, stage in enumerate(stages):
        if stage.size[0] > image_size[0] or stage.size[1] > image_size[1]:
            raise ValueError(f"stages[{index}].size: {stage.size} is larger than the image {image_size}")
    variables = replicate(variables, sharding)
    labels, image_ids, image = place((labels, image_ids, image), sharding, len(labels))
    first_step = 0
    for index, stage in enumerate(stages):
        if index >= resume.stage and stage.steps:
            parameterization = stage.parameterization(image_size, stage.size)
            chosen = augmentations(stage) if callable(augmentations) else augmentations
            objective = terms(stage) if callable(terms) else terms
            step = make_step(
                forward, objective, stage, parameterization, augmentations=chosen, bounds=bounds, keep=keep
            )
            start = start_state(parameterization.init(image), stage, keep, labels.shape)
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
            length = log_every if (scan_by_default() if scan is None else scan) else None
            for stage_step, state, metrics in take_steps(step, start, arguments, stops, scan_length=length):
                done = stage_step == stage.steps
                params = state.best_params if done and keep == "best" else state.params
                image = clip_image(parameterization.render(params), bounds)
                image = jnp.copy(image)  # pixels render to themselves, and the next step donates the state's buffers
                rate = stage.learning_rate
                rate = float(rate(stage_step - 1)) if callable(rate) else float(rate)
                yield Snapshot(first_step + stage_step, index, stage_step, image, metrics, rate, done, state)
        first_step += stage.steps


def start_state(params: Any, stage: Stage, keep: str, count: tuple[int, ...]) -> SynthesisState:
    """The state before a stage's first step; `count` is the shape of the labels, (N,)."""
    state = SynthesisState(params, stage.optimizer.init(params), jnp.zeros((), jnp.int32))
    if keep == "best":
        worst = jnp.full(count, jnp.inf, jnp.float32)
        state = state._replace(best_params=jax.tree.map(jnp.copy, params), best_score=worst)
    return state


def clip_image(image: Image, bounds: Bounds | None) -> Image:
    """The image within per-channel bounds; None leaves it."""
    if bounds is None:
        return image
    lower, upper = (bound[None, None, None, :] for bound in bounds)
    return jnp.clip(image, lower, upper)
