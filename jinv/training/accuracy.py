"""How many images a network recognises, as they are and under attack."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jinv.core.draws import stated_draws
from jinv.core.types import Key
from jinv.models.classifier import Classifier
from jinv.training.adversary import Adversary, Bounds, attacked
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

    An attack knows the whole network, which is compiled once for all `variables`. `watch` is given the batches to go through.
    """
    prepared = replace(classifier, variables=variables).prepared().variables
    count = len(data.labels)
    size = min(BATCH, count)

    def batches() -> Iterator[np.ndarray]:
        for start in watch(range(0, count, size)):
            # The last batch is filled up, so that one program does for all.
            places = np.arange(start, start + size) % count
            own = None if key is None else jax.random.fold_in(key, start)
            right = _right(classifier, adversary, prepared, data.pixels[places], data.labels[places], own)
            yield np.asarray(right)[: count - start]

    return np.concatenate(list(batches()))


@stated_draws
@partial(jax.jit, static_argnums=(0, 1))
def _right(
    classifier: Classifier, adversary: Adversary | None, variables: Any, pixels: Array, labels: Array, key: Key | None
) -> Array:
    image = classifier.preprocess(pixels)
    if adversary is not None:
        assert key is not None

        def loss(x: Array) -> Array:
            logits = classifier.forward(variables, x).logits
            total: Array = optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()
            return total

        mean, std = jnp.asarray(classifier.mean), jnp.asarray(classifier.std)
        bounds = Bounds(-mean / std, (1 - mean) / std)
        image = attacked(adversary, key, image, jax.grad(loss), std, bounds)
    return jnp.argmax(classifier.forward(variables, image).logits, axis=1) == labels
