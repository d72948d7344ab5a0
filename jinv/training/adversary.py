"""Images that are changed against a network, within eps of each pixel: to train it on, and to see what it withstands.

All in the network's units: `eps` and steps have a value per channel, `(3,)`, that of a pixel divided by the channel's std.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jinv.core.types import Image, Key

Gradient = Callable[[Array], Array]
"""The loss' gradient with respect to images; per image only its direction counts."""

Channels = Float[Array, "3"]


class Bounds(NamedTuple):
    """Black and white in the network's units, per channel."""

    black: Channels
    white: Channels


class Adversary(NamedTuple):
    """How images are attacked. In pixels where white is 1; `step` None is eps for N-FGSM, and 2.5 eps / steps for PGD.

    noise: of N-FGSM, how many times eps it reaches.
    """

    name: Literal["n_fgsm", "pgd"]
    eps: float
    step: float | None = None
    steps: int = 10
    noise: float = 2.0

    @property
    def length(self) -> float:
        """One step's, in pixels where white is 1."""
        if self.step is not None:
            return self.step
        return self.eps if self.name == "n_fgsm" else 2.5 * self.eps / self.steps


def attacked(adversary: Adversary, key: Key, image: Image, gradient: Gradient, std: Channels, bounds: Bounds) -> Image:
    """The images as the adversary leaves them."""
    eps, step = adversary.eps / std, adversary.length / std
    if adversary.name == "n_fgsm":
        return noisy_gradient_sign(key, image, gradient, noise=adversary.noise * eps, step=step, bounds=bounds)
    return projected_gradient(key, image, gradient, eps=eps, step=step, steps=adversary.steps, bounds=bounds)


def noisy_gradient_sign(
    key: Key, image: Image, gradient: Gradient, *, noise: Channels, step: Channels, bounds: Bounds
) -> Image:
    """`x + eta + step sign(grad L(x + eta))`, eta uniform in +-noise: N-FGSM, de Jorge et al. (2022), algorithm 1.

    Its noise is twice eps, and what comes out is not brought back to within eps of `image`, only between black and white:
    that is what keeps one step from overfitting to itself.
    """
    eta = jax.random.uniform(key, image.shape, jnp.float32, -1, 1) * _pixelwise(noise)
    noisy = image + eta
    return _between(noisy + _pixelwise(step) * jnp.sign(gradient(noisy)), bounds)


def projected_gradient(
    key: Key, image: Image, gradient: Gradient, *, eps: Channels, step: Channels, steps: int, bounds: Bounds
) -> Image:
    """`steps` times `x <- P(x + step sign(grad L(x)))` from a random start; P: within eps of `image`, and of the pixels.

    Madry et al. (2018), section 2.1: PGD in the maximum norm. Traced, it is as many copies of the gradient: inside a loop
    of its own XLA:CPU takes convolutions thirty times as long.
    """
    x = random_start(key, image, eps=eps, bounds=bounds)
    for _ in range(steps):
        x = ascended(x, image, gradient, eps=eps, step=step, bounds=bounds)
    return x


def random_start(key: Key, image: Image, *, eps: Channels, bounds: Bounds) -> Image:
    """Where projected gradient descent starts: uniform within eps."""
    return _between(image + jax.random.uniform(key, image.shape, jnp.float32, -1, 1) * _pixelwise(eps), bounds)


def ascended(x: Image, image: Image, gradient: Gradient, *, eps: Channels, step: Channels, bounds: Bounds) -> Image:
    """One step of projected gradient descent, from `x`."""
    moved = x + _pixelwise(step) * jnp.sign(gradient(x))
    return _between(jnp.clip(moved, image - _pixelwise(eps), image + _pixelwise(eps)), bounds)


def _pixelwise(channels: Channels) -> Array:
    return channels.reshape(1, 1, 1, -1)


def _between(image: Array, bounds: Bounds) -> Array:
    return jnp.clip(image, _pixelwise(bounds.black), _pixelwise(bounds.white))
