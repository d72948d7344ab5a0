"""What every command that computes does first."""

import gc
import os

GENERATIONS = 50_000, 1, 1
"""So many objects more come to be before cycles are looked for. Tracing makes millions that stay; by CPython's own 700 (3.13: 2,000),
looking through them took a sixth of a short run's time. Of the older ones every second time: a run's programs and arrays are in
cycles, and the next run's process should not hold them."""


def ready_to_compute() -> None:
    """Freed memory is kept for the next batch, and compiled programs in the user's cache directory unless JAX was told
    otherwise; garbage is looked for less often.

    Raises:
      UsageError: the platform that JAX was told to take is not here.
      UnsafeInputError: others can write to the cache: a compiled program is run.
    """
    import jax

    from jinv.errors import StorageError, UsageError
    from jinv.runs.allocator import keep_freed_memory
    from jinv.weights.cache import check_own, make_cache_directory, tell

    gc.set_threshold(*GENERATIONS)
    keep_freed_memory()  # before the devices' threads start
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = next((name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)), None)
        said = str(error).strip().partition("\n")[0][:200] or "it cannot be started"
        which = f"{asked}={os.environ[asked]}" if asked else "JAX"
        raise UsageError(f"{which}: no such device here: {said}") from None
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        compiled = make_cache_directory() / "xla"
        compiled.mkdir(mode=0o755, exist_ok=True)
        check_own(compiled)
    except (StorageError, OSError) as error:
        return tell(f"{error}; compiled programs are not kept")
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
