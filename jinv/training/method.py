"""How a network is trained, bound: what all updates share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jinv.core.types import Image, Logits
from jinv.models.classifier import Classifier
from jinv.training.adversary import Adversary, Bounds
from jinv.training.views import Views


class Teacher(NamedTuple):
    """A network whose answers are the targets, softened by a temperature: Hinton et al. (2015)."""

    classifier: Classifier
    temperature: float = 1.0


class Method(NamedTuple):
    """Everything but the data. average: the decay of the average of the variables that is the result, 0 for the last ones.

    learning_rate: of the optimizer, as it is logged.
    """

    classifier: Classifier
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    views: Views = Views()
    teacher: Teacher | None = None
    adversary: Adversary | None = None
    average: float = 0.0


def answer(teacher: Teacher, variables: Any, pupil: Classifier, image: Image) -> jax.Array:
    """(n, classes): the teacher's softened answer to images in the pupil's units."""
    classifier = teacher.classifier
    logits = classifier.forward(variables, pupil.restated(image, classifier)).logits
    return lax.stop_gradient(jax.nn.softmax(logits / teacher.temperature))


def cross_entropy(logits: Logits, target: jax.Array, temperature: float = 1.0) -> jax.Array:
    """(n,): `-T^2 sum_k target_k log softmax(logits / T)_k`; T^2 keeps the gradient's size, Hinton et al. (2015), section 2.1."""
    losses: jax.Array = temperature**2 * optax.softmax_cross_entropy(logits / temperature, target)
    return losses


def units(classifier: Classifier) -> tuple[jax.Array, Bounds]:
    """The channels' deviations, and black and white, in the network's units."""
    mean, std = jnp.asarray(classifier.mean), jnp.asarray(classifier.std)
    return std, Bounds(-mean / std, (1 - mean) / std)
