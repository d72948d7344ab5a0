"""The features before a network's head: where a picture's distance to another one means something."""

from collections.abc import Mapping
from typing import Any

from jax import Array

from jinv.core.types import Forward
from jinv.models.classifier import Classifier, features_of
from jinv.models.taps import listening


def forward_with_features(classifier: Classifier, variables: Mapping[str, Any], image: Array) -> tuple[Forward, Array]:
    """`classifier.forward`, and (N, features): what its last dense layer is given.

    Where the head is a convolution, the mean over height and width of what that is given.

    Raises:
      ValueError: a network without a head.
    """
    with listening(()) as heard:
        result = classifier.forward(variables, image)
    return result, features_of(classifier.architecture, heard)
