"""One step: what the objective says of the parameters' view, and the update that follows from it.

    view  = augment(parameterization.view(params))       what the network sees, `copies` times with other draws
    total = sum_t weight_t * term_t(Forward(view, ...))   the objective
    params <- project(params + optimizer(grad total))     projections (low pass, clipping) outside the optimizer, of plain pixels

Keys are derived, never carried: an image's draws depend on the run's key, its id and the step alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jinv.core.augment import Augmentation, augment_copies
from jinv.core.averages import Averages, Past, none_yet
from jinv.core.balance import Norms, measured, start_norms, weighed
from jinv.core.choices import Keep, Size, Start
from jinv.core.committee import AnyForward, Said, by_member, evaluate, has_classes, mean_over, results_of
from jinv.core.draws import stated_draws
from jinv.core.losses import cross_entropy_per_image
from jinv.core.objective import Term
from jinv.core.optimizers import adam
from jinv.core.parameterization import Bounds, Parameterization, low_passed, pooled_pixels
from jinv.core.projections import Projection, project
from jinv.core.types import Image, Key, Keys, Labels

# Shared draws (`draw="batch"`) have an id of their own that no image has. It is the same for every batch, so that an
# image's augmentations do not depend on the batch it is in.
SHARED_ID = 2**32 - 1


class Stage(NamedTuple):
    """One resolution: `steps` steps in which the network sees images of `size`, with an optimizer of its own.

    `optimizer` None is Adam with `learning_rate`; of any other, `learning_rate` is what the snapshots say of it.
    `start` is what a later stage makes of the image that the one before left, see `next_start`.
    `low_pass`: frequencies of the variable above this are removed after every update, before clipping, see `low_passed`; a
    schedule of the stage's step lets them in later; `projections` come after it. Plain pixels alone have such.
    """

    size: Size
    steps: int
    terms: Sequence[Term]
    optimizer: optax.GradientTransformation | None = None
    learning_rate: float | Array | optax.Schedule = 0.05
    augmentations: Sequence[Augmentation] = ()
    parameterization: Callable[[Size, Size, Bounds | None], Parameterization] = pooled_pixels
    start: Start = "image"
    low_pass: float | Array | optax.Schedule | None = None
    projections: Sequence[Projection] = ()

    @property
    def update(self) -> optax.GradientTransformation:
        """The optimizer."""
        return adam(self.learning_rate) if self.optimizer is None else self.optimizer

    def rate_at(self, step: int) -> float:
        """The learning rate at this step of the stage."""
        return float(self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate)


class Method(NamedTuple):
    """What all stages have in common.

    image_size: (height, width) of the full-size image; no stage may be larger.
    bounds: per-channel (lower, upper) that plain pixels are clipped to after every update; another parameterization is
      rendered through a sigmoid between them.
    keep: "best" returns, per image, the parameters with the lowest score within the *stage*, those after its last update
      among them: an image of an earlier, smaller stage is never kept, its losses are of another resolution.
    copies: views of each image per step, each with draws of its own.
    momentum: of the exponential average over a stage's steps of the batch statistics that terms see; 0 is the step's own.
    """

    image_size: Size
    bounds: Bounds | None = None
    keep: Keep = "last"
    copies: int = 1
    momentum: float = 0.0

    def way(self, stage: Stage) -> Parameterization:
        """The parameterization of a stage."""
        return stage.parameterization(self.image_size, stage.size, self.bounds)


class Inputs(NamedTuple):
    """What a step is given beside its state; one program serves every batch of the same shapes.

    run_key: the key that all draws derive from; image_ids: (N,) uint32. first_step: how many steps earlier stages took, so
    that no stage repeats another's draws. setting: a sweep's numbers, which say what the stage is, see `core.sweep`.
    """

    variables: Any
    labels: Labels
    run_key: Key
    image_ids: Array
    first_step: Array
    setting: Any = None


class SynthesisState(NamedTuple):
    """What a step turns into the next: parameters, optimizer state, the stage's step, the best parameters so far, and the
    norms that balanced weights follow from; the statistics' averages, one entry per network, where there is a momentum."""

    params: Any
    optimizer_state: Any
    step: Array
    best_params: Any = None
    best_score: Array | None = None
    balance: Norms | None = None
    averages: tuple[Averages, ...] | None = None


class MemberMetrics(NamedTuple):
    """What each member of a committee says, (members,); NaN of those that the step did not ask."""

    terms: dict[str, Array]
    accuracy: Array


class Metrics(NamedTuple):
    """What a step reports, computed before its update. `terms` maps a name to (value, weighted value).

    Of a committee terms and accuracy are means over the members that were asked, each by its share.
    """

    total: Array
    terms: dict[str, tuple[Array, Array]]
    accuracy: Array
    members: MemberMetrics | None = None


Step = Callable[[SynthesisState, Inputs], tuple[SynthesisState, Metrics]]


def make_step(forward: AnyForward, stage: Stage, method: Method) -> Step:
    """One synthesis step as a pure function of arrays, `(state, inputs) -> (state, metrics)`."""
    way, optimizer = method.way(stage), stage.update
    term_gradient = make_term_gradient(forward, stage, method)
    if stage.low_pass is not None and not way.plain:
        raise ValueError("low_pass: removes frequencies of plain pixels, and this stage's parameterization has none")
    if stage.projections and not way.plain:
        names = ", ".join(projection.name for projection in stage.projections)
        raise ValueError(f"project: {names} changes plain pixels, and this stage's parameterization has none")

    def step(state: SynthesisState, inputs: Inputs) -> tuple[SynthesisState, Metrics]:
        drawn = draws_of(inputs, state.step)
        terms, norms = terms_of_step(term_gradient, stage, state, inputs, drawn)
        now = stage._replace(terms=terms)
        loss = jax.value_and_grad(_make_loss(forward, now, method), has_aux=True)
        (total, said), gradient = loss(state.params, inputs, drawn, state.step, state.averages)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if stage.low_pass is not None:
            cutoff = stage.low_pass(state.step) if callable(stage.low_pass) else stage.low_pass
            params = low_passed(params, cutoff)
        if way.plain:
            params = clip_image(project(stage.projections, params, state.step), method.bounds)
        metrics = _metrics(forward, said, _shown(inputs.labels, method))
        if method.keep == "best":
            state = _with_best(state, said, _own(forward, said, inputs.labels, method), now)
        state = state._replace(params=params, optimizer_state=optimizer_state, step=state.step + 1)
        return state._replace(balance=norms, averages=said.averages), metrics

    return step


def make_last_look(forward: AnyForward, stage: Stage, method: Method) -> Callable[..., SynthesisState]:
    """`(state, inputs) -> state` after a stage's last step: with `keep = "best"` what that step left is looked at too.

    A step judges the parameters before its update, so that nothing would ever have judged those after the last one. They
    are seen with the draws that one step more would have, and with the last step's weights.
    """

    def look(state: SynthesisState, inputs: Inputs) -> SynthesisState:
        last = state.step - 1
        now = stage._replace(terms=weighed(stage.terms, state.balance, last))
        drawn = draws_of(inputs, state.step)
        _, said = _make_loss(forward, now, method)(state.params, inputs, drawn, last, state.averages)
        own = _own(forward, said, inputs.labels, method)
        return _with_best(state._replace(step=last), said, own, now)._replace(step=state.step)

    return look


def make_term_gradient(forward: AnyForward, stage: Stage, method: Method) -> Callable[..., Any]:
    """`(term, state, inputs, drawn) -> d(weight term)/d params` at the state's step, of the draws that are given."""

    def gradient(term: Term, state: SynthesisState, inputs: Inputs, drawn: tuple[Key, Keys]) -> Any:
        # One gradient per term, not one pullback with a vector of them: no zeros are sent through the network.
        loss = _make_loss(forward, stage._replace(terms=[term]), method)
        return jax.grad(lambda params: loss(params, inputs, drawn, state.step, state.averages)[0])(state.params)

    return gradient


def terms_of_step(
    gradient: Callable[..., Any], stage: Stage, state: SynthesisState, inputs: Inputs, drawn: tuple[Key, Keys]
) -> tuple[Sequence[Term], Norms | None]:
    """The terms with this step's weights, and the norms that balanced ones follow from; `gradient`: `make_term_gradient`'s."""
    if state.balance is None:
        return stage.terms, None
    norms = measured(
        stage.terms, state.balance, state.step, lambda term: optax.tree.norm(gradient(term, state, inputs, drawn))
    )
    return weighed(stage.terms, norms, state.step), norms


def _make_loss(forward: AnyForward, stage: Stage, method: Method) -> Callable[..., Any]:
    see = make_view(stage, method)

    @stated_draws
    def loss(params: Any, inputs: Inputs, drawn: tuple[Key, Keys], step: Array, averages: Any = None) -> Any:
        view, shown = see(params, inputs, drawn, step)
        past = None if averages is None else Past(averages, method.momentum, step)
        said = evaluate(forward, stage.terms, inputs.variables, view, shown, step=step, key=drawn[0], past=past)
        return said.total, said

    return loss


def make_view(stage: Stage, method: Method) -> Callable[..., tuple[Array, Array]]:
    """`(params, inputs, drawn, step) -> ` what the network is shown, augmented, and its labels."""
    way = method.way(stage)

    def see(
        params: Any, inputs: Inputs, drawn: tuple[Key, Keys], step: Array
    ) -> tuple[Float[Array, "views h w c"], Int[Array, " views"]]:
        view = augment_copies(stage.augmentations, *drawn, way.view(params), step, copies=method.copies)
        return view, _shown(inputs.labels, method)

    return see


def _shown(labels: Labels, method: Method) -> Int[Array, " views"]:
    """The labels of what the network is shown."""
    return labels if method.copies == 1 else jnp.tile(labels, method.copies)


def _metrics(forward: AnyForward, said: Said, shown: Labels) -> Metrics:
    accuracies = [
        jnp.mean(jnp.argmax(logits, axis=1) == shown) if has_classes(logits) else None for logits in said.logits
    ]
    each = by_member(forward, said, accuracies)
    members = None if each is None else MemberMetrics(said.members or {}, each)
    return Metrics(said.total, said.terms, mean_over(forward, accuracies), members)


def _own(forward: AnyForward, said: Said, labels: Labels, method: Method) -> Float[Array, " images"]:
    """Each image's own cross-entropy, the mean over its views."""
    shown = _shown(labels, method)
    each = [cross_entropy_per_image(logits, shown) if has_classes(logits) else None for logits in said.logits]
    own = mean_over(forward, each)
    return own.reshape(method.copies, -1).mean(axis=0)


def _with_best(state: SynthesisState, said: Said, own: Float[Array, " images"], stage: Stage) -> SynthesisState:
    """The state whose best parameters are its own wherever they score lower."""
    # The batch's total with the image's own cross-entropy in place of the batch's mean, as far as it counts: what can be
    # said of one image. It belongs to the parameters before the update, so those are kept with it.
    assert state.best_score is not None
    weight = sum((t.weight_at(state.step) for t in stage.terms if t.name == "cross_entropy"), start=0.0)
    score = said.total + weight * (own - jnp.mean(own))
    better = score < state.best_score
    best_params = jax.tree.map(
        lambda old, new: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        state.best_params,
        state.params,
    )
    return state._replace(best_params=best_params, best_score=jnp.where(better, score, state.best_score))


def draws_of(inputs: Inputs, step: Array) -> tuple[Key, Keys]:
    """What a step of the stage draws from, as `step_keys`."""
    return step_keys((inputs.run_key, inputs.image_ids), inputs.first_step + step)


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


def start_state(params: Any, stage: Stage, method: Method) -> SynthesisState:
    """The state before a stage's first step."""
    first = jax.tree.leaves(params)[0]
    dtype = jnp.promote_types(first.dtype, jnp.float32)
    state = SynthesisState(params, stage.update.init(params), jnp.zeros((), jnp.int32))
    state = state._replace(balance=start_norms(stage.terms, jnp.zeros((), dtype).real.dtype))
    if method.keep == "best":
        worst = jnp.full(first.shape[:1], jnp.inf, dtype)
        state = state._replace(best_params=jax.tree.map(jnp.copy, params), best_score=worst)
    return state


def first_averages(
    forward: AnyForward, stage: Stage, method: Method, params: Any, inputs: Inputs
) -> tuple[Averages, ...] | None:
    """The statistics' averages before a stage's first step, None without momentum; the network is traced, not computed."""
    if not method.momentum:
        return None
    results = jax.eval_shape(
        lambda params, inputs: results_of(forward, inputs.variables, method.way(stage).view(params), inputs.labels),
        params,
        inputs,
    )
    return tuple(none_yet(result) for result in results)


def clip_image(image: Image, bounds: Bounds | None) -> Image:
    """The image within per-channel bounds; None leaves it."""
    if bounds is None:
        return image
    lower, upper = (bound[None, None, None, :] for bound in bounds)
    return jnp.clip(image, lower, upper)
