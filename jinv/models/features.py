"""What a network is asked besides: the features before its head, where a picture's distance to another one means something,
and its norm layers' names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jinv.core.types import Forward
from jinv.models.classifier import Classifier, features_of
from jinv.models.layers import BatchNorm
from jinv.models.taps import listening


def norm_layers(classifier: Classifier) -> tuple[str, ...]:
    """The names of the batch-norm layers, in the order of `norm_stats`; nothing is computed."""
    plain = classifier.module.clone(remat=False) if hasattr(classifier.module, "remat") else classifier.module
    named: list[tuple[Array, str]] = []
    names: list[str] = []

    def listen(call: Callable[..., Any], arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        result = call(*arguments, **keywords)
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            named.append((result[1].batch_mean, ".".join(context.module.path)))
        return result

    def trace(variables: Mapping[str, Any], image: Array) -> None:
        with nn.intercept_methods(listen):
            stats = replace(classifier, module=plain, student=None).forward(variables, image).norm_stats
        # By the very array that a layer gave: the order of calls need not be that of the network's statistics.
        names.extend(next(name for array, name in named if array is layer.batch_mean) for layer in stats)

    variables = {name: tree for name, tree in classifier.variables.items() if name != "student"}
    size = max(classifier.min_size, 32)
    jax.eval_shape(trace, variables, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    return tuple(names)


def forward_with_features(classifier: Classifier, variables: Mapping[str, Any], image: Array) -> tuple[Forward, Array]:
    """`classifier.forward`, and (N, features): what its last dense layer is given.

    Where the head is a convolution, the mean over height and width of what that is given.

    Raises:
      ValueError: a network without a head.
    """
    with listening(()) as heard:
        result = classifier.forward(variables, image)
    return result, features_of(classifier.architecture, heard)
