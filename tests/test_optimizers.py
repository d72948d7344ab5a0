"""Adam against algorithm 1 of Kingma & Ba in NumPy float64, from the first step on."""

import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.optimizers import adam


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
