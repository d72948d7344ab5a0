"""How many images a network recognises, as they are and under attack."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jinv.core.draws import stated_draws
from jinv.core.processor import jit_when_called
from jinv.core.types import Key
from jinv.models.classifier import Classifier
from jinv.training.adversary import Adversary, Gradient, ascended, random_start
from jinv.training.method import units
from jinv.training.views import Data

BATCH = 250


def recognised(
    classifier: Classifier,
    variables: Mapping[str, Any],
    data: Data,
    adversary: Adversary | None = None,
    key: Key | None = None,
    *,
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """bool (n,): which pictures get their label, after `adversary`, whose draws are `key`'s, has changed them.

    An attack, by projected gradient descent, knows the whole network, which is compiled once for all `variables`. `watch` is given
    the batches to go through.

    Raises:
      ValueError: another attack.
    """
    if adversary is not None and adversary.name != "pgd":
        raise ValueError(f"recognised: networks are tested under pgd, not {adversary.name}")
    prepared = replace(classifier, variables=variables).prepared().variables
    count = len(data.labels)
    size = min(BATCH, count)

    def batches() -> Iterator[np.ndarray]:
        for start in watch(range(0, count, size)):
            # The last batch is filled up, so that one program does for all.
            places = np.arange(start, start + size) % count
            image, labels = _standardised(classifier, data.pixels[places]), data.labels[places]
            if adversary is not None:
                assert key is not None
                image = _attacked(classifier, adversary, prepared, image, labels, jax.random.fold_in(key, start))
            yield np.asarray(_right(classifier, prepared, image, labels))[: count - start]

    return np.concatenate(list(batches()))


def _attacked(
    classifier: Classifier, adversary: Adversary, variables: Any, image: Array, labels: Array, key: Key
) -> Array:
    """The images after projected gradient descent, whose steps are calls of one program."""
    x: Array = _start(classifier, adversary, image, key)
    for _ in range(adversary.steps):
        x = _step(classifier, adversary, variables, x, image, labels)
    return x


@jit_when_called(static_argnums=0)
def _standardised(classifier: Classifier, pixels: Array) -> Array:
    return classifier.preprocess(pixels)


@jit_when_called(static_argnums=0)
def _right(classifier: Classifier, variables: Any, image: Array, labels: Array) -> Array:
    return jnp.argmax(classifier.forward(variables, image).logits, axis=1) == labels


@stated_draws
@jit_when_called(static_argnums=(0, 1))
def _start(classifier: Classifier, adversary: Adversary, image: Array, key: Key) -> Array:
    std, bounds = units(classifier)
    return random_start(key, image, eps=adversary.eps / std, bounds=bounds)


@jit_when_called(static_argnums=(0, 1))
def _step(classifier: Classifier, adversary: Adversary, variables: Any, x: Array, image: Array, labels: Array) -> Array:
    std, bounds = units(classifier)
    gradient = _gradient(classifier, variables, labels)
    return ascended(x, image, gradient, eps=adversary.eps / std, step=adversary.length / std, bounds=bounds)


def _gradient(classifier: Classifier, variables: Any, labels: Array) -> Gradient:
    def loss(x: Array) -> Array:
        logits = classifier.forward(variables, x).logits
        total: Array = optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()
        return total

    return jax.grad(loss)
