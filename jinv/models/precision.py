"""The arithmetic of a run: float32, TF32 (a GPU's products of float32 with ten bits each), or bfloat16.

Image, statistics, losses and optimizer are float32 in every one of them.
"""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jinv.core.choices import Precision
from jinv.errors import UsageError
from jinv.models.classifier import Classifier


def check_precision(precision: Precision) -> None:
    """Raises `UsageError` where this machine has no such arithmetic."""
    if precision == "tf32" and jax.default_backend() != "gpu":
        raise UsageError.of(
            "precision",
            f"'tf32' needs an NVIDIA GPU, and JAX runs on {jax.default_backend()} here; 'float32' or 'bf16' run anywhere",
        )


def with_precision(classifier: Classifier, precision: Precision) -> Classifier:
    """The classifier as it computes in that precision; `matmul_precision` is the other half.

    bf16: kernels and activations are bfloat16. Batch norms keep float32 parameters, measure the mean and E[(x - m)^2]
    in float32, and `forward` returns float32 logits and the image as it was given.
    """
    if precision != "bf16":
        return classifier

    def cast(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf.astype(jnp.bfloat16) if getattr(path[-1], "key", None) == "kernel" else leaf

    variables = jax.tree_util.tree_map_with_path(cast, dict(classifier.variables))
    return replace(classifier, variables=variables, compute_dtype=jnp.bfloat16)


def matmul_precision(precision: Precision) -> AbstractContextManager[Any]:
    """While programs are traced: how products of float32 numbers are taken.

    "float32" has to be said: XLA's default for float32 on a GPU is TF32.
    """
    context: AbstractContextManager[Any] = jax.default_matmul_precision(
        "tensorfloat32" if precision == "tf32" else "highest"
    )
    return context
