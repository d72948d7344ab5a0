"""One contract for every augmentation, and each one's law against torchvision, NumPy or SciPy."""

import functools
import inspect
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import torch

from jinv.core.augment import AUGMENTATIONS, Augmentation, augment_batch, augment_copies
from jinv.core.objective import hyperparameters_of
from jinv.core.step import step_keys

pytestmark = pytest.mark.usefixtures("unoptimized")

GIVEN = {"roll": {"max_shift": 2}}
CASES = [(name, GIVEN.get(name, {})) for name in AUGMENTATIONS] + [
    ("roll", {"max_shift": 3, "one_sided": True}),
    ("resized_crop", {"min_scale": 0.5, "max_scale": 0.5, "max_ratio": 1.0}),
    ("zoom", {"min_factor": 0.5, "max_factor": 0.5}),
]


def picture(height=9, width=7, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(height, width, 3)), jnp.float32)


def keys(n=3, step=0):
    return step_keys((jax.random.key(0), jnp.arange(n, dtype=jnp.uint32)), step)


def bound(name, hyperparameters=None, draw="image"):
    return Augmentation(
        name, AUGMENTATIONS[name], GIVEN.get(name, {}) if hyperparameters is None else hyperparameters, draw
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentations_signature_is_its_registration(name):
    for key, parameter in hyperparameters_of(AUGMENTATIONS[name]).items():
        assert parameter.default is not inspect.Parameter.empty or (name, key) == ("roll", "max_shift")
    assert inspect.getdoc(AUGMENTATIONS[name])


@pytest.mark.parametrize(("name", "hyperparameters"), CASES)
@pytest.mark.parametrize("draw", ["batch", "image"])
def test_size_type_and_gradient(name, hyperparameters, draw):
    image = jnp.stack([picture(seed=s) for s in range(3)])
    augmentations = [bound(name, hyperparameters, draw)]

    def apply(x):
        return augment_batch(augmentations, *keys(), x)

    @jax.jit
    def both(x):
        result, pullback = jax.vjp(apply, x)
        return result, pullback(result)

    result, (gradient,) = both(image)
    assert result.shape == image.shape and result.dtype == image.dtype
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0.1


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_shared_draws_are_shared_own_draws_are_not_and_steps_differ(name):
    image = jnp.broadcast_to(picture(16, 16)[None], (6, 16, 16, 3))
    shared_draws = jax.jit(functools.partial(augment_batch, [bound(name, draw="batch")]))
    own_draws = jax.jit(functools.partial(augment_batch, [bound(name)]))
    shared, own = shared_draws(*keys(6), image), own_draws(*keys(6), image)
    np.testing.assert_allclose(shared, jnp.broadcast_to(shared[:1], shared.shape), atol=1e-6)
    assert not np.allclose(own, own[:1], atol=1e-3)
    assert not np.allclose(own_draws(*keys(6, 1), image), own_draws(*keys(6, 2), image), atol=1e-3)
    alone = own_draws(keys(6)[0], keys(6)[1][4:5], image[:1])
    np.testing.assert_allclose(alone[0], own[4], atol=1e-5)


def test_one_sided_roll_shifts_by_0_to_the_limit():
    image = picture()
    seen = set()
    for seed in range(60):
        rolled = AUGMENTATIONS["roll"](jax.random.key(seed), image, max_shift=2, one_sided=True)
        matches = [(i, j) for i in range(9) for j in range(7) if (np.roll(image, (i, j), (0, 1)) == rolled).all()]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == {(i, j) for i in range(3) for j in range(3)}


def crop_box(seed, height, width, **hyperparameters):
    """The crop that was drawn, read off a picture of coordinates: bilinear ramps are exact inside the crop."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    result = np.asarray(_coordinates_crop(jax.random.key(seed), jnp.asarray(np.stack([y, x], -1)), **hyperparameters))
    # The first and the last row or column lie on the crop's own ends, clamped to them.
    top, left, bottom, right = result[0, 0, 0], result[0, 0, 1], result[-1, 0, 0], result[0, -1, 1]
    return top, left, bottom - top + 1, right - left + 1


_coordinates_crop = jax.jit(AUGMENTATIONS["resized_crop"])


def published_box(generator, height, width, min_scale, max_scale=1.0, max_ratio=4 / 3):
    """RandomResizedCrop's law as torchvision documents it, with Python's generator."""
    for _ in range(10):
        area = height * width * generator.uniform(min_scale, max_scale)
        ratio = np.exp(generator.uniform(-np.log(max_ratio), np.log(max_ratio)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return generator.randint(0, height - h), generator.randint(0, width - w), h, w
    ratio = np.clip(width / height, 1 / max_ratio, max_ratio)
    h, w = min(height, round(width / ratio)), min(width, round(height * ratio))
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(("height", "width", "min_scale"), [(32, 32, 0.08), (40, 12, 0.08), (24, 30, 0.9)])
def test_crops_follow_torchvisions_law(height, width, min_scale):
    generator = random.Random(0)
    theirs = np.array([published_box(generator, height, width, min_scale) for _ in range(4000)], float)
    ours = np.array([crop_box(seed, height, width, min_scale=min_scale) for seed in range(1500)])
    np.testing.assert_allclose(ours, np.rint(ours), atol=0.02)  # whole pixels
    for column in range(4):  # the distributions agree: Kolmogorov-Smirnov, at a level of about 1e-4
        values = np.unique(np.rint(np.concatenate([ours[:, column], theirs[:, column]])))
        shares = [(np.rint(x[:, column])[None] <= values[:, None]).mean(1) for x in (ours, theirs)]
        assert np.abs(shares[0] - shares[1]).max() < 2.2 * np.sqrt(1 / 1500 + 1 / 4000)


def test_a_crop_is_resized_as_torch_resizes_it():
    image = picture(24, 18)
    coordinates = jnp.asarray(np.stack(np.mgrid[:24, :18], -1).astype(np.float32))
    crop_image = jax.jit(AUGMENTATIONS["resized_crop"])
    for seed in range(12):
        key = jax.random.key(seed)
        ends = np.asarray(crop_image(key, coordinates))
        top, left, bottom, right = (int(np.rint(e)) for e in (*ends[0, 0], *ends[-1, -1]))
        crop = torch.tensor(np.asarray(image)[top : bottom + 1, left : right + 1]).permute(2, 0, 1)[None].double()
        expected = torch.nn.functional.interpolate(crop, size=(24, 18), mode="bilinear", align_corners=False)
        actual = crop_image(key, image)
        np.testing.assert_allclose(actual, expected[0].permute(1, 2, 0), atol=2e-5)


def test_the_crops_curriculum_is_cdas():
    from jinv.core.schedules import warmup_cosine

    steps = 40
    for milestone in (1.0, 0.5):
        schedule = warmup_cosine(steps, peak=1.0, end=0.08, portion=milestone)
        for t in range(steps):
            expected = (
                0.08 + 0.92 * 0.5 * (1 + np.cos(np.pi * t / (milestone * steps))) if t < milestone * steps else 0.08
            )
            np.testing.assert_allclose(schedule(t), expected, rtol=1e-5)
    # At the start the whole picture is shown, later parts of it.
    image = jnp.broadcast_to(picture(16, 16)[None], (4, 16, 16, 3))
    crop = [bound("resized_crop", {"min_scale": warmup_cosine(10, peak=1.0, end=0.08), "max_ratio": 1.0})]
    np.testing.assert_allclose(augment_batch(crop, *keys(4), image, 0), image, atol=1e-6)
    assert not np.allclose(jax.jit(lambda step: augment_batch(crop, *keys(4), image, step))(9), image, atol=0.1)


def test_zoom_enlarges_about_the_centre():
    image = picture(8, 8)
    same = AUGMENTATIONS["zoom"](jax.random.key(0), image, min_factor=1.0, max_factor=1.0)
    np.testing.assert_allclose(same, image, atol=1e-6)
    double = AUGMENTATIONS["zoom"](jax.random.key(0), image, min_factor=2.0, max_factor=2.0)
    middle = torch.tensor(np.asarray(image)[1:7, 1:7]).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(middle, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(double, expected[0].permute(1, 2, 0)[2:-2, 2:-2], atol=1e-5)


def test_rotate_turns_about_the_centre_both_ways():
    y, x = np.mgrid[:21, :21] - 10.0
    image = jnp.asarray(np.stack([y, x, 0 * x], -1), jnp.float32)
    angles = []
    turn = jax.jit(functools.partial(AUGMENTATIONS["rotate"], max_degrees=30.0))
    for seed in range(30):
        turned = np.asarray(turn(jax.random.key(seed), image))
        # A ramp turns into a ramp; its gradient at the centre is the rotation matrix.
        dy, dx = turned[11, 10] - turned[9, 10], turned[10, 11] - turned[10, 9]
        np.testing.assert_allclose([dy[0], dx[1]], [dx[1], dy[0]], atol=1e-4)
        np.testing.assert_allclose(turned[10, 10], 0, atol=1e-5)
        angles.append(np.degrees(np.arctan2(dx[0], dy[0])))
    assert min(angles) < -10 and max(angles) > 10 and np.abs(angles).max() <= 30


def test_color_shift_is_one_factor_and_one_shift_per_channel():
    image = picture(16, 16)
    factors, shifts = [], []
    shift_colors = jax.jit(functools.partial(AUGMENTATIONS["color_shift"], scale=1.0, shift=4.0))
    for seed in range(200):
        shifted = np.asarray(shift_colors(jax.random.key(seed), image), np.float64)
        for c in range(3):
            factor, shift = np.polyfit(np.asarray(image, np.float64)[..., c].ravel(), shifted[..., c].ravel(), 1)
            np.testing.assert_allclose(shifted[..., c], factor * image[..., c] + shift, atol=1e-4)
            factors.append(np.log(factor))
            shifts.append(shift)
    for values, limit in ((factors, 1), (shifts, 4)):
        assert np.abs(values).max() <= limit + 1e-4
        np.testing.assert_allclose(np.std(values), limit / np.sqrt(3), rtol=0.08)
        assert abs(np.mean(values)) < 0.12 * limit
    assert abs(np.corrcoef(factors, shifts)[0, 1]) < 0.15


def test_gaussian_noise_has_the_given_deviation():
    image = picture(64, 64)
    noise = np.asarray(AUGMENTATIONS["gaussian_noise"](jax.random.key(1), image, std=0.3) - image)
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.3], atol=0.01)


def test_blur_is_scipys_within_the_image_and_keeps_one_colour_at_the_rim():
    image, sigma = picture(31, 40), 1.5
    blurred = AUGMENTATIONS["gaussian_blur"](jax.random.key(1), image, min_sigma=sigma, max_sigma=sigma)
    expected = scipy.ndimage.gaussian_filter(np.asarray(image, np.float64), (sigma, sigma, 0), truncate=6.0)
    np.testing.assert_allclose(blurred[9:-9, 9:-9], expected[9:-9, 9:-9], atol=1e-5)
    flat = jnp.full((9, 7, 3), 0.3)
    np.testing.assert_allclose(AUGMENTATIONS["gaussian_blur"](jax.random.key(1), flat), flat, atol=1e-6)


@pytest.mark.parametrize("draw", ["batch", "image"])
def test_copies_are_views_with_draws_of_their_own_the_first_as_without_copies(draw):
    image = jnp.stack([picture(16, 16, s) for s in range(3)])
    augmentations = [bound("color_shift", draw=draw)]
    one = augment_copies(augmentations, *keys(), image, copies=1)
    four = augment_copies(augmentations, *keys(), image, copies=4).reshape(4, 3, 16, 16, 3)
    np.testing.assert_allclose(four[0], one, atol=1e-5)
    for i in range(1, 4):
        assert not np.allclose(four[i], four[0], atol=0.05)
    difference = [np.unique(np.rint(1e3 * np.asarray(four[1, i] - image[i]).mean((0, 1)))) for i in range(3)]
    assert len(difference) == 3
