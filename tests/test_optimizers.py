"""Adam against algorithm 1 of Kingma & Ba in NumPy float64, from the first step on."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinv.core.optimizers import adam, normalized_gradient


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
def test_adam_equals_the_paper_to_float32_rounding(b1, b2):
    random = np.random.default_rng(0)
    optimizer = adam(0.05, b1=b1, b2=b2, eps=1e-8)
    state = optimizer.init(jnp.zeros(50))
    m = v = np.zeros(50)
    for t in range(1, 31):
        gradient = random.normal(size=50).astype(np.float32)
        update, state = optimizer.update(jnp.asarray(gradient), state)
        m = b1 * m + (1 - b1) * gradient.astype(np.float64)
        v = b2 * v + (1 - b2) * gradient.astype(np.float64) ** 2
        expected = -0.05 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        np.testing.assert_allclose(update, expected, rtol=3e-6, atol=1e-8)


@pytest.mark.parametrize("radius", [None, 0.5])
def test_normalized_gradient_steps_have_the_given_length_and_stay_in_each_images_ball(radius):
    random = np.random.default_rng(0)
    start = random.normal(size=(3, 4, 5, 2))
    optimizer = normalized_gradient(0.3, radius)
    params, expected = jnp.asarray(start, jnp.float32), start.copy()
    state = optimizer.init(params)
    for step in range(8):
        gradient = random.normal(size=start.shape) * np.array([1e-6, 1.0, 1e6]).reshape(3, 1, 1, 1)
        if step == 3:
            gradient[1] = 0  # moves nothing, and is no 0/0
        for i in range(3):
            length = np.sqrt((gradient[i] ** 2).sum())
            expected[i] -= 0.3 * gradient[i] / length if length else 0
            distance = np.sqrt(((expected[i] - start[i]) ** 2).sum())
            if radius is not None and distance > radius:
                expected[i] = start[i] + (expected[i] - start[i]) * radius / distance
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, expected, atol=1e-5)


def test_normalized_gradient_takes_a_schedule():
    optimizer = normalized_gradient(lambda step: 1.0 + step)
    params = jnp.zeros((1, 2))
    state = optimizer.init(params)
    for length in (1, 2, 3):
        updates, state = optimizer.update(jnp.array([[3.0, 4.0]]), state, params)
        np.testing.assert_allclose(updates, [[-0.6 * length, -0.8 * length]], rtol=1e-6)
