"""What the state of a step can be asked beside the step, of the same draws: how its terms pull, how its statistics lie.

A look of its own, so that the step's program is the same whether anybody looks or not.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jinv.core.committee import AnyForward, Committee, evaluate
from jinv.core.draws import stated_draws
from jinv.core.objective import Term
from jinv.core.regularizers import l2_norm
from jinv.core.step import Inputs, Method, Stage, SynthesisState, draws_of, make_term_gradient, make_view, terms_of_step
from jinv.core.types import Image, Labels, NormStats, Scalar


class Gradients(NamedTuple):
    """How hard each weighted term pulls at the variable, `|d(weight term)/d params|_2` over the batch, and the "total"; and
    the cosine of the angle between the pulls of every two terms, `cosines[first][second]`, NaN where one does not pull."""

    norms: dict[str, Scalar]
    cosines: dict[str, dict[str, Scalar]]


class LayerDistances(NamedTuple):
    """By what fraction a network's batch statistics are off the running ones, layer by layer, see `relative_distances`."""

    mean: Float[Array, " layers"]
    variance: Float[Array, " layers"]


def make_gradients(forward: AnyForward, stage: Stage, method: Method) -> Callable[..., Gradients]:
    """`(state, inputs) -> Gradients` of the draws that the step takes; a backward pass per term that the network matters to.

    Cosines as in Yu et al. (2020), "Gradient surgery": terms of which one undoes the other's work have a negative one.
    """
    one = make_term_gradient(forward, stage, method)

    def gradients(state: SynthesisState, inputs: Inputs) -> Gradients:
        drawn = draws_of(inputs, state.step)
        terms, _ = terms_of_step(one, stage, state, inputs, drawn)
        found = {term.name: one(term, state, inputs, drawn) for term in terms}
        total = jax.tree.map(lambda *leaves: sum(leaves), *found.values())
        norms = {name: optax.tree.norm(tree) for name, tree in {**found, "total": total}.items()}
        units = {name: _unit(tree) for name, tree in found.items()}
        cosines: dict[str, dict[str, Scalar]] = {}
        for first, second in combinations(found, 2):
            cosine = jnp.clip(jnp.real(optax.tree.vdot(units[first], units[second])), -1.0, 1.0)
            cosines.setdefault(first, {})[second] = cosine
        return Gradients(norms, cosines)

    return gradients


def make_statistics(forward: AnyForward, stage: Stage, method: Method) -> Callable[..., tuple[LayerDistances, ...]]:
    """`(state, inputs) -> ` each network's `LayerDistances`, of what the step shows it; a forward pass per network."""
    networks = forward.forwards if isinstance(forward, Committee) else (forward,)
    see = make_view(stage, method)

    @stated_draws
    def statistics(state: SynthesisState, inputs: Inputs) -> tuple[LayerDistances, ...]:
        view, shown = see(state.params, inputs, draws_of(inputs, state.step), state.step)
        variables = inputs.variables if isinstance(forward, Committee) else (inputs.variables,)
        return tuple(
            relative_distances(network(own, view, shown).norm_stats)
            for network, own in zip(networks, variables, strict=True)
        )

    return statistics


def relative_distances(norm_stats: Sequence[NormStats]) -> LayerDistances:
    """Per batch-norm layer `|mu - running_mean|_2 / sqrt(sum running_var)` and `|var - running_var|_2 / |running_var|_2`.

    The two parts of R_feature (Yin et al. 2020, eq. 4), each over its layer's own scale, so that layers compare; variances
    unbiased. Layers without a scale count in absolute units. As `evaluation.json` has them of judges.
    """
    means, variances = [jnp.zeros(0)], [jnp.zeros(0)]
    for stats in norm_stats:
        count = jnp.asarray(stats.count, stats.batch_var.dtype)
        unbiased = stats.batch_var * (count / jnp.maximum(count - 1, 1))
        means.append(_over(stats.batch_mean - stats.running_mean, jnp.sqrt(jnp.sum(stats.running_var))))
        variances.append(_over(unbiased - stats.running_var, l2_norm(stats.running_var)))
    return LayerDistances(jnp.concatenate(means), jnp.concatenate(variances))


def make_attribution(
    forward: AnyForward, terms: Sequence[Term], view: Callable[[Image], Image]
) -> Callable[..., dict[str, tuple[Scalar, Image]]]:
    """`(variables, image, labels, step) -> {name: (term, d term / d image)}`, unweighted, of an image that nothing augments.

    The gradient of one number in every pixel, as Simonyan et al. (2014) draw it of a class score. A term that couples the
    batch is that of the batch that is given. `view`: the full-size image as a stage shows it to the network. A committee
    is asked as a whole, also where its steps ask one member.
    """
    asked = forward._replace(draw="all") if isinstance(forward, Committee) else forward

    def attribution(variables: Any, image: Image, labels: Labels, step: Array) -> dict[str, tuple[Scalar, Image]]:
        def value(image: Image, term: Term) -> Scalar:
            key = jax.random.key(0)  # nothing is drawn
            return evaluate(asked, [term], variables, view(image), labels, step=step, key=key).total

        return {term.name: jax.value_and_grad(value)(image, term._replace(weight=1.0)) for term in terms}

    return attribution


def _over(difference: Array, scale: Scalar) -> Float[Array, "1"]:
    return jnp.reshape(l2_norm(difference) / jnp.where(scale > 0, scale, 1), (1,))


def _unit(tree: Any) -> Any:
    """The tree over its norm, NaN where that is zero; squares of what is very small or large neither vanish nor overflow."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
    scaled = jax.tree.map(lambda leaf: leaf / largest, tree)
    norm = optax.tree.norm(scaled)
    return jax.tree.map(lambda leaf: leaf / norm, scaled)
