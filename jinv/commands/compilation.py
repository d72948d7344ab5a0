"""What every command that computes does first."""

import os


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache directory, unless JAX was told where otherwise."""
    import jax

    from jinv.weights.cache import cache_directory

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
