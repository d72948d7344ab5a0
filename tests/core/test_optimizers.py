"""Adam against algorithm 1 of Kingma & Ba in NumPy float64, from the first step on; what counts as an optimizer at all."""

import inspect
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinv.core.optimizers import OPTIMIZERS, adam, check_hyperparameters, make_optimizer, normalized_gradient


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


def test_optimizers_are_optaxs_that_take_a_gradient_alone_and_ours():
    names = set(OPTIMIZERS)
    assert {"adam", "adamw", "sgd", "rmsprop", "lion", "lamb", "yogi", "adafactor", "normalized_gradient"} <= names
    # A line search needs the objective's value; a link of a chain is no optimizer; Polyak's step has no learning rate.
    assert not names & {"lbfgs", "polyak_sgd", "_deprecated_dpsgd", "dpsgd", "clip", "chain", "linear_schedule"}
    assert not [name for name in names if name.startswith(("_", "scale_"))]
    assert "lbfgs" not in OPTIMIZERS and "scale_by_learning_rate" not in OPTIMIZERS and len(OPTIMIZERS) == len(names)
    with pytest.raises(KeyError):
        OPTIMIZERS["lbfgs"]
    assert OPTIMIZERS["adam"] is adam and OPTIMIZERS["sgd"] is optax.sgd
    assert {*inspect.signature(adam).parameters} == {*inspect.signature(optax.adam).parameters}


@jax.numpy_rank_promotion("allow")  # adafactor's does
def test_every_optimizer_descends():
    start = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), jnp.float32)

    @jax.jit
    def two_steps(params):
        ends = {}
        for name, maker in OPTIMIZERS.items():
            optimizer, x = make_optimizer(maker, 0.01, {}), params
            state = optimizer.init(x)
            for _ in range(2):
                updates, state = optimizer.update(x, state, x)  # the gradient of half the squared length
                x = optax.apply_updates(x, updates)
            ends[name] = jnp.linalg.norm(x)
        return ends

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specifying a key")  # noisy_sgd's
        ends = two_steps(start)
    assert {name for name, length in ends.items() if not length < jnp.linalg.norm(start)} == set()


def test_importing_tries_no_optimizer():
    program = (
        "import jax\njax.eval_shape = None\nimport jinv.core.optimizers as o\nassert o._works.cache_info().misses == 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("adam", {"eps": "x"}, "eps: 'x' must be a finite number of at least 0"),
        ("adam", {"eps": -1e-8}, "eps: -1e-08 must be a finite number of at least 0"),
        ("adam", {"eps": float("nan")}, "eps: nan must be"),
        ("adam", {"b2": 0.9, "eps": float("inf")}, "eps: inf must be"),
        ("adam", {"eps": 10**400}, "eps: 1000000000"),
        ("adam", {"eps": True}, "eps: True must be"),
        ("adam", {"b1": True}, "b1: True must be a number from 0 up to, but not including, 1"),
        ("adam", {"b1": 1}, "b1: 1 must be"),
        ("adam", {"b2": "0.9"}, "b2: '0.9' must be"),
        ("adam", {"b1": None}, "b1: None must be"),
        ("adam", {"nesterov": 1}, "nesterov: 1 must be true or false"),
        ("adam", {"mu_dtype": "float33"}, "mu_dtype: 'float33' must be the name of a floating-point type"),
        ("adam", {"mu_dtype": "int8"}, "mu_dtype: 'int8' must be"),
        ("adam", {"mu_dtype": {}}, "mu_dtype: {} must be"),
        ("adam", {"epz": 1e-8}, "epz: no such hyperparameter (known: b1, b2, eps"),
        ("sgd", {"momentum": "heavy"}, "momentum: 'heavy' must be"),
        ("sgd", {"momentum": [0.9]}, "momentum: [0.9] must be"),
        ("sgd", {"nesterov": "yes"}, "nesterov: 'yes' must be true or false"),
        ("signum", {"beta": 1.0}, "beta: 1.0 must be a number from 0"),
        ("lars", {"weight_decay_mask": 0.5}, "weight_decay_mask: 0.5 must be true or false"),
        ("adamw", {"mask": "bn"}, "mask: 'bn' must be true or false"),
        ("adafactor", {"min_dim_size_to_factor": 2.5}, "min_dim_size_to_factor: 2.5 must be a whole number"),
        ("adafactor", {"clipping_threshold": 0}, "clipping_threshold: 0 must be a finite number above 0"),
        ("noisy_sgd", {"key": "k"}, "key: 'k' must be a whole number"),
        ("normalized_gradient", {"radius": 0}, "radius: 0 must be a finite number above 0"),
        ("normalized_gradient", {"radius": True}, "radius: True must be"),
    ],
)
def test_wrong_hyperparameters_are_refused_before_anything_is_traced(name, hyperparameters, message, monkeypatch):
    maker = OPTIMIZERS[name]
    monkeypatch.setattr(jax, "eval_shape", None)
    with pytest.raises(ValueError) as caught:
        check_hyperparameters(maker, hyperparameters)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_defaults_and_arrays_pass(name):
    maker = OPTIMIZERS[name]
    defaults = {key: p.default for key, p in inspect.signature(maker).parameters.items() if key != "learning_rate"}
    check_hyperparameters(maker, defaults)
    check_hyperparameters(maker, dict.fromkeys(defaults, jnp.float32(0.5)))


def test_given_hyperparameters_reach_the_optimizer():
    given = [
        ("adam", {"b1": 0, "eps": np.float64(1e-6)}, adam(0.1, b1=0.0, eps=1e-6)),
        ("adam", {"nesterov": True}, optax.adam(0.1, nesterov=True)),
        ("adam", {"mu_dtype": "bfloat16"}, optax.adam(0.1, mu_dtype=jnp.bfloat16)),
        ("adam", {"eps_root": 0.5}, optax.adam(0.1, eps_root=0.5)),
        ("sgd", {"momentum": 0.9, "nesterov": True}, optax.sgd(0.1, 0.9, nesterov=True)),
    ]
    gradient = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), jnp.float32)
    for name, hyperparameters, expected in given:
        checked = check_hyperparameters(OPTIMIZERS[name], hyperparameters)
        assert not [value for value in checked.values() if type(value) is int], "a config's 0 is 0.0"
        optimizer = make_optimizer(OPTIMIZERS[name], 0.1, checked)
        states = [o.init(gradient) for o in (optimizer, expected)]
        for factor in (1, -2):
            (update, states[0]), (right, states[1]) = (
                o.update(factor * gradient, state, gradient)
                for o, state in zip((optimizer, expected), states, strict=True)
            )
        np.testing.assert_array_equal(update, right)


def test_what_cannot_step_is_refused_in_one_line():
    for name in ("optimistic_adam", "rprop", "sm3"):  # optax's that take no schedule
        with pytest.raises(ValueError) as caught:
            make_optimizer(OPTIMIZERS[name], lambda step: 0.1, {})
        assert str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="value_fn"):
        make_optimizer(optax.lbfgs, 0.1, {})
    growing = optax.GradientTransformation(lambda p: jnp.zeros(()), lambda g, state, p: (g, jnp.zeros(2)))
    with pytest.raises(ValueError, match="state changes"):
        make_optimizer(lambda learning_rate: growing, 0.1, {})
    summed = optax.GradientTransformation(lambda p: (), lambda g, state, p: (jax.tree.map(jnp.sum, g), ()))
    with pytest.raises(ValueError, match="updates have not the shapes"):
        make_optimizer(lambda learning_rate: summed, 0.1, {})
