"""What XLA is told of the processor that it compiles a step for, where its own defaults are not the best.

`ops` says how a network's layers are computed on which platform; this says what XLA makes of that.
"""

import os
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax
import numpy as np

WIDTH = "xla_cpu_prefer_vector_width"
DETERMINISTIC = "xla_gpu_deterministic_ops"


@cache
def compiler_options() -> dict[str, int | bool] | None:
    """XLA's options for this process' device, None where there are none. They may change the last bits of what is computed.

    XLA:CPU prefers vectors of 256 bits on every processor. Those of the generations that have AVX512_ICL (Intel since Ice Lake, AMD
    since Zen 4) do not slow down for 512 bits: on a Zen 5 steps take 3 to 6 % less time. XLA:GPU takes the quickest kernel of the
    moment, and some that add in any order: a run, and one that goes on, would not have the same bits twice. `XLA_FLAGS` go before.
    """
    backend, given = jax.default_backend(), os.environ.get("XLA_FLAGS", "")
    if backend == "gpu":
        return None if DETERMINISTIC in given else {DETERMINISTIC: True}
    if backend != "cpu" or WIDTH in given:
        return None
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", ())
    return {WIDTH: 512} if "AVX512_ICL" in found else None


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, for this processor."""
    return jax.jit(function, compiler_options=compiler_options(), **options)


def jit_when_called(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`jit` as a decorator of a module's functions: JAX looks for its devices at the first call, not when the module is imported."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = cache(lambda: jit(function, **options))

        @wraps(function)
        def call(*args: Any) -> Any:
            return compiled()(*args)

        return call

    return decorate
