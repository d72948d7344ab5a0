"""Functions that each break the contract in one way, and what is said of it; tests/core/test_contract.py."""

import datetime
import math
import os
import random
import time
from time import perf_counter_ns
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinv.core.augment import SingleImage
from jinv.core.parameterization import Parameterization
from jinv.core.types import Image, Key, NormStats, Number, Scalar

KEPT = []
CALLS = 0
SEEN = []
TABLE = np.array([0.1, 0.2, 0.7])


def nan_gradient(image: Image) -> Scalar:
    """Couples no images."""
    return jnp.mean(jnp.sqrt(jnp.sum((image[:, 1:] - image[:, :-1]) ** 2, axis=(1, 2, 3))))


def infinite_value(image: Image) -> Scalar:
    """Couples the images."""
    return -jnp.log(jnp.mean(jnp.var(image, axis=(1, 2, 3))))


def norm_of_statistics(norm_stats: tuple[NormStats, ...]) -> Scalar:
    """Couples the images."""
    return sum(jnp.linalg.norm(layer.batch_mean - layer.running_mean) for layer in norm_stats)


def python_branch(image: Image) -> Scalar:
    return jnp.mean(image**2) if image.mean() > 0 else jnp.mean(jnp.abs(image))


def numpy_inside(image: Image) -> Scalar:
    return jnp.asarray(np.mean(np.asarray(image) ** 2))


def masked(image: Image) -> Scalar:
    return jnp.mean(image[image > 0])


def calls_back(image: Image) -> Scalar:
    return jax.pure_callback(lambda x: np.float32(np.mean(x)), jax.ShapeDtypeStruct((), jnp.float32), image)


def numpy_draws(image: Image) -> Scalar:
    return jnp.mean((image * np.random.normal()) ** 2)


def python_draws(image: Image) -> Scalar:
    return jnp.mean(image**2) * (1.0 if random.random() < 0.5 else 2.0)


def fresh_draws(image: Image) -> Scalar:
    return jnp.mean(image * np.random.default_rng().normal(size=image.shape).astype(np.float32))


def remembers(image: Image) -> Scalar:
    KEPT.append(image)
    return jnp.mean((image - KEPT[-2]) ** 2) if len(KEPT) > 1 else jnp.mean(image**2)


def counts(image: Image) -> Scalar:
    global CALLS
    CALLS += 1
    return jnp.mean(image**2)


def timed(image: Image) -> Scalar:
    return jnp.mean(image**2) * time.time()


def timed_by_a_name_of_its_own(image: Image) -> Scalar:
    return jnp.mean(image**2) * (perf_counter_ns() // 10**12)


def dated(image: Image) -> Scalar:
    return jnp.mean(image**2) * datetime.datetime.now().year


def dated_in_words(image: Image) -> Scalar:
    return jnp.mean(image**2) * len(time.ctime()) * time.localtime().tm_year


def of_its_process(image: Image) -> Scalar:
    return jnp.mean(image**2) * os.getpid()


def infinite_everywhere(image: Image) -> Scalar:
    return jnp.mean(image**2) / 0


def nan_everywhere(image: Image) -> Scalar:
    return jnp.mean(jnp.sqrt(-1 - image**2))


def own_key(image: Image) -> Scalar:
    return jnp.mean((image + jax.random.normal(jax.random.key(0), image.shape, jnp.float32)) ** 2)


def coupling(image: Image) -> Scalar:
    """The spread of the batch's means. Couples no images."""
    return jnp.var(jnp.mean(image, axis=(1, 2, 3)))


def coupling_in_one_form(image: Image, *, squared: bool = True) -> Scalar:
    return jnp.mean(image**2) if squared else jnp.sqrt(jnp.sum(image**2) + 1e-3)


def float64_constant(image: Image) -> Scalar:
    return jnp.mean(jnp.einsum("nhwc,c->nhw", image, TABLE) ** 2)


def per_image(image: Image) -> Scalar:
    return jnp.mean(image**2, axis=(1, 2, 3))


def half_precision(image: Image) -> Scalar:
    return jnp.mean(image.astype(jnp.bfloat16))


def no_array(image: Image) -> Scalar:
    return image


def rounded(image: Image) -> Scalar:
    return jnp.mean(jnp.round(image * 8))


def no_default(image: Image, *, power: Number) -> Scalar:
    return jnp.mean(jnp.abs(image) ** 2) * power


def no_annotation(image: Image, *, power=2) -> Scalar:
    return jnp.mean(jnp.abs(image) ** power)


def plain_number(image: Image, *, power: Number = 2.0) -> Scalar:
    return jnp.mean(image**2) * (power if power > 1 else 1.0)


def wrong_name(image: Image) -> Scalar:
    return jnp.mean(imag**2)  # noqa: F821


def shrinks(key: Key, image: SingleImage) -> SingleImage:
    return image[1:]


def widens(key: Key, image: SingleImage, *, strength: Number = 0.5) -> SingleImage:
    return image + strength * jax.random.normal(key, image.shape, jnp.float32)


def ignores_its_key(key: Key, image: SingleImage) -> SingleImage:
    return 2 * image


def draws_beside_its_key(key: Key, image: SingleImage) -> SingleImage:
    return image + np.float32(np.random.normal()) + jax.random.normal(key, (), jnp.float32)


def quantizes(key: Key, image: SingleImage) -> SingleImage:
    return jnp.round(image + jax.random.uniform(key, (), jnp.float32))


def normalizes(key: Key, image: SingleImage) -> SingleImage:
    return image / jnp.std(image) + jax.random.uniform(key, (), jnp.float32)


def infinite_pixels(size: tuple[int, int]) -> Parameterization:
    return Parameterization(lambda x: x / 0, lambda p: p, lambda p: p, plain=False)


def coupled_pixels(size: tuple[int, int]) -> Parameterization:
    return Parameterization(lambda x: x - x.mean(), lambda p: p, lambda p: p, plain=False)


def transposed_pixels(size: tuple[int, int]) -> Parameterization:
    return Parameterization(lambda x: x, lambda p: p.swapaxes(1, 2), lambda p: p, plain=False)


def absolute_pixels(size: tuple[int, int]) -> Parameterization:
    return Parameterization(lambda x: x, lambda p: jnp.sqrt(p**2), lambda p: jnp.sqrt(p**2), plain=False)


def transposes(image: Image) -> Image:
    return image.swapaxes(1, 2)


def normalizes_images(image: Image) -> Image:
    return image / jnp.sqrt(jnp.mean(image**2, axis=(1, 2, 3), keepdims=True))


def centers_the_batch(image: Image) -> Image:
    return image - jnp.mean(image, axis=0, keepdims=True)


def infinite_images(image: Image) -> Image:
    return image / 0


def halves_images(image: Image, *, factor: Number = 0.5) -> Image:
    return factor * image


def infinite_rate(steps: int, *, start: Number = 1.0) -> optax.Schedule:
    return lambda step: start * math.inf


def divides(steps: int, *, start: Number = 1.0) -> optax.Schedule:
    return lambda step: start * step / (steps - 1)


def branches(steps: int, *, start: Number = 1.0) -> optax.Schedule:
    return lambda step: start if step < 5 else 0.0


def mean_red(pixels: np.ndarray) -> float:
    return pixels[..., 0]


def says_nothing(pixels: np.ndarray) -> float:
    pixels.mean()


def dynamic_range(pixels: np.ndarray) -> float:
    return float((pixels.max() - pixels.min()) / np.float64(pixels.max()))


def log_of_spread(pixels: np.ndarray) -> float:
    return math.log(pixels.astype(float).std())


def finite_in_one_form(pixels: np.ndarray, *, form: Literal["plain", "relative"] = "plain") -> float:
    spread = float(pixels.astype(float).std())
    return spread if form == "plain" else float(np.float64(spread) / np.float64(pixels.max()))


def center_alone(pixels: np.ndarray) -> float:
    return float(pixels[8, 6, 0])


def inverts_in_place(pixels: np.ndarray) -> float:
    pixels[:] = 255 - pixels
    return float(pixels.mean())


def sampled_pixels(pixels: np.ndarray) -> float:
    return float(pixels.reshape(-1)[np.random.randint(pixels.size)])


def fresh_pixels(pixels: np.ndarray) -> float:
    return float(pixels.reshape(-1)[np.random.default_rng().integers(pixels.size, size=50)].mean())


def process_of_pixels(pixels: np.ndarray) -> float:
    return float(os.getpid())


def infinite_pixel(pixels: np.ndarray) -> float:
    return math.inf


def running_mean(pixels: np.ndarray) -> float:
    SEEN.append(float(pixels.mean()))
    return sum(SEEN) / len(SEEN)


def needs_a_width(pixels: np.ndarray, *, sigma: float) -> float:
    return float(pixels.mean() * sigma)


SAID = {
    "nan_gradient": ("terms", "finite", "its gradient is NaN in 1728 of 1728 values on images of one colour"),
    "infinite_value": ("terms", "finite", "is infinite on images of zeros"),
    "norm_of_statistics": (
        "terms",
        "finite",
        "its gradient is NaN in 1728 of 1728 values on images whose statistics are the",
    ),
    "python_branch": ("terms", "compiles", "raises TracerBoolConversionError at line LINE"),
    "numpy_inside": ("terms", "compiles", "raises TracerArrayConversionError at line LINE"),
    "masked": ("terms", "compiles", "raises NonConcreteBooleanIndexError at line LINE"),
    "calls_back": ("terms", "compiles", "asks Python in the middle of the program (pure_callback)"),
    "numpy_draws": ("terms", "pure", "draws from the module random or numpy.random"),
    "python_draws": ("terms", "pure", "draws from the module random or numpy.random"),
    "fresh_draws": ("terms", "pure", "is another program each time it is traced"),
    **{
        name: ("terms", "pure", "reads a clock, the date or the number of its process")
        for name in ("timed", "timed_by_a_name_of_its_own", "dated", "dated_in_words", "of_its_process")
    },
    "infinite_everywhere": ("terms", "finite", "is infinite on random images"),
    "nan_everywhere": ("terms", "finite", "is no number (NaN) on random images"),
    "infinite_pixels": ("parameterizations", "finite", "its image or its gradient is not finite from random images"),
    "infinite_images": ("projections", "finite", "its images are not finite on random images"),
    "process_of_pixels": ("metrics", "pure", "of one picture: it draws, reads a clock or its process"),
    "infinite_pixel": ("metrics", "finite", "is infinite of a random picture"),
    "remembers": ("terms", "pure", "uses a traced value of an earlier call"),
    "counts": ("terms", "pure", "keeps something between calls: CALLS"),
    "coupling": ("terms", "coupling", "couples the images of a batch without saying so: one image's gradient moves by"),
    "coupling_in_one_form": (
        "terms",
        "coupling",
        "couples the images of a batch without saying so with squared = False",
    ),
    "float64_constant": ("terms", "float64", "of float32 images it makes float64"),
    "per_image": ("terms", "scalar", "returns an array of shape (3,) of 3 images"),
    "half_precision": ("terms", "scalar", "returns bfloat16"),
    "no_array": ("terms", "scalar", "returns an array of shape (3, 16, 12, 3)"),
    "rounded": ("terms", "gradient", "its gradient is 0 on random images"),
    "no_default": ("terms", "hyperparameters", "power has no default"),
    "no_annotation": ("terms", "hyperparameters", "power is not annotated"),
    "plain_number": ("terms", "numbers", "power is a Number, and traced it raises TracerBoolConversionError"),
    "wrong_name": ("terms", "compiles", "raises NameError at line LINE: name 'imag' is not defined"),
    "shrinks": (
        "augmentations",
        "shape",
        "of a float32 image of shape (16, 12, 3) it makes float32 of shape (15, 12, 3)",
    ),
    "widens": ("augmentations", "shape", "it makes float64 of shape (16, 12, 3) where JAX is set to float64"),
    "draws_beside_its_key": ("augmentations", "pure", "draws from the module random or numpy.random"),
    "quantizes": ("augmentations", "gradient", "its gradient is 0 on a random image"),
    "normalizes": ("augmentations", "finite", "its image or its gradient is not finite on images of zeros"),
    "coupled_pixels": ("parameterizations", "coupling", "by init an image is another beside others"),
    "transposed_pixels": ("parameterizations", "shape", "render makes float32 of shape (2, 12, 16, 3) of 2 images"),
    "absolute_pixels": ("parameterizations", "finite", "its image or its gradient is not finite from images of zeros"),
    "transposes": (
        "projections",
        "shape",
        "of float32 images of shape (2, 16, 12, 3) it makes float32 of shape (2, 12, 16, 3)",
    ),
    "normalizes_images": ("projections", "finite", "its images are not finite on images of zeros"),
    "centers_the_batch": (
        "projections",
        "coupling",
        "couples the images of a batch without saying so: one image moves by",
    ),
    "infinite_rate": ("schedules", "finite", "is infinite at step 0 of 1"),
    "divides": ("schedules", "finite", "raises ZeroDivisionError"),
    "branches": ("schedules", "compiles", "raises TracerBoolConversionError"),
    "mean_red": ("metrics", "number", "returns a ndarray of shape (16, 12)"),
    "says_nothing": ("metrics", "number", "returns a NoneType"),
    "dynamic_range": ("metrics", "finite", "is no number (NaN) of a black picture of 16 x 12 px"),
    "log_of_spread": ("metrics", "finite", "of a black picture of 16 x 12 px raises ValueError at line LINE"),
    "finite_in_one_form": (
        "metrics",
        "finite",
        "is no number (NaN) of a black picture of 16 x 12 px with form = 'relative'",
    ),
    "center_alone": ("metrics", "finite", "of a random picture of 7 x 9 px raises IndexError at line LINE"),
    "inverts_in_place": ("metrics", "argument", "changes the picture that it is given, 192 of 192 pixels"),
    "sampled_pixels": (
        "metrics",
        "pure",
        "of one picture: it draws, reads a clock or its process, or keeps something between calls",
    ),
    "fresh_pixels": ("metrics", "pure", "of one picture: it draws"),
    "running_mean": ("metrics", "pure", "of one picture: it draws, reads a clock or its process, or keeps something"),
    "needs_a_width": ("metrics", "hyperparameters", "sigma has no default, and a config may leave it out"),
}
"""By name: of what kind the function is, the one check that it violates, and what the finding says."""

REMARKS = {
    "own_key": ("terms", "draws", "draws by a key of its own"),
    "halves_images": ("projections", "twice", "applied again it moves images again, by"),
    "ignores_its_key": ("augmentations", "keys", "16 keys give the same image"),
}
"""The same of those that may be meant so."""
