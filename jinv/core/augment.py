"""Random changes of the image before the network sees it, each step anew.

Draws name their dtypes, so that they are the same under JAX's float64 mode. Every augmentation keeps the image's size.

An augmentation is written for ONE image, `(key, image (H, W, C), *, hyperparameters) -> image`, and vmapped by
`augment_batch`: with one key for all images (`draw="batch"`, what the thesis and the papers do) or with each image's own.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.choices import Draw
from jinv.core.schedules import at_step
from jinv.core.signatures import own_functions, positional
from jinv.core.types import Image, Key, Keys, Number

SingleImage = Float[Array, "h w c"]


class Augmentation(NamedTuple):
    """An augmentation with its hyperparameters bound (numbers may be schedules of the step); `name` seeds its draws."""

    name: str
    function: Callable[..., Array]
    hyperparameters: dict[str, Any]
    draw: Draw = "batch"


def roll(key: Key, image: SingleImage, *, max_shift: int, one_sided: bool = False) -> SingleImage:
    """Circular roll of both axes by shifts uniform in [-max_shift, max_shift] pixels. Thesis; Yin et al. (2020).

    In a config `max_shift` below 1 is a share of the stage's size. `one_sided` draws from [0, max_shift], as SRe2L's program (Yin et al. 2023), so that the picture drifts.
    """
    shift = jax.random.randint(key, (2,), 0 if one_sided else -max_shift, max_shift + 1, jnp.int32)
    return _rolled(image, shift)


@jax.custom_vjp
def _rolled(image: Array, shift: Array) -> Array:
    """Circularly, by (rows, columns). Its gradient is rolled back: JAX's own is added into a zeroed image of twice the size."""
    return jnp.roll(image, shift, axis=(0, 1))


_rolled.defvjp(
    lambda image, shift: (_rolled(image, shift), shift), lambda shift, g: (jnp.roll(g, -shift, axis=(0, 1)), None)
)


def flip(key: Key, image: SingleImage, *, probability: Number = 0.5) -> SingleImage:
    """Mirror left and right with the given probability. Thesis; Yin et al. (2020)."""
    drawn = jax.random.uniform(key, (), jnp.float32) < probability
    # A condition, and no selection among both: where all images share the draw only the one is made.
    mirrored: Array = jax.lax.cond(drawn, lambda image: image[:, ::-1], lambda image: image, image)
    return mirrored


def padded_crop(key: Key, image: SingleImage, *, padding: int = 4) -> SingleImage:
    """Moves by whole pixels, uniform in [-padding, padding] on both axes; what comes in is the picture's rim, mirrored.

    torchvision's RandomCrop with `padding` and `padding_mode="reflect"`: how networks for CIFAR are trained since He et al.
    (2015), section 4.2, who pad with zeros.
    """
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1, jnp.int32)
    return jax.lax.dynamic_slice(padded, (top, left, jnp.int32(0)), image.shape)


def resized_crop(
    key: Key, image: SingleImage, *, min_scale: Number = 0.08, max_scale: Number = 1.0, max_ratio: Number = 4 / 3
) -> SingleImage:
    """A random crop, resized bilinearly to the image's size: torchvision's RandomResizedCrop. SRe2L; CDA.

    The crop's share of the area is uniform in [min_scale, max_scale], the logarithm of its width over its height in
    +-log(max_ratio), both rounded to whole pixels; of ten draws the first that fits into the image counts, and where
    none does the largest centred crop of an allowed ratio. Its position is uniform.
    """
    height, width = image.shape[:2]
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    area = height * width * jax.random.uniform(area_key, (10,), jnp.float32, min_scale, max_scale)
    spread = jnp.log(jnp.asarray(max_ratio, jnp.float32))
    ratio = jnp.exp(jax.random.uniform(ratio_key, (10,), jnp.float32, -spread, spread))
    # One draw more, which always fits: the fallback.
    closest = jnp.clip(width / height, jnp.exp(-spread), jnp.exp(spread))
    heights = jnp.append(jnp.rint(jnp.sqrt(area / ratio)), jnp.minimum(height, jnp.rint(width / closest)))
    widths = jnp.append(jnp.rint(jnp.sqrt(area * ratio)), jnp.minimum(width, jnp.rint(height * closest)))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    chosen = jnp.argmax(fits.at[10].set(True))
    crop_height, crop_width = heights[chosen].astype(jnp.int32), widths[chosen].astype(jnp.int32)
    top = jax.random.randint(top_key, (), 0, height - crop_height + 1, jnp.int32)
    left = jax.random.randint(left_key, (), 0, width - crop_width + 1, jnp.int32)
    top = jnp.where(chosen == 10, (height - crop_height) // 2, top)
    left = jnp.where(chosen == 10, (width - crop_width) // 2, left)
    return _sample(image, _box(height, top, crop_height), _box(width, left, crop_width))


def zoom(key: Key, image: SingleImage, *, min_factor: Number = 0.9, max_factor: Number = 1.1) -> SingleImage:
    """Enlarges about the centre by a factor uniform in [min_factor, max_factor], bilinearly; Lucid's random scaling.

    Below 1 the picture shrinks and its rim is repeated outwards.
    """
    height, width = image.shape[:2]
    factor = jax.random.uniform(key, (), jnp.float32, min_factor, max_factor)
    rows, columns = (
        _nearby((jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2) / factor + (n - 1) / 2, n) for n in (height, width)
    )
    return _sample(image, rows, columns)


def rotate(key: Key, image: SingleImage, *, max_degrees: Number = 10.0) -> SingleImage:
    """Turns about the centre by an angle uniform in +-max_degrees, bilinearly, the rim repeated outwards; Lucid."""
    height, width = image.shape[:2]
    angle = jax.random.uniform(key, (), jnp.float32, -1, 1) * max_degrees * (math.pi / 180)
    y, x = jnp.meshgrid(jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij")
    source = [
        jnp.cos(angle) * y + jnp.sin(angle) * x + (height - 1) / 2,
        jnp.cos(angle) * x - jnp.sin(angle) * y + (width - 1) / 2,
    ]
    channels = (
        jax.scipy.ndimage.map_coordinates(image[..., c], source, order=1, mode="nearest") for c in range(image.shape[2])
    )
    return jnp.stack(list(channels), axis=-1)


def color_shift(key: Key, image: SingleImage, *, scale: Number = 1.0, shift: Number = 1.0) -> SingleImage:
    """Each channel times `exp(U(-scale, scale))` plus `U(-shift, shift)`. Plug-In Inversion (Ghiasi et al. 2022).

    In network units. The paper's shift of 1 is in units where white is 1: here that is 1/std, about 4.4 for ImageNet.
    """
    scale_key, shift_key = jax.random.split(key)
    shape = (1, 1, image.shape[2])
    factor = jnp.exp(scale * jax.random.uniform(scale_key, shape, jnp.float32, -1, 1))
    return (image * factor + shift * jax.random.uniform(shift_key, shape, jnp.float32, -1, 1)).astype(image.dtype)


def gaussian_noise(key: Key, image: SingleImage, *, std: Number = 0.05) -> SingleImage:
    """Adds normal noise of standard deviation `std` in network units to every pixel. MACO (Fel et al. 2023)."""
    return image + (std * jax.random.normal(key, image.shape, jnp.float32)).astype(image.dtype)


def gaussian_blur(key: Key, image: SingleImage, *, min_sigma: Number = 0.1, max_sigma: Number = 2.0) -> SingleImage:
    """A Gaussian blur of a width uniform in [min_sigma, max_sigma] pixels: what the network sees must show at every scale.

    torchvision's GaussianBlur draws likewise; here the kernel is as wide as the image and its weights sum to 1 at the rim.
    """
    sigma = jax.random.uniform(key, (), jnp.float32, min_sigma, max_sigma)
    rows, columns = (_gaussian(n, sigma) for n in image.shape[:2])
    return _sample(image, rows, columns)


def _gaussian(size: int, sigma: Array) -> Array:
    """(size, size) weights of a normal distribution around each pixel, of those that lie in the image."""
    position = jnp.arange(size, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * ((position[:, None] - position[None]) / sigma) ** 2)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _box(size: int, start: Array, length: Array) -> Array:
    """(size, size) weights of a bilinear resize of `length` pixels from `start` on to `size`; none from outside them."""
    position = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (length / size) - 0.5
    return _nearby(start + jnp.clip(position, 0, length - 1), size)


def _nearby(position: Array, size: int) -> Array:
    """(len(position), size) weights of linear interpolation at each position; beyond the ends the end pixel counts."""
    position = jnp.clip(position, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(position[:, None] - jnp.arange(size, dtype=jnp.float32)[None]))


def _sample(image: Array, rows: Array, columns: Array) -> Array:
    # Two matrix products: with gathers instead, the gradient would be a scatter, slow on every platform.
    rows, columns = rows.astype(image.dtype), columns.astype(image.dtype)
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision=precision)


def is_augmentation(function: Callable[..., Any]) -> bool:
    """As with terms, the signature is the registration: (key, image, *, hyperparameters)."""
    return positional(function) == ("key", "image")


AUGMENTATIONS: dict[str, Callable[..., Array]] = {
    name: function for name, function in own_functions(globals(), __name__).items() if is_augmentation(function)
}
"""Every augmentation by name."""


def augment_batch(
    augmentations: Sequence[Augmentation], batch_key: Key, image_keys: Keys, image: Image, step: Array | int = 0
) -> Image:
    """Apply the augmentations in order to a batch.

    Args:
      batch_key: one key for this step; image_keys: one key per image for this step, shape (N,).
      step: the stage's step, for hyperparameters that are schedules.
    """
    for augmentation in augmentations:
        # The name, not the position, tells draws apart: adding one augmentation leaves the others' draws as they are.
        tag = zlib.crc32(augmentation.name.encode()) & 0x7FFFFFFF

        def apply(key: Key, single: Array, augmentation: Augmentation = augmentation, tag: int = tag) -> Array:
            hyperparameters = at_step(augmentation.hyperparameters, step)
            return augmentation.function(jax.random.fold_in(key, tag), single, **hyperparameters)

        if augmentation.draw == "batch":
            image = jax.vmap(apply, in_axes=(None, 0))(batch_key, image)
        else:
            image = jax.vmap(apply)(image_keys, image)
    return image


def augment_copies(
    augmentations: Sequence[Augmentation],
    batch_key: Key,
    image_keys: Keys,
    image: Image,
    step: Array | int = 0,
    *,
    copies: int,
) -> Float[Array, "views h w c"]:
    """`copies` views of every image, each with draws of its own: (copies * N, H, W, C), a view of all images at a time.

    The first view is `augment_batch`'s. An ensemble as in Plug-In Inversion (Ghiasi et al. 2022): the loss over all of
    them is the mean over an image's views.
    """
    if copies == 1:
        return augment_batch(augmentations, batch_key, image_keys, image, step)

    def own(key: Array, copy: int) -> Array:
        return jax.random.fold_in(key, copy) if copy else key

    shared = jnp.stack([own(batch_key, copy) for copy in range(copies)])
    each = jnp.stack([jax.vmap(lambda key, c=copy: own(key, c))(image_keys) for copy in range(copies)])
    views = jax.vmap(lambda b, i: augment_batch(augmentations, b, i, image, step))(shared, each)
    return views.reshape(-1, *image.shape[1:])
