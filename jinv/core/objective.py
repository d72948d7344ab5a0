"""Binds terms to weights and schedules: an objective is a tuple of `Term`s, its value their weighted sum."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinv.core import colors, losses, regularizers, statistics
from jinv.core.schedules import Balance, at_step
from jinv.core.signatures import kind_of, own_functions, positional, returned
from jinv.core.types import Forward, Scalar


def is_term(function: Callable[..., Any]) -> bool:
    """The signature is the registration: a public function of fields of `Forward` that returns a `Scalar` is a term."""
    fields = positional(function)
    return is_scalar(returned(function)) and bool(fields) and set(fields) <= set(Forward._fields)


def is_scalar(annotation: Any) -> bool:
    """Is it `Scalar`, or `Float[Array, ""]` written out? jaxtyping makes another class each time."""
    return annotation == Scalar or repr(annotation) == repr(Scalar)


def _terms_of(module: ModuleType) -> dict[str, Callable[..., jax.Array]]:
    found = sorted(own_functions(vars(module), module.__name__).items())
    return {name: function for name, function in found if is_term(function)}


TERMS: dict[str, Callable[..., jax.Array]] = {
    name: function
    for module in (losses, regularizers, colors, statistics)
    for name, function in _terms_of(module).items()
}
"""Every term by name, found in `losses`, `regularizers`, `colors` and `statistics`."""


class Term(NamedTuple):
    """A term with its weight (a number, an optax schedule of the stage's step, or a `Balance`) and its
    hyperparameters (schedules likewise)."""

    name: str
    function: Callable[..., jax.Array]
    weight: float | jax.Array | optax.Schedule | Balance = 1.0
    hyperparameters: Mapping[str, Any] = {}  # noqa: RUF012  (never written)

    def weight_at(self, step: jax.Array | int) -> float | jax.Array:
        """The weight at this step of the stage; not of a balanced one, which depends on gradients too."""
        assert not isinstance(self.weight, Balance)
        return self.weight(step) if callable(self.weight) else self.weight


def term_fields(function: Callable[..., jax.Array]) -> tuple[str, ...]:
    """The fields of `Forward` that a term looks at: its positional parameters."""
    return positional(function)


def looks_at_network(function: Callable[..., jax.Array]) -> bool:
    """Does a term depend on a network, and not on the image alone?"""
    return not {"image", "pixels", "labels"}.issuperset(term_fields(function))


def looks_at_logits(function: Callable[..., jax.Array]) -> bool:
    """Does a term need a network that has classes?"""
    return not {"logits", "student_logits"}.isdisjoint(term_fields(function))


def hyperparameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The hyperparameters of a term, an augmentation or a schedule: its keyword-only parameters."""
    return {p.name: p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


TAKEN: Mapping[str, tuple[str, ...]] = {
    "terms": ("weight", "schedule"),
    "augmentations": ("draw", "schedule"),
    "projections": ("schedule",),
    "metrics": ("schedule",),
    "parameterizations": ("name",),
    "schedules": ("schedule",),
}
"""By kind, as a vocabulary calls them, keys of a function's table that are a config's own: no hyperparameter could be set there.
A table with `schedule` is read as a schedule's."""


def taken_by_config(kind: str, function: Callable[..., Any]) -> str | None:
    """Which hyperparameter of a function of that kind a config could not set, in words; None where it can set all."""
    for name in TAKEN.get(kind, ()):
        if name in hyperparameters_of(function):
            return (
                f"a config has the key '{name}' of {kind} for itself, so that it cannot set the hyperparameter {name}"
            )
    return None


def value_of(term: Term, forward: Forward, step: jax.Array | int) -> jax.Array:
    """A term's value, without its weight, at this step of the stage.

    Raises:
      ValueError: what the term returns is no number.
    """
    value = term.function(
        *(getattr(forward, field) for field in term_fields(term.function)), **at_step(term.hyperparameters, step)
    )
    if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int) or np.shape(value) != ():
        raise ValueError(f"the term {term.name} returns {kind_of(value)}, where one number is needed")
    return value


def evaluate_terms(
    terms: Sequence[Term], forward: Forward, step: jax.Array | int
) -> tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
    """The weighted sum, and each term's (value, weighted value).

    Args:
      step: the stage's step, for schedules.
    """
    return weighted_sum(terms, lambda term: value_of(term, forward, step), forward.image, step)


def weighted_sum(
    terms: Sequence[Term], value_of_term: Callable[[Term], jax.Array], image: jax.Array, step: jax.Array | int
) -> tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
    """As `evaluate_terms`, of values that are taken some other way; the sum has at least the image's precision."""
    values = {}
    total = jnp.zeros((), jnp.promote_types(image.dtype, jnp.float32))
    for term in terms:
        value = value_of_term(term)
        weighted = term.weight_at(step) * value
        values[term.name] = (value, weighted)
        total = total + weighted
    return total, values
