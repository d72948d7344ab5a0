"""Every schedule against its formula in NumPy float64: to rounding under JAX's float64 mode, to float32's without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.optimizers import adam, normalized_gradient
from jinv.core.schedules import SCHEDULES, at_step, exponential, linear, triangular, warmup_cosine

STEPS = 37


def published_warmup_cosine(t, peak=0.3, warmup=5, end=0.02, portion=0.8):
    steps = round(portion * STEPS)
    if t < warmup:
        return peak * (t + 1) / warmup
    return end + (peak - end) * 0.5 * (1 + np.cos(np.pi * min(1.0, (t - warmup) / (steps - warmup))))


CASES = {
    "warmup_cosine": (
        warmup_cosine(STEPS, peak=0.3, warmup=5, end=0.02, portion=0.8),
        published_warmup_cosine,
    ),
    "linear": (linear(STEPS, start=0.7, end=0.1), lambda t: 0.7 + (0.1 - 0.7) * min(t, STEPS - 1) / (STEPS - 1)),
    "triangular": (
        triangular(STEPS, peak=0.2, rise=0.4),
        lambda t: np.interp(t, [0, 0.4 * STEPS, STEPS], [0, 0.2, 0]),
    ),
    "exponential": (exponential(STEPS, start=0.7, end=0.1), lambda t: 0.7 * (0.1 / 0.7) ** (t / (STEPS - 1))),
}


def test_every_schedule_has_its_formula_here():
    assert set(CASES) == set(SCHEDULES)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("double", [False, True])
def test_a_schedule_is_its_formula_in_the_precision_that_jax_is_set_to(name, double):
    schedule, formula = CASES[name]
    tolerance = 1e-12 if double else 2e-6
    with jax.enable_x64(double):
        inside = jax.jit(lambda step: at_step({"x": schedule, "y": 3}, step))
        for t in range(STEPS + 3 * (name != "exponential")):
            for step in (t, jnp.asarray(t, jnp.int32)):  # the loops count in int32
                np.testing.assert_allclose(schedule(step), formula(t), rtol=tolerance)
                assert at_step({"x": schedule}, step)["x"].dtype == (jnp.float64 if double else jnp.float32)
            np.testing.assert_allclose(inside(jnp.asarray(t, jnp.int32))["x"], formula(t), rtol=tolerance)
            assert at_step({"y": 3}, t) == {"y": 3}


@pytest.mark.parametrize("name", CASES)
def test_adam_and_its_learning_rate_are_float64_in_float64_mode(name):
    schedule, formula = CASES[name]
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        optimizer = adam(schedule, b1=0.9, b2=0.999, eps=1e-8)
        update = jax.jit(optimizer.update)
        state = optimizer.init(jnp.zeros(20))
        m = v = np.zeros(20)
        for t in range(1, 31):
            gradient = random.normal(size=20)
            updates, state = update(jnp.asarray(gradient), state)
            m, v = 0.9 * m + (1 - 0.9) * gradient, 0.999 * v + (1 - 0.999) * gradient**2
            expected = -formula(t - 1) * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            assert updates.dtype == jnp.float64
            np.testing.assert_allclose(updates, expected, rtol=1e-12)


def test_traced_decays_and_normalised_steps_are_float64_in_float64_mode():
    schedule, formula = CASES["linear"]
    gradient = np.random.default_rng(0).normal(size=(2, 5))
    with jax.enable_x64(True):

        @jax.jit
        def first_two(b1, b2, gradient):
            optimizer = adam(0.1, b1=b1, b2=b2, eps=1e-8)
            _, state = optimizer.update(gradient, optimizer.init(gradient))
            return optimizer.update(-2 * gradient, state)[0]

        m = 0.9 * 0.1 * gradient - 0.1 * 2 * gradient
        v = 0.999 * 0.001 * gradient**2 + 0.001 * 4 * gradient**2
        expected = -0.1 * (m / (1 - 0.9**2)) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8)
        np.testing.assert_allclose(first_two(0.9, 0.999, jnp.asarray(gradient)), expected, rtol=1e-12)
        optimizer = normalized_gradient(schedule)
        state = optimizer.init(jnp.zeros((2, 5)))
        for t in range(3):
            updates, state = optimizer.update(jnp.asarray(gradient), state)
            length = np.sqrt((gradient**2).sum(1, keepdims=True))
            np.testing.assert_allclose(updates, -formula(t) * gradient / length, rtol=1e-12)


def test_triangular_is_torchs_cycle():
    torch = pytest.importorskip("torch")
    steps = 20
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.0, 0.2, step_size_up=8, step_size_down=12, cycle_momentum=False
    )
    schedule = triangular(steps, peak=0.2, rise=0.4)
    for step in range(steps):
        np.testing.assert_allclose(schedule(step), cycle.get_last_lr()[0], rtol=1e-5, atol=1e-8)
        optimizer.step()
        cycle.step()
