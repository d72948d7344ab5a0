"""What every projection keeps: the images' shape and type, finite images, and what is inside already stays there."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jinv.core.contract.findings import Finding, Findings, Stop, by, raised, says_that_it_couples
from jinv.core.contract.hyperparameters import Given, check_declared, check_numbers, shown, variants
from jinv.core.contract.inputs import COUNT, HEIGHT, KINDS, WIDTH, images
from jinv.core.contract.purity import check_draws, check_pure
from jinv.core.contract.tracing import apart, check_compiled, check_precision, check_traces, finite

SIZES = ((HEIGHT, WIDTH), (9, 7))
CALLED = f"{COUNT} images of {HEIGHT} x {WIDTH} px"

Function = Callable[..., Any]


def check_projection(function: Function, given: Given) -> Findings:
    """Everything that a projection keeps, with the hyperparameters given, and with every other choice of each.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("projections", function, given)
    random = images("random")

    def call(image: Any, hyperparameters: Given = given) -> Any:
        return function(image, **hyperparameters)

    yield from check_traces(call, function, (random,), CALLED)
    yield _check_shape(function, call)
    yield check_precision(call, (random,))
    yield check_pure(call, function, (random,))
    yield check_draws(call, (random,))
    eager = call(random)
    yield check_numbers(call, function, given, (random,), eager)
    found = _check_finite(function, call, given)
    yield found
    if found.found and not bool(finite(eager)):  # the rest compares
        return
    compiled = jax.jit(call)
    once = compiled(random)
    yield check_compiled(eager, once)
    yield _check_twice(once, compiled(once))
    yield _check_coupling(function, once, compiled(random.at[1].multiply(2.0)))


def _check_shape(function: Function, call: Function) -> Finding:
    """ "shape": images in, as many of the same size and type out."""
    for size in SIZES:
        image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        try:
            result = jax.eval_shape(call, image)
        except Exception as error:
            raise Stop(raised("shape", error, function, f"2 images of {size[0]} x {size[1]} px")) from error
        found = getattr(result, "shape", None), str(getattr(result, "dtype", type(result).__name__))
        if found != (image.shape, "float32"):
            said = f"of float32 images of shape {image.shape} it makes {found[1]} of shape {found[0]}"
            raise Stop(Finding("shape", said, "what is updated next keeps its size and type"))
    return Finding("shape")


def _check_finite(function: Function, call: Function, given: Given) -> Finding:
    """ "finite": finite images out of finite ones."""
    for variant in variants(function, given):
        compiled = jax.jit(functools.partial(call, hyperparameters=variant))
        for kind in KINDS:
            try:
                result = compiled(images(kind))
            except Exception as error:
                return raised("finite", error, function, CALLED)
            if not bool(finite(result)):
                return Finding(
                    "finite", f"its images are not finite on {KINDS[kind]}{shown(variant)}", "no division at 0"
                )
    return Finding("finite")


def _check_twice(once: Any, twice: Any) -> Finding:
    """ "twice": a remark where what was projected is moved again, which a projection in the strict sense does not do."""
    moved = apart(once, twice)
    if moved > 1e-4:
        return Finding(
            "twice",
            f"applied again it moves images again, {by(moved, f'{moved:.3g}')}",
            "so it does at every step",
            remark=True,
        )
    return Finding("twice")


def _check_coupling(function: Function, images_then: Any, images_now: Any) -> Finding:
    """ "coupling": where one image depends on another, the docstring says so."""
    moved = apart(images_then[0], images_now[0])
    if moved < 1e-4 or says_that_it_couples(inspect.getdoc(function) or ""):
        return Finding("coupling")
    found = f"couples the images of a batch without saying so: one image moves {by(moved, f'{moved:.3g}')} where another is changed"
    return Finding(
        "coupling", found, 'project each by itself, or say in its docstring "Couples the images of a batch."'
    )
