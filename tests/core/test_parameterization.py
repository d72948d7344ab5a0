"""One contract for every parameterization, and what each promises: exact inverses, spectra, colours, phases."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.decorrelation import COLOR_CORRELATION
from jinv.core.objective import hyperparameters_of
from jinv.core.parameterization import (
    PARAMETERIZATIONS,
    fourier,
    low_passed,
    maco,
    mean_magnitude,
    pixels,
    staged,
)
from jinv.core.synthesis import clip_bounds

BOUNDS = clip_bounds((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CASES = [(name, decorrelate) for name in PARAMETERIZATIONS for decorrelate in (False, True)]
RECORRELATE = COLOR_CORRELATION / np.sqrt((COLOR_CORRELATION**2).sum(0)).max()


def noise(n=2, height=12, width=10, scale=1.0, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, height, width, 3)) * scale, jnp.float32)


def made(name, decorrelate, upsample="pool", size=(12, 10), stage_size=(12, 10), bounds=None):
    make = functools.partial(PARAMETERIZATIONS[name], decorrelate=decorrelate)
    return staged(make, upsample, size, stage_size, bounds)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_parameterizations_signature_is_its_registration(name):
    for parameter in hyperparameters_of(PARAMETERIZATIONS[name]).values():
        assert parameter.default is not inspect.Parameter.empty
    assert inspect.getdoc(PARAMETERIZATIONS[name])


@pytest.mark.parametrize(("name", "decorrelate"), CASES)
@pytest.mark.parametrize("upsample", ["pool", "resize", "crop"])
@pytest.mark.parametrize("bounds", [None, BOUNDS])
def test_sizes_gradients_and_bounds(name, decorrelate, upsample, bounds):
    parameterization = made(name, decorrelate, upsample, (12, 10), (6, 5), bounds)
    params = parameterization.init(noise(scale=3.0))
    assert all(leaf.shape[0] == 2 and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    view, pullback = jax.vjp(jax.jit(parameterization.view), params)
    assert view.shape == (2, 6, 5, 3) and parameterization.render(params).shape == (2, 12, 10, 3)
    for gradient in jax.tree.leaves(pullback(noise(2, 6, 5))[0]):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    if bounds is not None and not parameterization.plain:
        assert (view >= bounds[0][None, None, None]).all() and (view <= bounds[1][None, None, None]).all()


def test_a_growing_crop_leaves_the_rim_and_hands_the_middle_on_pixel_by_pixel():
    canvas = noise()
    small, large = (staged(pixels, "crop", (12, 10), size) for size in ((6, 4), (9, 8)))
    params = small.init(canvas)
    assert (small.view(params) == canvas[:, 3:9, 3:7]).all()
    _, pullback = jax.vjp(small.view, params)
    moved = params + pullback(noise(2, 6, 4, seed=1))[0]
    outside = np.ones((12, 10), bool)
    outside[3:9, 3:7] = False
    assert (small.render(moved)[:, outside] == canvas[:, outside]).all()
    assert (moved[:, 3:9, 3:7] != canvas[:, 3:9, 3:7]).any()
    grown = large.view(large.init(small.render(moved)))
    assert (grown[:, 2:8, 2:6] == small.view(moved)).all() and (grown[:, :2] == canvas[:, 1:3, 1:9]).all()


@pytest.mark.parametrize(("name", "decorrelate"), [case for case in CASES if case[0] != "maco"])
@pytest.mark.parametrize("size", [(12, 10), (9, 7)])
@pytest.mark.parametrize("bounds", [None, BOUNDS])
def test_a_start_image_is_rendered_as_it_was(name, decorrelate, size, bounds):
    image = noise(2, *size, scale=0.4)
    parameterization = made(name, decorrelate, size=size, stage_size=size, bounds=bounds)
    np.testing.assert_allclose(parameterization.render(parameterization.init(image)), image, atol=2e-4)


def test_black_and_white_come_back_within_a_grey_level():
    ends = jnp.stack([jnp.broadcast_to(b.reshape(1, 1, 3), (8, 8, 3)) for b in BOUNDS])
    parameterization = made("fourier", True, size=(8, 8), stage_size=(8, 8), bounds=BOUNDS)
    levels = np.abs(parameterization.render(parameterization.init(ends)) - ends) * np.array([0.229, 0.224, 0.225]) * 255
    assert levels.max() < 1.1


def test_images_do_not_depend_on_each_other():
    both, first = noise(2), noise(2)[:1]
    for name, decorrelate in CASES:
        parameterization = made(name, decorrelate, bounds=BOUNDS)
        for start in filter(None, (parameterization.init, parameterization.from_noise)):
            together, alone = (parameterization.render(start(x)) for x in (both, first))
            np.testing.assert_allclose(together[:1], alone, atol=1e-5)


def test_fourier_is_the_scaled_spectrum():
    params = np.random.default_rng(1).normal(size=(1, 12, 6, 3, 2)).astype(np.float32)
    rendered = fourier((12, 10), decay=1.5, decorrelate=False).render(jnp.asarray(params))
    expected = np.zeros((12, 10, 3))
    spectrum = np.zeros((12, 6, 3), complex)
    for y in range(12):
        for x in range(6):
            frequency = np.hypot(min(y, 12 - y) / 12, x / 10)
            spectrum[y, x] = (params[0, y, x, :, 0] + 1j * params[0, y, x, :, 1]) / max(frequency, 1 / 12) ** 1.5
    expected = np.fft.irfft2(spectrum * np.sqrt(120), (12, 10), axes=(0, 1)) / 4
    np.testing.assert_allclose(rendered[0], expected, atol=1e-4)


def test_fouriers_own_start_is_normal_with_the_given_deviation():
    params = np.asarray(fourier((32, 30), sd=0.02).from_noise(noise(4, 32, 30, scale=5.0)))
    inner = params[:, 1:16, 1:15]
    np.testing.assert_allclose(inner.std(axis=(0, 1, 2, 3)), 0.02, rtol=0.06)


@pytest.mark.parametrize("size", [(16, 12), (15, 11)])
def test_fouriers_own_start_has_the_energy_of_independent_parts_in_every_column(size):
    started = fourier(size, sd=0.5, decorrelate=False)
    ours = np.asarray(started.render(started.from_noise(noise(400, *size))), np.float64)
    # As published: every part of the half spectrum drawn by itself, then the inverse transform, which drops what no real
    # image has.
    parts = np.random.default_rng(1).normal(size=(400, size[0], size[1] // 2 + 1, 3, 2)) * 0.5
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    scale = np.sqrt(size[0] * size[1]) / 4 / np.maximum(frequency, 1 / max(size))
    spectra = (parts[..., 0] + 1j * parts[..., 1]) * scale[None, :, :, None]
    published = np.fft.irfft2(spectra, size, axes=(1, 2))
    energy = [(np.abs(np.fft.rfft2(x, axes=(1, 2))) ** 2).mean(axis=(0, 1, 3)) for x in (ours, published)]
    np.testing.assert_allclose(energy[0], energy[1], rtol=0.1)


def test_decorrelated_colours_have_the_published_correlations():
    independent = noise(1, 200, 200)
    rendered = np.asarray(pixels((200, 200), decorrelate=True).render(independent), np.float64).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(rendered.T), RECORRELATE @ RECORRELATE.T, atol=0.01)


@pytest.mark.parametrize("size", [(12, 10), (9, 7)])
def test_maco_keeps_the_magnitude_and_the_start_images_phase(size):
    image = noise(2, *size)
    parameterization = maco(size, decay=1.0, decorrelate=False)
    moved = parameterization.init(image) + 0.3
    for phase in (parameterization.init(image), moved):
        rendered = np.asarray(parameterization.render(phase), np.float64)
        spectrum = np.fft.fft2(rendered, axes=(1, 2))
        frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None])
        expected = 1 / np.maximum(frequency, 1 / max(size))
        expected[0, 0] = 0
        # Columns without a mirror image (the first and Nyquist's) lose part of it where the phases do not fit a real image.
        inner = np.s_[:, :, 1 : (size[1] - 1) // 2 + 1]
        ratio = np.abs(spectrum)[inner] / expected[None, :, :, None][inner]
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)
    rendered = np.asarray(parameterization.render(parameterization.init(image)), np.float64)
    np.testing.assert_allclose(rendered.std(axis=(1, 2, 3)), 1, rtol=1e-4)
    unlike = np.angle(np.fft.rfft2(rendered, axes=(1, 2)) / np.fft.rfft2(image, axes=(1, 2)))
    assert np.abs(unlike[:, 1:, 1:3]).max() < 1e-3


def test_maco_with_a_measured_spectrum():
    images = noise(5) + jnp.linspace(-3, 3, 10).reshape(1, 1, 10, 1)
    measured = np.asarray(mean_magnitude(images, decorrelate=False))
    expected = np.abs(np.fft.rfft2(np.asarray(images, np.float64), axes=(1, 2))).mean(0)
    np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-3)
    parameterization = maco((12, 10), decorrelate=False, spectrum=lambda size, decorrelate: measured)
    rendered = np.asarray(parameterization.render(parameterization.init(noise(2))), np.float64)
    ratio = np.abs(np.fft.rfft2(rendered, axes=(1, 2)))[:, :, 1:5] / expected[None, :, 1:5]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


@pytest.mark.parametrize("size", [(12, 10), (9, 7)])
@pytest.mark.parametrize("cutoff", [0.0, 0.21, 0.4, 0.75])
def test_low_pass_removes_the_frequencies_above_its_cutoff_and_nothing_else(size, cutoff):
    image = noise(2, *size)
    spectrum = np.fft.fft2(np.asarray(image, np.float64), axes=(1, 2))
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None])
    expected = np.fft.ifft2(spectrum * (frequency <= cutoff)[None, :, :, None], axes=(1, 2)).real
    once = low_passed(image, cutoff)
    np.testing.assert_allclose(once, expected, atol=1e-5)
    np.testing.assert_allclose(low_passed(once, cutoff), once, atol=1e-5)
