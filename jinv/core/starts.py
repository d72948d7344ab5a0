"""Where a synthesis and its stages start from, other than plain noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.choices import Size, Start
from jinv.core.draws import stated_draws
from jinv.core.parameterization import average_pool_to, resize
from jinv.core.types import Image, Key


@stated_draws
def initial_noise(run_key: Key, image_ids: Array, size: Size, channels: int = 3) -> Image:
    """Standard normal noise in network units, (N, height, width, channels), each image from its own id alone."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(run_key, i), 0))(image_ids)
    return jax.vmap(lambda key: jax.random.normal(key, (*size, channels), jnp.float32))(keys)


def next_start(start: Start, image: Image, first: Image, noise: Image, previous_size: Size, size: Size) -> Image:
    """What a stage starts from, given the full-size `image` that the stage before it left.

    "image": that image, as in the thesis. Of a pooled stage it keeps the noise within every pooling window, which no
    gradient ever moved. "clean": what the stage before saw of it, upsampled, and nothing else. "detail": the run's own
    start image at full sharpness plus what the stages so far changed in it; DeepDream's octaves (Mordvintsev et al. 2015).
    "zoom": that image shrunk to its share of the new size, in the middle of fresh noise. After Ghiasi et al. (2022), whose
    program resamples nothing: that is `upsample = "crop"`, see `parameterization.staged`.

    Args:
      first: the run's start image; noise: new noise of that shape; previous_size: what the stage before saw.
    """
    full = image.shape[1], image.shape[2]

    def seen(x: Image) -> Image:
        return resize(average_pool_to(x, previous_size), full)

    if start == "clean":
        return seen(image)
    if start == "detail":
        return first + (image - seen(first))
    if start == "zoom":
        height, width = (min(f, round(f * p / s)) for f, p, s in zip(full, previous_size, size, strict=True))
        inner = height, width
        top, left = (full[0] - inner[0]) // 2, (full[1] - inner[1]) // 2
        return noise.at[:, top : top + inner[0], left : left + inner[1]].set(resize(image, inner))
    return image


@stated_draws
def class_gaussian(key: Key, images: Float[Array, "m h w c"], *, enlarge: int = 1) -> Float[Array, "height width c"]:
    """One draw from the normal distribution fitted to a class' images, `N(mean, cov + 1e-4 I)`, clipped to [0, 1].

    With X the M centred images as rows, `mean + X^T z / sqrt(M - 1) + 0.01 e` for standard normal z and e has exactly
    that distribution (cov the unbiased covariance), without a matrix of pixels times pixels. Santurkar et al. (2019).

    Args:
      images: at least two, with black 0 and white 1, average-pooled by `enlarge`; the draw is enlarged by as much again,
        each value repeated.
    """
    along, across = jax.random.split(key)
    mean = images.mean(axis=0)
    weights = jax.random.normal(along, (images.shape[0],), jnp.float32) / (images.shape[0] - 1) ** 0.5
    noise = 0.01 * jax.random.normal(across, mean.shape, jnp.float32)
    sample = jnp.clip(mean + jnp.einsum("m,mhwc->hwc", weights, images - mean[None]) + noise, 0, 1)
    return jnp.repeat(jnp.repeat(sample, enlarge, axis=0), enlarge, axis=1)
