"""What is optimised, and how it becomes the image that the network sees.

A parameterization is the pair `(init, render)`: `init` turns the full-size start image into parameters, `render` turns
parameters into a full-size image. `view` is the network's side of it at the stage's size.

`pixels`, `fourier`, `maco` and `resolutions` make one for a size; `staged` puts it into a stage of another size. Bounds (clipping): plain
pixels are projected onto them after every update; everything else is rendered through a sigmoid whose ends they are.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jinv.core.choices import Size, Upsample
from jinv.core.decorrelation import Decorrelate, color_matrix, decorrelated, recorrelated
from jinv.core.signatures import own_functions, positional, returned
from jinv.core.types import Image, Number

Bounds = tuple[Float[Array, " c"], Float[Array, " c"]]


class Parameterization(NamedTuple):
    """`init(full-size image) -> params`, `render(params) -> full-size image`, `view(params) -> image at the stage's size`.

    Every leaf of `params` has the images as its first axis. `plain` says that they are the image's own pixels.
    `from_noise(white noise) -> params` is the method's own start, where that is not the noise itself.
    """

    init: Callable[[Image], Any]
    render: Callable[[Any], Image]
    view: Callable[[Any], Image]
    plain: bool = True
    from_noise: Callable[[Image], Any] | None = None


def pixels(size: Size, *, decorrelate: Decorrelate = False) -> Parameterization:
    """The image's own pixels; with `decorrelate` in colours that are uncorrelated in natural images, or in recorded ones."""
    colors = color_matrix(decorrelate)
    if colors is None:
        return Parameterization(lambda image: image, lambda params: params, lambda params: params)

    def render(params: Array) -> Image:
        return recorrelated(params, colors)

    return Parameterization(lambda image: decorrelated(image, colors), render, render, plain=False)


def fourier(size: Size, *, decay: float = 1.0, sd: float = 0.01, decorrelate: Decorrelate = True) -> Parameterization:
    """The spectrum of the image, every frequency f (cycles per pixel) scaled by `1 / max(f, 1/longer side)^decay`.

    `image = irfft2(sqrt(height width) scale (a + ib)) / 4`: gradient steps then move low frequencies more, as in natural
    images. Without a start image the image is as if a and b were independent and normal with deviation `sd`. Olah et al.
    (2017), as in Lucid.
    """
    colors, (height, width) = color_matrix(decorrelate), size
    scale = (height * width) ** 0.5 / 4 / np.maximum(_frequencies(size), 1 / max(size)) ** decay
    scale = scale[None, :, :, None].astype(np.float32)

    def render(params: Array) -> Image:
        spectrum = jax.lax.complex(params[..., 0], params[..., 1]) * scale
        image = jnp.fft.irfft2(spectrum, (height, width), axes=(1, 2))
        return recorrelated(image, colors)

    def init(image: Image) -> Array:
        return _parts(jnp.fft.rfft2(decorrelated(image, colors), axes=(1, 2)) / scale)

    def from_noise(noise: Image) -> Array:
        white = _parts(jnp.fft.rfft2(noise, axes=(1, 2)))
        # Of independent parts in a column that is its own mirror image, the inverse transform sees only what is
        # symmetric, half the energy. Those of a real image's spectrum are symmetric already, so we halve it here.
        seen = np.where(_columns_standing_for_two(width) == 2, 1, 0.5**0.5).astype(np.float32)
        return sd * white * seen[None, None, :, None, None] / jnp.std(white, axis=(1, 2, 3, 4), keepdims=True)

    return Parameterization(init, render, render, plain=False, from_noise=from_noise)


def maco(
    size: Size,
    *,
    decay: float = 1.0,
    decorrelate: Decorrelate = True,
    spectrum: Callable[[Size, Decorrelate], np.ndarray] | None = None,
) -> Parameterization:
    """The phase of the spectrum alone; its magnitude stays `1 / f^decay`, or what was measured on images.

    `image = irfft2(magnitude exp(i phase))`, the magnitude scaled so that each image has deviation 1 over pixels and
    channels. A start image (or noise) gives its phase. Fel et al. (2023).

    Args:
      spectrum: `(size, decorrelate) -> (height, width // 2 + 1, C)` magnitudes, such as `mean_magnitude` of images.
    """
    colors, (height, width) = color_matrix(decorrelate), size
    if spectrum is None:
        frequencies = np.maximum(_frequencies(size), 1 / max(size))
        magnitude = np.repeat((1 / frequencies**decay)[..., None], 3, axis=2)
    else:
        magnitude = np.array(spectrum(size, decorrelate), np.float64)
    magnitude[0, 0] = 0  # no brightness of its own: the sigmoid's middle
    # Parseval: most columns of the half spectrum stand for two.
    twice = _columns_standing_for_two(width)
    variance = (magnitude**2 * twice[None, :, None]).sum() / (height * width) ** 2 / magnitude.shape[2]
    magnitude = (magnitude / variance**0.5)[None].astype(np.float32)

    def render(phase: Array) -> Image:
        image = jnp.fft.irfft2(
            jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase)), (height, width), axes=(1, 2)
        )
        return recorrelated(image, colors)

    def init(image: Image) -> Array:
        return jnp.angle(jnp.fft.rfft2(decorrelated(image, colors), axes=(1, 2)))

    return Parameterization(init, render, render, plain=False)


def resolutions(
    size: Size,
    *,
    ratio: float = 2.0,
    upsampling: Literal["bilinear", "nearest"] = "bilinear",
    sd: float = 0.01,
    decorrelate: Decorrelate = False,
) -> Parameterization:
    """A sum of images of every resolution, from one pixel to the full size, each upsampled.

    `image = sum_r upsample(P_r)`, the sides of P_r being the full ones over `ratio^k`, k = 0, 1, ..., at least one pixel: a
    step moves coarse structure as easily as fine. Within bounds it is rendered through their sigmoid, as Direct Ascent
    Synthesis does (Fort & Whitaker 2025): `1/2 + 1/2 tanh(s)` is the sigmoid of 2 s. They take every resolution; so does
    a ratio near 1. A start image is split from coarse to fine, each P_r the average of what those before it left, and the
    finest, the rest. Without one the image is noise of deviation `sd`, split likewise.

    Raises:
      ValueError: a ratio of at most 1.
    """
    if ratio <= 1:
        raise ValueError(f"resolutions: ratio {ratio} must be above 1")
    sizes = [size]
    while sizes[0] != (1, 1):
        share = ratio ** len(sizes)
        sizes.insert(0, (max(round(size[0] / share), 1), max(round(size[1] / share), 1)))
    sizes = list(dict.fromkeys(sizes))
    colors = color_matrix(decorrelate)
    method = {"bilinear": "linear", "nearest": "nearest"}[upsampling]

    def enlarged(part: Image) -> Float[Array, "n _ _ c"]:
        resized: Array = jax.image.resize(part, (part.shape[0], *size, part.shape[3]), method)
        return resized

    def render(parts: tuple[Array, ...]) -> Array:
        image = parts[-1]
        for part in parts[:-1]:
            image = image + enlarged(part)
        return recorrelated(image, colors)

    def init(image: Image) -> tuple[Array, ...]:
        parts, image = [], decorrelated(image, colors)
        for coarse in sizes[:-1]:
            parts.append(average_pool_to(image, coarse))
            image = image - enlarged(parts[-1])
        return (*parts, image)

    return Parameterization(init, render, render, plain=False, from_noise=lambda noise: init(sd * noise))


def is_parameterization(function: Callable[..., Any]) -> bool:
    """As everywhere, the signature is the registration: a public function of (size, *, hyperparameters)."""
    return returned(function) is Parameterization and positional(function) == ("size",)


PARAMETERIZATIONS: dict[str, Callable[..., Parameterization]] = {
    name: function for name, function in own_functions(globals(), __name__).items() if is_parameterization(function)
}
"""Every parameterization by name."""


def staged(
    make: Callable[[Size], Parameterization],
    upsample: Upsample,
    size: Size,
    stage_size: Size,
    bounds: Bounds | None = None,
) -> Parameterization:
    """`make` in a stage at which the network sees `stage_size` of a full-size image of `size`.

    "pool": the variable has the full size, the network sees its average pooling, as in the thesis. The pixels of one
    pooling window get equal gradients, so their initial differences (noise) survive the stage. "resize": the variable
    has the stage's own size and is upsampled (bicubic) between stages, so that no noise is left behind. "crop": the network
    sees the middle of the full-size variable, whose rim waits as it was; the next stage sees that middle again, pixel by
    pixel, and more around it: the growing canvas of Plug-In Inversion (Ghiasi et al. 2022).
    """
    own = make(stage_size if upsample == "resize" else size)
    squash, unsquash = _sigmoid(None if own.plain else bounds)

    def to_own(image: Array) -> Array:
        return average_pool_to(image, stage_size) if upsample == "resize" else image

    def seen(image: Array) -> Array:
        return center_crop(image, stage_size) if upsample == "crop" else average_pool_to(image, stage_size)

    def rendered(params: Any) -> Array:
        return squash(own.render(params))

    def from_noise(noise: Image) -> Any:
        assert own.from_noise is not None
        return own.from_noise(to_own(noise))

    return Parameterization(
        init=lambda image: own.init(unsquash(to_own(image))),
        render=lambda params: resize(rendered(params), size),
        view=lambda params: seen(rendered(params)),
        plain=own.plain,
        from_noise=from_noise if own.from_noise else None,
    )


def pooled_pixels(size: Size, stage_size: Size, bounds: Bounds | None = None) -> Parameterization:
    """The thesis' way: plain pixels of the full size, of which the network sees the average pooling."""
    return staged(pixels, "pool", size, stage_size, bounds)


def mean_magnitude(images: Image, *, decorrelate: Decorrelate = True) -> Float[Array, "h f c"]:
    """The mean over images of their spectra's magnitudes, what `maco` keeps fixed."""
    return jnp.mean(jnp.abs(jnp.fft.rfft2(decorrelated(images, color_matrix(decorrelate)), axes=(1, 2))), axis=0)


def low_passed(image: Image, cutoff: Number) -> Image:
    """The image without frequencies above `cutoff` (cycles per pixel, at most the root of a half at a corner).

    The orthogonal projection onto images that have none: doing it twice changes nothing. At 0 the mean colour is left.
    """
    height, width = image.shape[1:3]
    kept = jnp.asarray(_frequencies((height, width)), image.dtype) <= cutoff
    spectrum = jnp.where(kept[None, :, :, None], jnp.fft.rfft2(image, axes=(1, 2)), 0)
    projected: Array = jnp.fft.irfft2(spectrum, (height, width), axes=(1, 2))
    return projected


def resize(image: Image, size: Size) -> Float[Array, "n _ _ c"]:
    """Bicubic resize to (height, width); antialiased where it shrinks."""
    if image.shape[1:3] == size:
        return image
    resized: Array = jax.image.resize(image, (image.shape[0], *size, image.shape[3]), "bicubic")
    return resized


def center_crop(image: Image, size: Size) -> Float[Array, "n _ _ c"]:
    """The middle (height, width) of the image, as it is."""
    top, left = (image.shape[1] - size[0]) // 2, (image.shape[2] - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]]


def average_pool_to(image: Image, size: Size) -> Float[Array, "n _ _ c"]:
    """Area average down to (height, width).

    Where the sizes divide it is plain average pooling; elsewhere each output pixel averages the area it covers, with
    fractional weights at its rim.
    """
    if image.shape[1:3] == size:
        return image
    n, height, width, channels = image.shape
    if height < size[0] or width < size[1]:
        raise ValueError(f"average_pool_to: cannot pool {height}x{width} up to {size[0]}x{size[1]}")
    if height % size[0] == 0 and width % size[1] == 0:
        windows = image.reshape(n, size[0], height // size[0], size[1], width // size[1], channels)
        return windows.mean(axis=(2, 4))
    rows, columns = _area_weights(height, size[0]), _area_weights(width, size[1])
    return jnp.einsum("oh,pw,nhwc->nopc", rows.astype(image.dtype), columns.astype(image.dtype), image)


def _area_weights(source: int, target: int) -> np.ndarray:
    """(target, source) matrix: the share of each source pixel in each target pixel's area."""
    edges = np.arange(target + 1) * (source / target)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(source)[None, :]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    weights: np.ndarray = overlap / overlap.sum(axis=1, keepdims=True)
    return weights


def _sigmoid(bounds: Bounds | None) -> tuple[Callable[[Image], Image], Callable[[Image], Image]]:
    """The sigmoid from minus to plus infinity onto the bounds, and its inverse; identities without bounds."""
    if bounds is None:
        return lambda image: image, lambda image: image
    low, high = (bound[None, None, None, :] for bound in bounds)

    def unsquash(image: Image) -> Image:
        # Black and white themselves would lie at infinity: a grey level of 8 bits inside of them is near enough.
        share = jnp.clip((image - low) / (high - low), 1 / 255, 254 / 255)
        return jnp.log(share) - jnp.log1p(-share)

    return lambda image: low + (high - low) * jax.nn.sigmoid(image), unsquash


def _frequencies(size: Size) -> np.ndarray:
    """(height, width // 2 + 1): each bin's frequency in cycles per pixel."""
    frequencies: np.ndarray = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    return frequencies


def _columns_standing_for_two(width: int) -> np.ndarray:
    """(width // 2 + 1,): 2 for a column of the half spectrum that stands for its mirror image too, 1 for the first (and
    an even width's last), which is its own."""
    twice = np.full(width // 2 + 1, 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return twice


def _parts(spectrum: Array) -> Array:
    return jnp.stack([spectrum.real, spectrum.imag], axis=-1)
