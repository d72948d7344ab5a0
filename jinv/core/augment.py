"""Random changes of the image before the network sees it, each step anew.

Draws name their dtypes, so that they are the same under JAX's float64 mode.

An augmentation is written for ONE image, `(key, image (H, W, C), *, hyperparameters) -> image`, and vmapped by
`augment_batch`: with one key for all images (`draw="batch"`, what the thesis and the papers do) or with each image's own.
"""

import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.types import Image, Key, Keys, Number

SingleImage = Float[Array, "h w c"]


class Augmentation(NamedTuple):
    """An augmentation with its hyperparameters bound; `name` seeds its draws."""

    name: str
    function: Callable[..., Array]
    hyperparameters: dict[str, Any]
    draw: Literal["batch", "image"] = "batch"


def roll(key: Key, image: SingleImage, *, max_shift: int) -> SingleImage:
    """Circular roll of both axes by shifts uniform in [-max_shift, max_shift] pixels. Thesis; Yin et al. (2020)."""
    shift = jax.random.randint(key, (2,), -max_shift, max_shift + 1, jnp.int32)
    return jnp.roll(image, shift, axis=(0, 1))


def flip(key: Key, image: SingleImage, *, probability: Number = 0.5) -> SingleImage:
    """Mirror left and right with the given probability. Thesis; Yin et al. (2020)."""
    return jnp.where(jax.random.uniform(key, (), jnp.float32) < probability, image[:, ::-1], image)


def _augmentations() -> dict[str, Callable[..., Array]]:
    # As with terms, the signature is the registration: (key, image, *, hyperparameters).
    return {
        name: function
        for name, function in list(globals().items())
        if inspect.isfunction(function)
        and [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        == ["key", "image"]
    }


AUGMENTATIONS: dict[str, Callable[..., Array]] = _augmentations()
"""Every augmentation by name."""


def augment_batch(augmentations: Sequence[Augmentation], batch_key: Key, image_keys: Keys, image: Image) -> Image:
    """Apply the augmentations in order to a batch.

    Args:
      batch_key: one key for this step; image_keys: one key per image for this step, shape (N,).
    """
    for augmentation in augmentations:
        # The name, not the position, tells draws apart: adding one augmentation leaves the others' draws as they are.
        tag = zlib.crc32(augmentation.name.encode()) & 0x7FFFFFFF

        def apply(key: Key, single: Array, augmentation: Augmentation = augmentation, tag: int = tag) -> Array:
            return augmentation.function(jax.random.fold_in(key, tag), single, **augmentation.hyperparameters)

        if augmentation.draw == "batch":
            image = jax.vmap(apply, in_axes=(None, 0))(batch_key, image)
        else:
            image = jax.vmap(apply)(image_keys, image)
    return image
