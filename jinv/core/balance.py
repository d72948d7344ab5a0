"""Weights that follow from gradients, see `schedules.balanced`: what is measured, averaged, and made of it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jinv.core.objective import Term
from jinv.core.schedules import Balance, at_step
from jinv.core.types import Scalar

Norms = dict[str, Float[Array, "2"]]
"""By balanced term the averaged norms of its own gradient and of its reference's, both without their weights."""


def start_norms(terms: Sequence[Term], dtype: jnp.dtype) -> Norms | None:
    """Before a stage's first measurement; None where no weight is balanced."""
    names = [term.name for term in terms if isinstance(term.weight, Balance)]
    return {name: jnp.zeros(2, dtype) for name in names} or None


def measured(terms: Sequence[Term], norms: Norms, step: Array, norm_of: Callable[[Term], Scalar]) -> Norms:
    """The norms after this step of the stage; `norm_of` takes the gradient's norm of a term as it is given."""
    by_name, found = {term.name: term for term in terms}, {}
    for term in terms:
        if not isinstance(term.weight, Balance):
            continue
        balance, before = term.weight, norms[term.name]
        pair = [one._replace(weight=1.0) for one in (term, by_name[balance.to])]

        def measure(before: Array, pair: list[Term] = pair, decay: float = balance.decay) -> Array:
            now = lax.stop_gradient(jnp.stack([norm_of(one) for one in pair])).astype(before.dtype)
            return jnp.where(step == 0, now, decay * before + (1 - decay) * now)

        due = step % balance.every == 0
        found[term.name] = (
            measure(before) if balance.every == 1 else lax.cond(due, measure, lambda before: before, before)
        )
    return found


def weighed(terms: Sequence[Term], norms: Norms | None, step: Array) -> Sequence[Term]:
    """The terms with numbers in place of balanced weights."""
    if norms is None:
        return terms
    weights = {term.name: term.weight_at(step) for term in terms if not isinstance(term.weight, Balance)}

    def weight(term: Term) -> jax.Array:
        assert isinstance(term.weight, Balance)
        own, reference = norms[term.name]
        pulls = own > 0
        numbers = at_step({"ratio": term.weight.ratio, "maximum": term.weight.maximum}, step)
        wanted = numbers["ratio"] * weights[term.weight.to] * reference / jnp.where(pulls, own, 1)
        return jnp.where(pulls, jnp.minimum(wanted, numbers["maximum"]), 0)

    return [term._replace(weight=weight(term)) if isinstance(term.weight, Balance) else term for term in terms]
