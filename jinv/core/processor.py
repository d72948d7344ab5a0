"""What XLA is told of the processor that it compiles a step for, where its own defaults are not the best.

`ops` says how a network's layers are computed on which platform; this says how XLA:CPU makes loops of that.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

WIDTH = "xla_cpu_prefer_vector_width"


@cache
def compiler_options() -> dict[str, int] | None:
    """XLA's options for this process' CPU, None where there are none. They may change the last bits of what is computed.

    XLA:CPU prefers vectors of 256 bits on every processor. Those of the generations that have AVX512_ICL (Intel since Ice Lake, AMD
    since Zen 4) do not slow down for 512 bits: on a Zen 5 steps take 3 to 6 % less time. `XLA_FLAGS` go before.
    """
    if jax.default_backend() != "cpu" or WIDTH in os.environ.get("XLA_FLAGS", ""):
        return None
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", ())
    return {WIDTH: 512} if "AVX512_ICL" in found else None


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, for this processor."""
    return jax.jit(function, compiler_options=compiler_options(), **options)
