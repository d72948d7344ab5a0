"""What every command that computes does first."""

import os


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache directory, unless JAX was told where otherwise.

    Raises:
      UsageError: the platform that JAX was told to take is not here.
    """
    import jax

    from jinv.errors import UsageError
    from jinv.weights.cache import cache_directory

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = next((name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)), None)
        said = str(error).strip().partition("\n")[0][:200] or "it cannot be started"
        which = f"{asked}={os.environ[asked]}" if asked else "JAX"
        raise UsageError(f"{which}: no such device here: {said}") from None
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
