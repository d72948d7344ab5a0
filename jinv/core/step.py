"""One step: what the objective says of the parameters' view, and the update that follows from it.

    view  = augment(parameterization.view(params))       what the network sees, `copies` times with other draws
    total = sum_t weight_t * term_t(Forward(view, ...))   the objective
    params <- project(params + optimizer(grad total))     projection (clipping) outside the optimizer, of plain pixels

Keys are derived, never carried: an image's draws depend on the run's key, its id and the step alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jinv.core.augment import Augmentation, augment_copies
from jinv.core.losses import cross_entropy_per_image
from jinv.core.objective import Term, evaluate_terms
from jinv.core.parameterization import Bounds, Parameterization, Size, pooled_pixels
from jinv.core.starts import Start
from jinv.core.types import Forward, Image, Key, Keys, Labels

ForwardFunction = Callable[[Any, Image, Labels], Forward]

# Shared draws (`draw="batch"`) have an id of their own that no image has. It is the same for every batch, so that an
# image's augmentations do not depend on the batch it is in.
SHARED_ID = 2**32 - 1


class Stage(NamedTuple):
    """One resolution: `steps` steps in which the network sees images of `size`, with an optimizer of its own.

    `start` is what a later stage makes of the image that the one before left, see `next_start`.
    """

    size: Size
    steps: int
    optimizer: optax.GradientTransformation
    learning_rate: float | Array | optax.Schedule = 0.05
    parameterization: Callable[[Size, Size, Bounds | None], Parameterization] = pooled_pixels
    start: Start = "image"


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


def make_step(
    forward: ForwardFunction,
    terms: Sequence[Term],
    stage: Stage,
    parameterization: Parameterization,
    *,
    augmentations: Sequence[Augmentation] = (),
    bounds: Bounds | None = None,
    keep: Literal["last", "best"] = "last",
    copies: int = 1,
) -> Callable[..., tuple[SynthesisState, Metrics]]:
    """One synthesis step as a pure function of arrays, `(state, variables, labels, keys, first_step) -> (state, metrics)`.

    Args:
      keys: (run key, image ids (N,) uint32).
      first_step: how many steps earlier stages took, so that no stage repeats another's draws.
      copies: how many views of each image the terms are taken over, see `augment_copies`.
    """
    loss = _make_loss(forward, terms, parameterization, augmentations, copies)

    def step(
        state: SynthesisState, variables: Any, labels: Labels, keys: tuple[Key, Array], first_step: Array
    ) -> tuple[SynthesisState, Metrics]:
        batch_key, image_keys = step_keys(keys, first_step + state.step)
        (total, (values, logits)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params, variables, labels, batch_key, image_keys, state.step
        )
        updates, optimizer_state = stage.optimizer.update(gradient, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if parameterization.plain:
            params = clip_image(params, bounds)
        shown = labels if copies == 1 else jnp.tile(labels, copies)
        accuracy = jnp.mean(jnp.argmax(logits, axis=1) == shown)
        best_params, best_score = state.best_params, state.best_score
        if keep == "best" and best_score is not None:
            # The batch's total with the image's own cross-entropy in place of the batch's mean, as far as it counts: what
            # can be said of one image. It belongs to the parameters before the update, so those are kept with it.
            own = cross_entropy_per_image(logits, shown).reshape(copies, -1).mean(axis=0)
            weight = sum((t.weight_at(state.step) for t in terms if t.name == "cross_entropy"), start=0.0)
            score = total + weight * (own - jnp.mean(own))
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


def make_gradient_norms(
    forward: ForwardFunction,
    terms: Sequence[Term],
    parameterization: Parameterization,
    *,
    augmentations: Sequence[Augmentation] = (),
    copies: int = 1,
) -> Callable[..., dict[str, Array]]:
    """How hard each weighted term pulls: `name -> |d(weight term)/d params|_2` over the batch, and that of the "total".

    Takes what the step takes, and says it of the same draws; a backward pass per term that the network matters to.
    """

    def norms(
        state: SynthesisState, variables: Any, labels: Labels, keys: tuple[Key, Array], first_step: Array
    ) -> dict[str, Array]:
        drawn = step_keys(keys, first_step + state.step)

        def gradient(term: Term) -> Any:
            # One gradient per term, not one pullback with a vector of them: no zeros are sent through the network.
            loss = _make_loss(forward, [term], parameterization, augmentations, copies)
            return jax.grad(lambda params: loss(params, variables, labels, *drawn, state.step)[0])(state.params)

        gradients = {term.name: gradient(term) for term in terms}
        gradients["total"] = jax.tree.map(lambda *leaves: sum(leaves), *gradients.values())
        return {name: optax.tree.norm(tree) for name, tree in gradients.items()}

    return norms


def _make_loss(
    forward: ForwardFunction,
    terms: Sequence[Term],
    parameterization: Parameterization,
    augmentations: Sequence[Augmentation],
    copies: int,
) -> Callable[..., Any]:
    def loss(params: Any, variables: Any, labels: Labels, batch_key: Key, image_keys: Keys, step: Array) -> Any:
        image = parameterization.view(params)
        view = augment_copies(augmentations, batch_key, image_keys, image, step, copies=copies)
        result = forward(variables, view, labels if copies == 1 else jnp.tile(labels, copies))
        total, values = evaluate_terms(terms, result, step)
        return total, (values, result.logits)

    return loss


def step_keys(keys: tuple[Key, Array], step: Array | int) -> tuple[Key, Keys]:
    """(the key shared by the batch, one key per image) of a step counted over all stages."""
    run_key, image_ids = keys
    # 0 is the initial noise, so steps start at 1.
    batch_key = jax.random.fold_in(jax.random.fold_in(run_key, SHARED_ID), step + 1)
    image_keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(run_key, i), step + 1))(image_ids)
    return batch_key, image_keys


def first_params(parameterization: Parameterization, image: Image, *, noise: bool) -> Any:
    """A stage's first parameters: `image` as the parameterization has it, or its own start where `image` is noise."""
    if noise and parameterization.from_noise is not None:
        return parameterization.from_noise(image)
    return parameterization.init(image)


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
