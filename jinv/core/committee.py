"""Several networks in one objective: every term that looks at a network is the mean of what the members say.

    term = sum_m share_m term(network_m(x))        terms of the image alone are counted once

Each member is judged by its own batch-norm statistics. As in CV-DD (Cui et al. 2025) and EDC (Shao et al. 2024); with
`draw = "one"` a step asks one member, drawn with the shares as probabilities, as G-VBSM (Shao et al. 2024): the expected
gradient is that of all, in the time of one. (Not in a sweep: settings side by side draw differently, and compute all.)
A member without a head, whose logits have no columns, is not asked what only logits say; the shares of the others then
stand for all.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jinv.core.averages import Averages, Past, averaged
from jinv.core.choices import MemberDraw
from jinv.core.objective import Term, evaluate_terms, looks_at_logits, looks_at_network, value_of, weighted_sum
from jinv.core.types import Forward, ForwardFunction, Image, Key, Labels, Logits, Scalar

# Augmentations' tags are below 2**31, so no draw of theirs is repeated.
MEMBER_TAG = 2**32 - 2


class Committee(NamedTuple):
    """The members' forwards, all of images in the same units and of the same classes, and how much each counts.

    A step's variables are a tuple, one entry per member. The shares sum to one.
    """

    forwards: tuple[ForwardFunction, ...]
    shares: tuple[float, ...]
    draw: MemberDraw = "all"


AnyForward = ForwardFunction | Committee
"""What is inverted: a network, or several."""


class Said(NamedTuple):
    """What an objective says of a view.

    terms: name -> (value, weighted value). logits: of every network that was asked. members: of a committee each network
    term's value per member, NaN of those that were not asked. drawn: the member that was, where it was one. averages: of the
    statistics, for the next step.
    """

    total: Scalar
    terms: dict[str, tuple[Scalar, Scalar]]
    logits: tuple[Logits, ...]
    members: dict[str, Float[Array, " members"]] | None = None
    drawn: Int[Array, ""] | None = None
    averages: tuple[Averages, ...] | None = None


def evaluate(
    forward: AnyForward,
    terms: Sequence[Term],
    variables: Any,
    image: Image,
    labels: Labels,
    *,
    step: Array | int,
    key: Key,
    past: Past | None = None,
) -> Said:
    """The objective of a view; differentiable in `image`.

    Args:
      step: the stage's step, for schedules. key: the batch's of this step; a member is drawn from it.
      past: the averages that terms see of the batch statistics; None is this step's own.

    Raises:
      ValueError: averages of a committee whose members are drawn: each step would change another one's.
    """
    if isinstance(forward, Committee) and forward.draw == "one":
        if past is not None:
            raise ValueError("momentum: statistics are averaged over steps, and each step asks another network")
        return _one(forward, terms, variables, image, labels, step, key)
    results, averages = results_of(forward, variables, image, labels), None
    if past is not None:
        pairs = [averaged(result, old, past) for result, old in zip(results, past.averages, strict=True)]
        results, averages = tuple(result for result, _ in pairs), tuple(new for _, new in pairs)
    if not isinstance(forward, Committee):
        total, values = evaluate_terms(terms, results[0], step)
        return Said(total, values, (results[0].logits,), averages=averages)
    return _all(forward, terms, results, image, step)._replace(averages=averages)


def results_of(forward: AnyForward, variables: Any, image: Image, labels: Labels) -> tuple[Forward, ...]:
    """What every network says of a view."""
    if not isinstance(forward, Committee):
        return (forward(variables, image, labels),)
    members = zip(forward.forwards, variables, strict=True)
    return tuple(member(own, image, labels)._replace(image=image) for member, own in members)


def has_classes(logits: Logits) -> bool:
    """Whether these are a classifier's, and not those of a network without a head."""
    return logits.shape[-1] > 0


def mean_over(forward: AnyForward, values: Sequence[Array | None]) -> Array:
    """What the networks that were asked say, as the objective counts them; one alone as it is, None of one is no opinion."""
    if len(values) == 1:
        assert values[0] is not None
        return values[0]
    assert isinstance(forward, Committee)
    asked = [(share, value) for share, value in zip(forward.shares, values, strict=True) if value is not None]
    parts = [share * value for share, value in asked]
    total = sum(parts[1:], start=parts[0])
    return total if len(asked) == len(values) else total / sum(share for share, _ in asked)


def by_member(forward: AnyForward, said: Said, values: Sequence[Array | None]) -> Array | None:
    """Values of the networks that were asked as (members,), NaN of the others; None of a single network."""
    if not isinstance(forward, Committee):
        return None
    if said.drawn is None:
        return _stacked(values)
    assert values[0] is not None
    return _at(said.drawn, forward, values[0])


def _stacked(values: Sequence[Array | None]) -> Array:
    return jnp.stack([jnp.asarray(jnp.nan) if value is None else value for value in values])


def _at(drawn: Array, committee: Committee, value: Array) -> Array:
    return jnp.full(len(committee.forwards), jnp.nan, value.dtype).at[drawn].set(value)


def _all(
    committee: Committee, terms: Sequence[Term], results: Sequence[Forward], image: Image, step: Array | int
) -> Said:
    members = {}

    def value(term: Term) -> Array:
        if not looks_at_network(term.function):
            return value_of(term, results[0], step)
        only_logits = looks_at_logits(term.function)
        said = [
            None if only_logits and not has_classes(result.logits) else value_of(term, result, step)
            for result in results
        ]
        members[term.name] = _stacked(said)
        return mean_over(committee, said)

    total, values = weighted_sum(terms, value, image, step)
    return Said(total, values, tuple(result.logits for result in results), members)


def _one(
    committee: Committee,
    terms: Sequence[Term],
    variables: Any,
    image: Image,
    labels: Labels,
    step: Array | int,
    key: Key,
) -> Said:
    chances = jnp.log(jnp.asarray(committee.shares, jnp.float32))
    drawn = jax.random.categorical(jax.random.fold_in(key, MEMBER_TAG), chances)

    def ask(member: ForwardFunction, own: Any) -> Any:
        def objective(image: Image) -> tuple[Scalar, Any]:
            result = member(own, image, labels)._replace(image=image)
            total, values = evaluate_terms(terms, result, step)
            return total, (values, result.logits)

        return jax.value_and_grad(objective, has_aux=True)

    branches = [ask(member, own) for member, own in zip(committee.forwards, variables, strict=True)]
    # The gradient is taken inside: a switch that is differentiated keeps room for the activations of every member.
    (total, (values, logits)), gradient = lax.switch(drawn, branches, lax.stop_gradient(image))
    asked = (term.name for term in terms if looks_at_network(term.function))
    members = {name: _at(drawn, committee, values[name][0]) for name in asked}
    return Said(_with_gradient(image, total, gradient), values, (logits,), members, drawn)


@jax.custom_vjp
def _with_gradient(image: Image, value: Scalar, gradient: Image) -> Scalar:
    """`value`, whose gradient in `image` is `gradient`."""
    return value


def _with_gradient_forward(image: Image, value: Scalar, gradient: Image) -> tuple[Scalar, Image]:
    return value, gradient


def _with_gradient_backward(gradient: Image, cotangent: Scalar) -> tuple[Array, Array, Array]:
    return cotangent.astype(gradient.dtype) * gradient, jnp.zeros_like(cotangent), jnp.zeros_like(gradient)


_with_gradient.defvjp(_with_gradient_forward, _with_gradient_backward)
