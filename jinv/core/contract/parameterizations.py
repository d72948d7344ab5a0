"""What every parameterization keeps: images become parameters and images again, each by itself, with a gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, by, raised
from jinv.core.contract.hyperparameters import Given, check_declared, shown, variants
from jinv.core.contract.inputs import HEIGHT, KINDS, WIDTH, images, unlike
from jinv.core.contract.purity import check_pure
from jinv.core.contract.tracing import apart, check_compiled, check_precision, check_traces, finite
from jinv.core.parameterization import Parameterization

SIZES = ((HEIGHT, WIDTH), (9, 7))

Function = Callable[..., Any]


def check_parameterization(function: Function, given: Given) -> Findings:
    """Everything that a parameterization keeps, with the hyperparameters given.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("parameterizations", function, given)
    random = images("random")
    called = f"a size of {HEIGHT} x {WIDTH} px"

    def there_and_back(image: Any) -> Any:
        own = _made(function, given, (image.shape[1], image.shape[2]), called)
        return own.render(own.init(image))

    yield from check_traces(there_and_back, function, (random,), called)
    yield _check_shapes(function, given, called)
    yield check_precision(there_and_back, (random,))
    yield check_pure(there_and_back, function, (random,))
    found = list(_check_gradient(function, given, called))
    yield from found
    if found[0].found:  # the rest compares
        return
    yield check_compiled(there_and_back(random), jax.jit(there_and_back)(random))
    yield _check_apart(function, given, called)


def _made(function: Function, given: Given, size: tuple[int, int], called: str) -> Parameterization:
    try:
        made = function(size, **given)
    except Exception as error:
        raise Stop(raised("compiles", error, function, called)) from error
    if not isinstance(made, Parameterization):
        raise Stop(Finding("compiles", f"returns a {type(made).__name__}", "a jinv.parameterization.Parameterization"))
    return made


def _starts(own: Parameterization) -> dict[str, Function]:
    return {"init": own.init} | ({"from_noise": own.from_noise} if own.from_noise else {})


def _check_shapes(function: Function, given: Given, called: str) -> Finding:
    """ "shape": every leaf of the parameters has the images first, and what is rendered has their size."""
    for size in SIZES:
        own, image = _made(function, given, size, called), images("random", 2, *size)
        for name, start in _starts(own).items():
            params = jax.eval_shape(start, image)
            for leaf in jax.tree.leaves(params):
                if leaf.shape[:1] != (2,) or leaf.dtype != jnp.float32:
                    found = (
                        f"{name} of 2 images of {size[0]} x {size[1]} px has a leaf {leaf.dtype} of shape {leaf.shape}"
                    )
                    return Finding("shape", found, "float32, the images as its first axis")
            for way in ("render", "view"):
                result = jax.eval_shape(getattr(own, way), params)
                if (result.shape, result.dtype) != (image.shape, image.dtype):
                    found = (
                        f"{way} makes {result.dtype} of shape {result.shape} of 2 images of {size[0]} x {size[1]} px"
                    )
                    return Finding("shape", found, f"float32 of shape {image.shape}")
    return Finding("shape")


def _check_gradient(function: Function, given: Given, called: str) -> Findings:
    """ "finite" and "gradient": of what is rendered, at the start from every kind of image."""
    for variant in variants(function, given):
        own = _made(function, variant, (HEIGHT, WIDTH), called)

        @jax.jit
        def gradient(image: Any, own: Parameterization = own) -> Any:
            params = own.init(image)
            return jax.value_and_grad(lambda p: jnp.sum(own.view(p) * unlike(image)))(params)

        for kind in KINDS:
            try:
                result = gradient(images(kind))
            except Exception as error:
                yield raised("finite", error, function, called)
                return
            if not bool(finite(result)):
                found = f"its image or its gradient is not finite from {KINDS[kind]}{shown(variant)}"
                yield Finding("finite", found, "no root or division at 0")
                return
            if kind == "random" and not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(result[1])):
                yield Finding("gradient", "its gradient is 0", "what is rendered depends on no parameter")
                return
    yield Finding("finite")
    yield Finding("gradient")


def _check_apart(function: Function, given: Given, called: str) -> Finding:
    """ "coupling": an image is the same alone and beside others."""
    own, both = _made(function, given, (HEIGHT, WIDTH), called), images("random", 2)
    for name, start in _starts(own).items():
        together, alone = (own.render(start(x)) for x in (both, both[:1]))
        away = apart(together[:1], alone)
        if away >= 1e-3:
            found = f"by {name} an image is another beside others, {by(away, f'{away:.3g}')}"
            return Finding("coupling", found, "each by itself")
    return Finding("coupling")
