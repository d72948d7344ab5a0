"""What stages start from, class-Gaussian seeds, and files that starts are read from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.parameterization import average_pool_to, resize
from jinv.core.starts import class_gaussian, next_start
from jinv.errors import UsageError
from jinv.experiment.start_images import load_init, measured_spectrum
from jinv.images.codec import png_bytes
from jinv.recipe.read import check_config
from tests.networks import tiny_classifier

IMAGE, FIRST, NOISE = (jnp.asarray(np.random.default_rng(s).normal(size=(2, 16, 16, 3)), jnp.float32) for s in range(3))


def start(kind, image=IMAGE, previous=(8, 8), size=(16, 16)):
    return np.asarray(next_start(kind, image, FIRST, NOISE, previous, size))


def test_a_stage_starts_from_the_image_or_without_the_noise_that_pooling_hides():
    assert (start("image") == np.asarray(IMAGE)).all()
    clean = start("clean")
    np.testing.assert_allclose(clean, resize(average_pool_to(IMAGE, (8, 8)), (16, 16)), atol=1e-6)
    # Noise within the pooling windows makes no difference to it.
    hidden = np.kron(np.ones((8, 8)), [[1, -1], [-1, 1]])[None, :, :, None]
    np.testing.assert_allclose(start("clean", IMAGE + hidden), clean, atol=1e-5)
    assert np.abs(start("image", IMAGE + hidden) - start("image")).min() > 0.9


def test_detail_is_put_back():
    # Nothing was changed: the sharp start image comes back whole.
    low = resize(average_pool_to(FIRST, (8, 8)), (16, 16))
    np.testing.assert_allclose(start("detail", low), FIRST, atol=1e-5)
    np.testing.assert_allclose(start("detail", low + 1.5), FIRST + 1.5, atol=1e-5)


def test_zoom_puts_the_image_into_the_middle_of_new_noise():
    zoomed = start("zoom", previous=(8, 8), size=(16, 16))
    np.testing.assert_allclose(zoomed[:, 4:12, 4:12], resize(IMAGE, (8, 8)), atol=1e-6)
    outside = np.ones((16, 16), bool)
    outside[4:12, 4:12] = False
    assert (zoomed[:, outside] == np.asarray(NOISE)[:, outside]).all()


def test_uniform_noise_lies_between_black_and_white_and_is_an_images_own():
    classifier = tiny_classifier(blocks=0)
    table = {
        "model": "tiny",
        "image": {"labels": [0, 1], "size": 16, "init": "uniform"},
        "stages": [{"steps": 1}],
        "terms": {"cross_entropy": {}},
    }
    recipe = check_config(table)
    drawn = load_init(recipe, classifier, [0, 1], (16, 16))
    pixels = drawn.astype(np.float64) * classifier.std + classifier.mean
    assert pixels.min() > -1e-6 and pixels.max() < 1 + 1e-6
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0.5, 12**-0.5], atol=0.02)
    assert np.abs(drawn[0] - drawn[1]).min() < np.abs(drawn[0] - drawn[1]).max()
    alone = load_init(check_config(table | {"image": table["image"] | {"labels": [0]}}), classifier, [0], (16, 16))
    assert (alone[0] == drawn[0]).all()


def test_class_gaussian_has_the_mean_and_the_covariance_of_the_class():
    images = np.random.default_rng(0).uniform(0.3, 0.7, size=(9, 2, 2, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 8000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: class_gaussian(key, jnp.asarray(images))))(keys), np.float64)
    draws, rows = draws.reshape(8000, 12), images.reshape(9, 12).astype(np.float64)
    np.testing.assert_allclose(draws.mean(0), rows.mean(0), atol=6e-3)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(rows.T) + 1e-4 * np.eye(12), atol=1.2e-3)


def test_class_gaussian_is_clipped_and_enlarged():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 2, size=(5, 2, 3, 3)), jnp.float32)
    sample = np.asarray(class_gaussian(jax.random.key(1), images, enlarge=4))
    assert sample.shape == (8, 12, 3) and sample.min() >= 0 and sample.max() <= 1
    assert (sample == np.kron(sample[::4, ::4], np.ones((4, 4, 1)))).all()


def test_a_spectrum_is_measured_on_images_and_not_on_plain_ones(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, size=(3, 12, 10, 3)).astype(np.uint8)
    for i, image in enumerate(pixels):
        (tmp_path / f"{i}.png").write_bytes(png_bytes(image))
    expected = np.abs(np.fft.rfft2(pixels / 255, axes=(1, 2))).mean(0)
    measured = measured_spectrum(str(tmp_path))
    np.testing.assert_allclose(measured((12, 10), False), expected, rtol=1e-3, atol=1e-3)
    assert measured((12, 10), True).shape == (12, 6, 3) and not np.allclose(
        measured((12, 10), True), expected, rtol=0.1
    )
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "0.png").write_bytes(png_bytes(np.full((12, 10, 3), 77, np.uint8)))
    with pytest.raises(UsageError, match="one colour"):
        measured_spectrum(str(tmp_path / "plain"))((12, 10), True)
