"""The features before a network's head: where a picture's distance to another one means something."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from jax import Array

from jinv.core.types import Forward
from jinv.models.classifier import Classifier
from jinv.models.layers import Dense, Head
from jinv.models.ops import global_average_pool


def forward_with_features(classifier: Classifier, variables: Mapping[str, Any], image: Array) -> tuple[Forward, Array]:
    """`classifier.forward`, and (N, features): what its last dense layer is given.

    Where the head is a convolution, the mean over height and width of what that is given.

    Raises:
      ValueError: a network without a head.
    """
    inputs: list[Array] = []

    def listen(call: Callable[..., Any], arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, Dense | Head) and context.method_name == "__call__":
            inputs.append(arguments[0])
        return call(*arguments, **keywords)

    with nn.intercept_methods(listen):
        result = classifier.forward(variables, image)
    if not inputs:
        raise ValueError(f"{classifier.architecture}: no head, hence no features before it")
    return result, inputs[-1] if inputs[-1].ndim == 2 else global_average_pool(inputs[-1])
