"""Images on which the two networks are compared: kinds, odd sizes and batches of 1, 2 and 7."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jinv.images.codec import fit_image
from jinv.images.folder import open_image_folder

LARGE = 100.0
"""Factor of the large inputs: a hundred standard deviations of the training set."""


@dataclass(frozen=True)
class Inputs:
    """A batch with a name: float64 NHWC in network units; `differentiate` where gradients are compared on it too."""

    name: str
    image: np.ndarray
    differentiate: bool = False


def make_inputs(
    input_size: int,
    min_size: int,
    real: Sequence[np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int = 0,
) -> list[Inputs]:
    """Batches of four shapes, small enough for float64 on a CPU and one at the network's own size.

    "Seven kinds" are random, uniform, two constants, zero, large and like a photograph.

    `real` are uint8 pictures (two are used); without any, noise with the spectrum of photographs stands in. Constant
    images have legitimate ties in pooling, so that no gradient is compared there.
    """
    random = np.random.default_rng(seed)
    base = input_size if input_size <= 2 * min_size or input_size <= 64 else 2 * min_size
    odd, pair = (base + 11, base - 3), (base + 1, base + 6)
    if real:
        pictures = np.stack([fit_image(picture, pair) for picture in [*real, *real][:2]]) / 255
        photographs = (pictures - np.reshape(mean, (1, 1, 1, 3))) / np.reshape(std, (1, 1, 1, 3))
    else:
        photographs = np.stack([natural_noise(random, pair) for _ in range(2)])
    shape = (base, base, 3)
    mixed = [
        random.normal(size=shape),
        random.uniform(-2, 2, size=shape),
        np.full(shape, 0.7),
        np.full(shape, -1.3),
        np.zeros(shape),
        LARGE * random.normal(size=shape),
        natural_noise(random, (base, base)),
    ]
    inputs = [
        Inputs(f"one random {odd[0]}x{odd[1]}", random.normal(size=(1, *odd, 3))),
        Inputs(f"two random {pair[0]}x{pair[1]}", random.normal(size=(2, *pair, 3)), differentiate=True),
        Inputs("two real" if real else "two like photographs", photographs, differentiate=True),
        Inputs(f"seven kinds {base}x{base}", np.stack(mixed)),
    ]
    if input_size > base:
        own = natural_noise(random, (input_size, input_size))[None]
        inputs.append(Inputs(f"one like a photograph {input_size}x{input_size}", own))
    return inputs


def natural_noise(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) noise whose amplitude falls with frequency as that of photographs, standard deviation 1."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(random.normal(size=(3, height, width))) / np.maximum(frequency, 1 / max(size))
    noise = np.fft.irfft2(spectrum, size).transpose(1, 2, 0)
    standardised: np.ndarray = (noise - noise.mean()) / noise.std()
    return standardised


def first_pictures(path: Path | None) -> list[np.ndarray]:
    """Two uint8 pictures of a folder or zip, from its beginning and its middle; none without one."""
    if path is None:
        return []
    folder = open_image_folder(path)
    chosen = list(dict.fromkeys((folder.names[0], folder.names[len(folder.names) // 2])))
    return [picture for _, picture in folder.read(chosen)]
