"""Every activation equals torch's in value and derivative, at its corners too, and keeps NaN and dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jinv.models import activations

TORCH = {"relu6": F.relu6, "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "silu": F.silu}
CORNERS = [-3.0, 0.0, 3.0, 6.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TORCH)
def test_an_activation_and_its_derivative_equal_torchs_at_the_corners_and_beside_them(name, dtype):
    beside = [
        np.nextafter(np.asarray(corner, dtype), sign * np.inf) for corner in CORNERS if corner for sign in (-1, 1)
    ]
    # Next to 0 are numbers that XLA takes for 0. -1.5 is where hardswish's own derivative is zero.
    x = np.array(
        [*CORNERS, *beside, -1e-30, 1e-30, -1.5, -1e4, 1e4, *np.random.default_rng(0).normal(scale=4, size=99)], dtype
    )
    theirs = torch.tensor(x, requires_grad=True)
    expected = TORCH[name](theirs)
    (slope,) = torch.autograd.grad(expected.sum(), theirs)
    tolerance = 4 * np.finfo(dtype).eps
    with jax.enable_x64(dtype == "float64"):
        function = getattr(activations, name)
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(function)))(jnp.asarray(x))
        assert value.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    # torch's sixth in the derivative of a hard sigmoid is a float32 in float64 too.
    tolerance = 4e-8 if (name, dtype) == ("hardsigmoid", "float64") else tolerance
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=tolerance, atol=tolerance)


def test_the_corners_derivatives_are_these():
    """In numbers: what an implementation with half of each at a corner, or with the other side's, does not give."""
    x = jnp.asarray(CORNERS)
    slopes = {name: jax.vmap(jax.grad(getattr(activations, name)))(x) for name in TORCH}
    np.testing.assert_array_equal(slopes["relu6"], [0, 0, 1, 0])
    np.testing.assert_allclose(slopes["hardsigmoid"], [0, 1 / 6, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(slopes["hardswish"], [0, 0.5, 1, 1])


@pytest.mark.parametrize("name", TORCH)
def test_nan_stays_visible_and_bfloat16_bfloat16(name):
    function = getattr(activations, name)
    assert jnp.isnan(function(jnp.asarray([jnp.nan, 1.0]))).tolist() == [True, False]
    assert function(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
