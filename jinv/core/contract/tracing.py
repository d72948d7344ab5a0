"""Can JAX trace and compile a function, and what does it do inside?"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.contract.findings import Finding, Findings, Stop, by, percent, raised

HOST = ("pure_callback", "io_callback", "debug_callback", "debug_print")
DRAWS = ("random_bits", "threefry2x32", "random_seed")


def check_traces(
    call: Callable[..., Any], function: Callable[..., Any], arguments: tuple[Any, ...], called: str
) -> Findings:
    """ "compiles": the function can be traced, and asks nobody outside the program.

    Raises:
      Stop: it cannot, which leaves nothing to ask.
    """
    try:
        jaxpr = jax.make_jaxpr(call)(*arguments)
    except Exception as error:
        raise Stop(raised("compiles", error, function, called)) from error
    if host := sorted(set(primitives(jaxpr)) & set(HOST)):
        found = f"asks Python in the middle of the program ({', '.join(host)})"
        if set(host) <= {"debug_callback", "debug_print"}:
            yield Finding(
                "compiles", found, "the device waits at every step: take jax.debug.print out again", remark=True
            )
            return
        raise Stop(
            Finding("compiles", found, "compute it with jax.numpy: a callback has no gradient and waits at every step")
        )
    yield Finding("compiles")


def check_precision(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Finding:
    """ "float64": of float32 the function makes float32, also where JAX is set to float64."""
    with jax.enable_x64(True):
        result = jax.eval_shape(call, *arguments)
    wrong = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(result)} - {"float32"})
    if wrong:
        return Finding(
            "float64",
            f"of float32 images it makes {', '.join(wrong)} where JAX is set to float64",
            "a NumPy constant or a new array is float64 there: jnp.asarray(constant, image.dtype)",
        )
    return Finding("float64")


def check_compiled(eager: Any, compiled: Any) -> Finding:
    """ "compiled": a compiled function says what it says uncompiled, to rounding; of what is finite in neither, nothing."""
    for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
        largest = np.abs(one, where=np.isfinite(one), out=np.zeros(np.shape(one))).max(initial=0.0)
        away = apart(one, other) / max(float(largest), 1e-6)
        if away >= 1e-4:
            found = f"compiled it gives something else, {by(away, percent(away))}"
            return Finding("compiled", found, "its value depends on more than its arguments")
    return Finding("compiled")


def apart(one: Any, other: Any) -> float:
    """The largest difference of two arrays' values; infinite where one is finite and the other is not, 0 where neither is."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    known = np.isfinite(one), np.isfinite(other)
    if (known[0] != known[1]).any():
        return float("inf")
    return float(np.abs(np.subtract(one, other, where=known[0], out=np.zeros(known[0].shape))).max(initial=0.0))


def primitives(jaxpr: Any) -> Iterator[str]:
    """The names of all operations of a traced function, inner functions' too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    yield from primitives(inner)


def finite(values: Any) -> Any:
    """Are all values finite? A traced or computed truth."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(values)]))
