"""The images that a run starts from, and real images that a method measures something on."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core import draws
from jinv.core.choices import Size
from jinv.core.decorrelation import Decorrelate
from jinv.core.parameterization import average_pool_to, mean_magnitude
from jinv.core.processor import jit
from jinv.core.starts import class_gaussian
from jinv.core.types import Key
from jinv.errors import StorageError, UsageError, naming
from jinv.images.codec import fit_image, read_image, resize_image
from jinv.images.folder import ImageFolder, open_image_folder
from jinv.images.package import package_file
from jinv.models.classifier import Classifier
from jinv.recipe.recipe import Recipe
from jinv.weights.labels import folder_class

MAXIMUM_IMAGES = 2000
"""So many images of a folder or of a class are measured; more would change a mean or a covariance by little."""


def load_init(recipe: Recipe, classifier: Classifier, labels: Sequence[int], size: Size) -> np.ndarray | None:
    """The start images (count, height, width, 3) in network units, or None for noise.

    A `.npy` file of floats is in network units, of uint8 in pixels; an image file, also one inside an installed package (`package:NAME/FILE`), is resized
    to `size` and standardised; "uniform" is noise between black and white, every value by itself; "class_gaussian" draws from each class' own reference images.

    Raises:
      StorageError: no such file. UsageError: an array of another shape or not finite, a class without images.
    """
    if recipe.image.init == "noise":
        return None
    if recipe.image.init == "uniform":
        return _uniform_noise(recipe, classifier, size)
    if recipe.image.init == "class_gaussian":
        return _class_gaussians(recipe, classifier, labels, size)
    if recipe.image.init.endswith(".npy"):
        with naming("image.init"):
            array = _load_array(recipe, classifier, size)
    else:
        named = recipe.image.init
        with naming("image.init"):
            picture = read_image(package_file(named) if named.startswith("package:") else Path(named))
        array = np.asarray(classifier.preprocess(resize_image(picture, size)[None]))
    return np.broadcast_to(array, (recipe.image.count, *array.shape[1:]))


def measured_spectrum(path: str) -> Callable[[Size, Decorrelate], np.ndarray]:
    """`(size, decorrelate) -> mean magnitude` of the spectra of a folder's or zip's images, read once for each.

    The images keep their aspect and fill the size. In units where white is 1; `maco` uses proportions alone.

    Raises:
      StorageError, UnsafeInputError, UsageError: as `open_image_folder` and its `read`; images of one colour alone.
    """
    with naming("parameterization.spectrum"):
        folder = open_image_folder(path)

    @functools.lru_cache(maxsize=4)
    def measured(size: Size, decorrelate: Decorrelate) -> np.ndarray:
        names = _spread(folder.names)
        magnitude = jit(functools.partial(mean_magnitude, decorrelate=decorrelate))
        total: Any = 0.0
        for _, image in folder.read(names):
            total = total + np.asarray(magnitude(fit_image(image, size)[None].astype(np.float32) / 255), np.float64)
        if not np.delete(total.reshape(-1, 3), 0, axis=0).max() > 1e-3:
            raise UsageError.of(
                "parameterization.spectrum", f"{path}: its images are of one colour each and have no spectrum"
            )
        mean: np.ndarray = total / len(names)
        return mean

    return measured


def _class_gaussians(recipe: Recipe, classifier: Classifier, labels: Sequence[int], size: Size) -> np.ndarray:
    pool = recipe.image.init_pool
    if size[0] % pool or size[1] % pool:
        raise UsageError.of("image.init_pool", f"{pool} must divide the image's size {list(size)}")
    assert recipe.image.init_reference is not None
    with naming("image.init_reference"):
        folder = open_image_folder(recipe.image.init_reference)
    by_class: dict[int, list[str]] = {}
    for name in folder.names:
        found = folder_class(name, classifier.class_names)
        if found is not None:
            by_class.setdefault(found, []).append(name)
    for label in labels:
        if len(by_class.get(label, [])) < 2:
            raise UsageError.of(
                "image.init_reference",
                f"{folder.path}: {len(by_class.get(label, []))} images in a folder of the class "
                f"{classifier.class_names[label]!r}, at least 2 are needed",
            )
    result = np.empty((recipe.image.count, *size, 3), np.float32)
    run_key = draws.run_key(recipe.seed)
    draw = jit(class_gaussian, static_argnames="enlarge")
    for label in sorted(set(labels)):
        images = _pooled(folder, _spread(by_class[label]), size, pool)
        for index in (i for i, other in enumerate(labels) if other == label):
            result[index] = draw(_start_key(run_key, index), images, enlarge=pool)
    return _standardised(result, classifier)


def _uniform_noise(recipe: Recipe, classifier: Classifier, size: Size) -> np.ndarray:
    run_key = draws.run_key(recipe.seed)

    @draws.stated_draws
    def uniform(key: Key) -> jax.Array:
        return jax.random.uniform(key, (*size, 3), jnp.float32)

    draw = jit(uniform)
    drawn = [np.asarray(draw(_start_key(run_key, index))) for index in range(recipe.image.count)]
    return _standardised(np.stack(drawn), classifier)


def _start_key(run_key: jax.Array, index: int) -> jax.Array:
    """The same key as an image's start noise: it depends on the image's id alone."""
    return jax.random.fold_in(jax.random.fold_in(run_key, index), 0)


def _standardised(pixels: np.ndarray, classifier: Classifier) -> np.ndarray:
    mean, std = (np.asarray(values, np.float32) for values in (classifier.mean, classifier.std))
    standardised: np.ndarray = (pixels - mean) / std
    return standardised


def _pooled(folder: ImageFolder, names: Sequence[str], size: Size, pool: int) -> jax.Array:
    target = size[0] // pool, size[1] // pool
    read = (fit_image(image, size).astype(np.float32) / 255 for _, image in folder.read(list(names)))
    return jnp.concatenate([average_pool_to(jnp.asarray(image[None]), target) for image in read])


def _spread(names: Sequence[str]) -> list[str]:
    """All names, or `MAXIMUM_IMAGES` of them evenly spread."""
    count = min(len(names), MAXIMUM_IMAGES)
    return [names[i * len(names) // count] for i in range(count)]


def _load_array(recipe: Recipe, classifier: Classifier, size: Size) -> np.ndarray:
    try:
        array = np.load(recipe.image.init, allow_pickle=False)
    except FileNotFoundError as error:
        raise StorageError(f"{recipe.image.init}: no such file") from error
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{recipe.image.init}: not a plain .npy array: {error}") from error
    if (
        not (array.dtype.kind == "f" or array.dtype == np.uint8)
        or array.ndim != 4
        or array.shape[0] not in (1, recipe.image.count)
        or array.shape[1:] != (*size, 3)
    ):
        raise UsageError(
            f"{recipe.image.init}: {array.dtype} {array.shape}, but it must be floats in network units or uint8 pixels, of shape ({recipe.image.count} or 1, {size[0]}, {size[1]}, 3)"
        )
    if array.dtype == np.uint8:
        return np.asarray(classifier.preprocess(array))
    if not np.isfinite(array).all():
        raise UsageError(f"{recipe.image.init}: it has values that are not finite")
    black, white = (np.asarray(classifier.preprocess(np.full((1, 1, 1, 3), v, np.uint8))) for v in (0, 255))
    units = f"network units, in which black is {black.min():.3g} and white {white.max():.3g}; save uint8 for pixels"
    low, high = float(array.min()), float(array.max())
    # Noise of a standard deviation of 1 goes beyond black and white, but not as far as that.
    if max(-low, high) > 10 * max(abs(black).max(), abs(white).max()):
        raise UsageError(f"{recipe.image.init}: values from {low:.3g} to {high:.3g} are not {units}")
    if low >= 0 and 0.5 < high <= 1:
        warnings.warn(
            f"{recipe.image.init}: values from {low:.3g} to {high:.3g} (image.init) are taken as {units}", stacklevel=2
        )
    numbers: np.ndarray = array.astype(np.float32)
    return numbers
