"""What every augmentation keeps: the image's shape and type, one draw per key, a gradient."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, raised
from jinv.core.contract.hyperparameters import Given, check_declared, check_numbers, numbers, variants
from jinv.core.contract.inputs import HEIGHT, KINDS, WIDTH, images, unlike
from jinv.core.contract.purity import check_draws, check_pure
from jinv.core.contract.tracing import check_compiled, check_traces, finite

CALLED = f"a key and an image of {HEIGHT} x {WIDTH} px"
SIZES = ((HEIGHT, WIDTH), (7, 5), (33, 8))
KEYS = 16

Function = Callable[..., Any]


def check_augmentation(function: Function, given: Given) -> Findings:
    """Everything that an augmentation keeps, with the hyperparameters given.

    Raises:
      Stop: what was found leaves nothing more to ask.
    """
    yield check_declared("augmentations", function, given)
    image, key = images("random")[0], jax.random.key(0)

    def call(key: Any, image: Any, hyperparameters: Given = given) -> Any:
        return function(key, image, **hyperparameters)

    yield from check_traces(call, function, (key, image), CALLED)
    yield _check_shape(function, call, given)
    yield check_pure(call, function, (key, image))
    yield check_draws(call, (key, image), ("random_seed",))
    eager = call(key, image)
    yield from _check_keys(function, call, image, eager)
    yield check_numbers(call, function, given, (key, image), eager)
    yield from _check_gradient(function, call, given)


def _check_shape(function: Function, call: Function, given: Given) -> Finding:
    """ "shape": one image in, one of the same size and type out, whatever the size and the precision of a schedule."""
    key = jax.random.key(0)
    for double in (False, True):
        with jax.enable_x64(double):
            scheduled = {
                name: jnp.asarray(value, jnp.result_type(float)) for name, value in numbers(function, given).items()
            }
            for size in SIZES:
                image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
                try:
                    result = jax.eval_shape(functools.partial(call, hyperparameters={**given, **scheduled}), key, image)
                except Exception as error:
                    finding = raised("shape", error, function, f"an image of {size[0]} x {size[1]} px")
                    return finding._replace(found=f"of {size[0]} x {size[1]} px, {finding.found}")
                found = (getattr(result, "shape", None), str(getattr(result, "dtype", type(result).__name__)))
                if found != (image.shape, "float32"):
                    mode = " where JAX is set to float64" if double else ""
                    said = f"of a float32 image of shape {image.shape} it makes {found[1]} of shape {found[0]}{mode}"
                    advice = "what the network sees keeps its size: pad or resize, and .astype(image.dtype)"
                    raise Stop(Finding("shape", said, advice))
    return Finding("shape")


def _check_keys(function: Function, call: Function, image: jax.Array, eager: Any) -> Findings:
    """ "compiled" and "keys": a key is a draw, the same one the same image, among others (vmapped) too; others others.

    Raises:
      Stop: it cannot be vmapped.
    """
    first = jax.random.key(0)
    keys = jnp.concatenate([first[None], jax.random.split(jax.random.key(1), KEYS - 1)])
    try:
        drawn = np.asarray(jax.jit(jax.vmap(call, in_axes=(0, None)))(keys, image))
    except Exception as error:
        raise Stop(raised("keys", error, function, f"{KEYS} keys, vmapped")) from error
    yield check_compiled(eager, drawn[0])
    if all(np.array_equal(drawn[0], other) for other in drawn[1:]):
        found = f"{KEYS} keys give the same image"
        yield Finding("keys", found, "nothing is drawn: jax.random takes the key that it is given", remark=True)
    else:
        yield Finding("keys")


def _check_gradient(function: Function, call: Function, given: Given) -> Findings:
    """ "finite" and "gradient": the gradient passes through it, on every kind of image."""
    keys = jax.random.split(jax.random.key(2), 4)
    for variant in variants(function, given):

        def total(image: Any, key: Any, variant: Given = variant) -> Any:
            result = call(key, image, variant)
            return jnp.sum(result * unlike(image))

        gradients = jax.jit(jax.vmap(jax.value_and_grad(total), in_axes=(None, 0)))
        for kind in KINDS:
            try:
                result = gradients(images(kind)[0], keys)
            except Exception as error:
                yield raised("finite", error, function, CALLED)
                return
            if not bool(finite(result)):
                yield Finding(
                    "finite", f"its image or its gradient is not finite on {KINDS[kind]}", "no root or division at 0"
                )
                return
            if kind == "random" and not np.any(np.asarray(result[1])):
                yield Finding("gradient", "its gradient is 0 on a random image", "rounding and comparing have none")
                return
    yield Finding("finite")
    yield Finding("gradient")
