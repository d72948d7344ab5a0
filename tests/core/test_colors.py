"""The colour prior against its equations in NumPy float64, and its constants against the photographs."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.colors import (
    EDGES,
    OPPONENT_AXES,
    PHOTOGRAPHS,
    PHOTOGRAPHS_COVARIANCE,
    color_descriptors,
    natural_colors,
    natural_variation,
)
from jinv.core.optimizers import adam
from jinv.core.regularizers import total_variation
from tests.networks import tiny_classifier
from tools.natural_colors import measure

pytestmark = pytest.mark.usefixtures("unoptimized")


def pictures(n=5, seed=0):
    """Pixels whose mean colours and contrasts differ."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(n, 9, 8, 1)) * 0.2 + rng.normal(size=(n, 9, 8, 3)) * 0.05
    image = image * rng.uniform(0.3, 1.5, size=(n, 1, 1, 1)) + rng.uniform(0.2, 0.8, size=(n, 1, 1, 3))
    return jnp.asarray(image, jnp.float32)


def descriptors(pixels):
    """Six numbers of each image, in float64: the sum, red minus blue and red plus blue minus twice green, of unit length."""
    found = []
    for r, g, b in np.moveaxis(np.asarray(pixels, np.float64), 3, 1):
        axes = (r + g + b) / np.sqrt(3), (r - b) / np.sqrt(2), (r - 2 * g + b) / np.sqrt(6)
        found.append([a.mean() for a in axes] + [np.log(np.sqrt(a.var() + (1 / 255) ** 2)) for a in axes])
    return np.array(found)


def test_the_prior_is_the_negative_log_density_without_its_constant():
    offset = descriptors(pictures()) - PHOTOGRAPHS
    expected = np.mean([d @ np.linalg.solve(PHOTOGRAPHS_COVARIANCE, d) / 2 for d in offset])
    np.testing.assert_allclose(natural_colors(pictures()), expected, rtol=1e-4)


def test_of_a_batch_it_is_the_divergence_of_the_whitened_descriptors():
    offset = descriptors(pictures()) - PHOTOGRAPHS
    z = np.linalg.solve(np.linalg.cholesky(PHOTOGRAPHS_COVARIANCE), offset.T)
    mean, var = z.mean(axis=1), z.var(axis=1) + 1e-3
    expected = 0.5 * (var + mean**2 - 1 - np.log(var)).sum()
    np.testing.assert_allclose(natural_colors(pictures(), reduction="batch"), expected, rtol=1e-4)


def test_the_batchs_divergence_couples_the_images():
    gradient = jax.grad(functools.partial(natural_colors, reduction="batch"))
    image = pictures()
    assert np.abs(gradient(image)[0] - gradient(image.at[1].multiply(0.5))[0]).max() > 1e-5


def test_descending_the_prior_makes_noise_and_one_colour_as_photographs_are():
    noise = np.random.default_rng(1).normal(0.5, 0.25, size=(2, 12, 12, 3))
    noise[1] = [0.9, 0.1, 0.8] + 0.01 * noise[1]
    image, step = jnp.asarray(noise, jnp.float32), jax.jit(jax.value_and_grad(natural_colors))
    first, optimizer = step(image)[0], adam(0.01)
    state = optimizer.init(image)
    for _ in range(300):
        value, gradient = step(image)
        updates, state = optimizer.update(gradient, state)
        image = image + updates
    assert first > 10 and value < 1  # photographs have 3 on average
    np.testing.assert_allclose(descriptors(image).mean(axis=0)[:3], PHOTOGRAPHS[:3], atol=0.2)


def test_a_classifier_gives_pixels_whatever_its_units():
    classifier = tiny_classifier(blocks=0)
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 16, 16, 3)).astype(np.uint8)
    seen = classifier.forward(classifier.variables, classifier.preprocess(pixels)).pixels
    np.testing.assert_allclose(seen, pixels / 255, atol=1e-6)


def test_without_whitening_it_is_the_total_variation_of_pixels():
    rotated = natural_variation(pictures(), whitening=0.0)
    np.testing.assert_allclose(rotated, total_variation(pictures()), rtol=1e-5)


def test_an_edge_of_colour_weighs_more_than_one_of_brightness():
    step = jnp.zeros((1, 4, 4, 3)).at[:, :, 2:].set(0.1)
    brightness = natural_variation(step * jnp.ones(3)[None, None, None])
    for axis, rarer in zip(OPPONENT_AXES[1:], EDGES[0] / EDGES[1:], strict=True):
        edge = step * jnp.asarray(axis * np.sqrt(3), jnp.float32)[None, None, None]
        np.testing.assert_allclose(natural_variation(edge), rarer * brightness, rtol=1e-5)


@pytest.mark.parametrize("term", [natural_colors, natural_variation])
def test_without_pixels_the_term_says_so(term):
    with pytest.raises(ValueError, match=f"{term.__name__}: the forward function gives no pixels"):
        inspect.unwrap(term)(None)


def test_the_constants_are_the_photographs_own(shared_data):
    found = measure(str(shared_data / "photos" / "imagenet_one_per_class_256.zip"))
    np.testing.assert_allclose(found.descriptor_mean, PHOTOGRAPHS, atol=6e-4)
    np.testing.assert_allclose(found.descriptor_covariance, PHOTOGRAPHS_COVARIANCE, atol=6e-5)
    np.testing.assert_allclose(found.edges, EDGES, atol=6e-5)


def test_the_descriptors_are_those_of_the_equations():
    np.testing.assert_allclose(color_descriptors(pictures()), descriptors(pictures()), atol=1e-5)
