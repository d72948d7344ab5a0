"""Pooling that keeps half windows, and means around every pixel: window by window in NumPy, values and gradients."""

import jax
import numpy as np
import pytest

from jinv.models import pooling


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def pulled_back(function, x, cotangent) -> tuple[np.ndarray, np.ndarray]:
    """The function's value and gradient, in one program."""

    @jax.jit
    def both(x, cotangent):
        value, gradient = jax.vjp(function, x)
        return value, gradient(cotangent)[0]

    return both(x, cotangent)


def windows(length: int, window: int, stride: int) -> list[slice]:
    """torch's `ceil_mode`: whole windows, and one more where pixels are left over that it can begin at."""
    whole = (length - window) // stride + 1 if length >= window else 0
    seen = (whole - 1) * stride + window if whole else 0
    starts = [i * stride for i in range(whole)]
    if seen < length and whole * stride < length:
        starts.append(whole * stride)
    return [slice(start, min(start + window, length)) for start in starts]


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (2, 3)])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (2, 7)])
def test_ceil_max_pool_keeps_a_window_of_what_is_left(height, width, window, stride):
    x = normal(2, height, width, 3) - 10  # all negative: a pad of 0 would win
    rows, columns = windows(height, window, stride), windows(width, window, stride)
    expected = np.stack([np.stack([x[:, r, c].max((1, 2)) for c in columns], 1) for r in rows], 1)
    value, found = pulled_back(
        lambda x: pooling.ceil_max_pool(x, window=window, stride=stride), x, np.ones_like(expected)
    )
    np.testing.assert_array_equal(value, expected)
    times = sum(
        (x == expected[:, i : i + 1, j : j + 1]) & _inside(x.shape, r, c)
        for i, r in enumerate(rows)
        for j, c in enumerate(columns)
    )
    np.testing.assert_array_equal(found, times)


def _inside(shape, rows, columns):
    mask = np.zeros(shape, bool)
    mask[:, rows, columns] = True
    return mask


@pytest.mark.parametrize(("height", "width"), [(7, 6), (1, 9)])
def test_ceil_average_pool_means_over_the_pixels_that_are_there(height, width):
    x = normal(2, height, width, 3)
    rows, columns = windows(height, 2, 2), windows(width, 2, 2)
    expected = np.stack([np.stack([x[:, r, c].mean((1, 2)) for c in columns], 1) for r in rows], 1)
    value, gradient = pulled_back(lambda x: pooling.average_pool(x, window=2, ceil=True), x, np.ones_like(expected))
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    shares = [[1 / ((r.stop - r.start) * (c.stop - c.start)) for c in columns] for r in rows]
    of_pixels = np.repeat(np.repeat(shares, 2, 0), 2, 1)[:height, :width]
    np.testing.assert_allclose(gradient, np.broadcast_to(of_pixels[None, :, :, None], x.shape), rtol=1e-13)


@pytest.mark.parametrize(("height", "width"), [(5, 8), (1, 3)])
def test_smoothing_counts_what_is_beyond_the_border_as_zero(height, width):
    x = normal(2, height, width, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.stack(
        [np.stack([padded[:, i : i + 3, j : j + 3].sum((1, 2)) / 9 for j in range(width)], 1) for i in range(height)],
        1,
    )
    cotangent = normal(*x.shape, seed=1)
    value, gradient = pulled_back(pooling.smoothed, x, cotangent)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15)
    # The operation is its own transpose.
    np.testing.assert_allclose(gradient, jax.jit(pooling.smoothed)(cotangent), rtol=1e-12, atol=1e-15)
