"""What a network is shown of an image in an epoch, and what it is to answer: functions of the seed, the epoch and the place.

SRe2L (Yin et al. 2023), as FKD before it (Shen & Xing 2022), stores the crops and the teacher's answer to each, because its
loader draws them anew. Here a view is drawn by keys: whoever asks for the same one gets it again, with the same answer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jinv.core.augment import Augmentation, augment_batch
from jinv.core.choices import Mix
from jinv.core.types import Image, Key
from jinv.models.classifier import Classifier

MIXING, OTHERS, ORDER = 1, 2, 3
"""What an epoch's key is folded with, for draws of different things."""


class Data(NamedTuple):
    """Pictures of a network's size, and their class ids."""

    pixels: UInt8[Array, "n h w 3"]
    labels: Int[Array, " n"]


class Views(NamedTuple):
    """How pictures become views. mix: with another picture of the data, as far as a draw of Beta(alpha, alpha) says.

    smoothing: the share of a target that goes to all classes alike.
    """

    augmentations: tuple[Augmentation, ...] = ()
    mix: Mix = "none"
    alpha: float = 1.0
    smoothing: float = 0.0


class View(NamedTuple):
    """Views in the network's units, and what they are to be taken for."""

    image: Image
    target: Float[Array, "n classes"]


def order(key: Key, epoch: Array, count: int) -> Int[Array, " count"]:
    """The places of all pictures in the order in which an epoch shows them."""
    return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, epoch), ORDER), count)


def view(views: Views, classifier: Classifier, key: Key, data: Data, epoch: Array, places: Int[Array, " n"]) -> View:
    """What an epoch shows of the pictures at `places`."""
    key = jax.random.fold_in(key, epoch)
    classes = len(classifier.class_names)
    image, target = _augmented(views, classifier, key, data, places), jax.nn.one_hot(data.labels[places], classes)
    if views.mix != "none":
        # One distance for the whole epoch: every picture is somebody's partner once, whatever the batches are.
        own = jax.random.fold_in(key, MIXING)
        distance = jax.random.randint(own, (), 1, max(len(data.labels), 2), jnp.int32)
        partners = (places + distance) % len(data.labels)
        other = _augmented(views, classifier, jax.random.fold_in(key, OTHERS), data, partners)
        keys = jax.vmap(lambda place: jax.random.fold_in(own, place))(places)
        blend = _mixup if views.mix == "mixup" else _cutmix
        image, kept = jax.vmap(lambda k, a, b: blend(k, a, b, views.alpha))(keys, image, other)
        share = kept.reshape(-1, 1)
        target = share * target + (1 - share) * jax.nn.one_hot(data.labels[partners], classes)
    return View(image, (1 - views.smoothing) * target + views.smoothing / classes)


def _augmented(views: Views, classifier: Classifier, key: Key, data: Data, places: Array) -> Image:
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
    return augment_batch(views.augmentations, key, keys, classifier.preprocess(data.pixels[places]))


def _mixup(key: Key, image: Array, other: Array, alpha: float) -> tuple[Array, Array]:
    """`t x + (1 - t) x'`, t of Beta(alpha, alpha): mixup, Zhang et al. (2018), eq. 1. Returns t too."""
    share = jax.random.beta(key, alpha, alpha, dtype=jnp.float32)
    return share * image + (1 - share) * other, share


def _cutmix(key: Key, image: Array, other: Array, alpha: float) -> tuple[Array, Array]:
    """A box of the other picture, of about the share 1 - t of the area: CutMix, Yun et al. (2019), eqs. 1 and 2.

    Returns the share of the area that is left of the first one.
    """
    share_key, place_key = jax.random.split(key)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32))
    inside = []
    for size, own in zip(image.shape[:2], jax.random.split(place_key), strict=True):
        centre = jax.random.uniform(own, (), jnp.float32, 0, size)
        pixel = jnp.arange(size, dtype=jnp.float32) + 0.5
        inside.append(jnp.abs(pixel - centre) < side * size / 2)
    box = inside[0][:, None] & inside[1][None]
    return jnp.where(box[..., None], other, image), 1 - jnp.mean(box, dtype=jnp.float32)
