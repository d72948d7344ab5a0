"""What every term keeps: a finite float32 scalar with a finite gradient, compiled or not, and what its docstring says."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, by, in_words, percent, raised, says_that_it_couples
from jinv.core.contract.hyperparameters import Given, check_declared, check_numbers, shown, variants
from jinv.core.contract.inputs import CALLED, KINDS, images, network
from jinv.core.contract.purity import check_draws, check_pure
from jinv.core.contract.tracing import apart, check_compiled, check_precision, check_traces
from jinv.core.contract.tracing import finite as all_finite
from jinv.core.objective import term_fields
from jinv.core.types import Image

LEAST = 1e-3
"""The share by which a gradient moves that is no rounding."""

Function = Callable[..., Any]


def check_term(function: Function, given: Given) -> Findings:
    """Everything that a term keeps, with the hyperparameters given, and with every other choice of each.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("terms", function, given)
    random, call = images("random"), functools.partial(_value, function, given)
    yield from check_traces(call, function, (random,), CALLED)
    yield _check_scalar(call, random)
    yield check_precision(call, (random,))
    yield check_pure(call, function, (random,))
    yield check_draws(call, (random,))
    yield check_numbers(call, function, given, (random,), call(random))
    yield from _check_values(function, given)


def check_finite(function: Function, given: Given, compiled: Function | None = None) -> Finding:
    """ "finite": the compiled value and its gradient, on every kind of image, with just these hyperparameters."""
    compiled = compiled or _compiled(function, given)
    try:
        results = {kind: compiled(images(kind)) for kind in KINDS}
    except Exception as error:
        finding = raised("finite", error, function, CALLED)
        return finding._replace(found=f"{finding.found}{shown(given)}")
    said = (_not_finite(kind, result, given) for kind, result in results.items())
    return next((finding for finding in said if finding), Finding("finite"))


def _value(function: Function, given: Given, image: Image, hyperparameters: Given | None = None) -> Any:
    said, hyperparameters = network(image), given if hyperparameters is None else hyperparameters
    return function(*(getattr(said, field) for field in term_fields(function)), **hyperparameters)


def _compiled(function: Function, given: Given) -> Function:
    """`image -> (value, gradient)`."""
    return jax.jit(jax.value_and_grad(functools.partial(_value, function, given)))


def _check_scalar(call: Function, image: Image) -> Finding:
    result = jax.eval_shape(call, image)
    if not hasattr(result, "shape"):
        raise Stop(Finding("scalar", f"returns a {type(result).__name__}", "one number: an array of shape ()"))
    if result.shape != ():
        advice = "the mean over the images, as jinv's own terms have it"
        raise Stop(Finding("scalar", f"returns an array of shape {result.shape} of {len(image)} images", advice))
    if result.dtype != jnp.float32:
        raise Stop(Finding("scalar", f"returns {result.dtype}", "float32, as the images are"))
    return Finding("scalar")


def _check_values(function: Function, given: Given) -> Findings:
    """ "finite", "gradient", "compiled" and "coupling", which look at values and gradients of the compiled term."""
    tried = [(variant, _compiled(function, variant)) for variant in variants(function, given)]
    finite = [check_finite(function, *one) for one in tried]
    yield next((finding for finding in finite if finding.found), finite[0])
    random = images("random")
    try:
        first = tried[0][1](random)
    except Exception:  # has been said
        return
    if not bool(all_finite(first)):  # neither has a meaning then
        return
    yield _check_gradient(first[1])
    yield check_compiled(jax.value_and_grad(functools.partial(_value, function, given))(random), first)
    computed = [one for one, finding in zip(tried, finite, strict=True) if not finding.found]
    yield _check_coupling(function, [(variant, _coupling(program)) for variant, program in computed or tried[:1]])


def _not_finite(kind: str, result: tuple[jax.Array, jax.Array], variant: Given) -> Finding | None:
    value, gradient = result
    if not np.isfinite(value):
        return Finding(
            "finite",
            f"is {in_words(float(value))} on {KINDS[kind]}{shown(variant)}",
            "no logarithm, root or division at 0",
        )
    wrong = ~np.isfinite(np.asarray(gradient))
    if wrong.any():
        name = "NaN" if np.isnan(np.asarray(gradient)).any() else "infinite"
        return Finding(
            "finite",
            f"its gradient is {name} in {wrong.sum()} of {wrong.size} values on {KINDS[kind]}{shown(variant)} (its value is "
            f"{float(value):.3g})",
            "a norm or a root has no slope at 0: jinv.regularizers.l2_norm has 0 there; a division needs jnp.where inside it too",
        )
    return None


def _check_gradient(gradient: jax.Array) -> Finding:
    if not np.any(np.asarray(gradient)):
        return Finding(
            "gradient", "its gradient is 0 on random images", "rounding, comparing and argmax have none: nothing moves"
        )
    return Finding("gradient")


def _coupling(value_and_gradient: Function) -> float:
    """By which share the first image's gradient moves where the second image alone is another."""
    image = images("random")
    one, other = (value_and_gradient(x)[1][0] for x in (image, image.at[1].multiply(2.0)))
    return apart(one, other) / max(apart(one, np.zeros_like(one)), 1e-12)


def _check_coupling(function: Function, coupled: list[tuple[Given, float]]) -> Finding:
    """ "coupling": where one image's gradient depends on the others, the docstring says so."""
    variant, moved = max(coupled, key=lambda pair: pair[1])
    if moved < LEAST or says_that_it_couples(inspect.getdoc(function) or ""):
        return Finding("coupling")
    return Finding(
        "coupling",
        f"couples the images of a batch without saying so{shown(variant)}: one image's gradient moves {by(moved, percent(moved))} where "
        "another image is changed",
        'take the mean over images of each image\'s own value, or say in its docstring "Couples the images of a batch."',
    )


def couples(function: Function, given: Given) -> bool:
    """Does a term couple the images of a batch, with these hyperparameters?"""
    return _coupling(_compiled(function, given)) > LEAST
