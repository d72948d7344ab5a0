"""Programs of which a test asks what they compute or say, not how XLA makes them fast: compiled in a third of the time.

What optimization does to them is seen where tests compile as a user does: whole networks in float32, and the bits of runs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest
from jax._src import compiler  # jax's own switch has the first of the two options alone

UNOPTIMIZED: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,  # alone it saves little: without LLVM's passes they are most of the time
}
"""`jax.jit(function, compiler_options=UNOPTIMIZED)`; the numbers are the same to rounding."""


@contextmanager
def without_optimization() -> Iterator[None]:
    """Whatever is compiled inside is compiled so, and forgotten at the end."""
    original = compiler.get_compile_options

    def options(*args, env_options_overrides=None, **kwargs):
        return original(*args, env_options_overrides=UNOPTIMIZED | (env_options_overrides or {}), **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", options)
        yield
    jax.clear_caches()


def unoptimized_process() -> dict[str, str]:
    """The same as an environment variable, for a process of its own."""
    flags = [f"--{name}={str(value).lower()}" for name, value in UNOPTIMIZED.items()]
    return {"XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()}
