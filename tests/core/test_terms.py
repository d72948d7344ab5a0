"""One contract for every term, and an oracle in NumPy float64, written from the equations, for each."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jinv.core.contract import inputs
from jinv.core.contract.inputs import network
from jinv.core.contract.terms import check_finite, couples
from jinv.core.objective import TERMS, Term, evaluate_terms, hyperparameters_of, term_fields
from jinv.core.types import Forward, RecordedColors
from tests.core import torch_terms

# Whether a term couples the images of a batch, so that one image's gradient depends on the others.
COUPLES = {
    "class_logit": False,
    "class_similarity": True,
    "class_statistics": True,
    "competition": False,
    "cross_entropy": False,
    "feature_statistics": True,
    "image_norm": False,
    "layer_activation": False,
    "natural_colors": False,
    "natural_variation": True,
    "patch_statistics": True,
    "sorted_features": False,
    "total_variation": True,
}

# Hyperparameters beyond the defaults that the contract runs over.
VARIANTS = {
    "total_variation": [
        {"neighbors": neighbors, "form": form, "reduction": reduction}
        for neighbors, form, reduction in itertools.product((4, 8), ("norm", "formula_4_1", "l1"), ("batch", "image"))
        if not (neighbors == 8 and form == "formula_4_1")
    ],
    "feature_statistics": [
        {"variance": variance, "first_layer_weight": weight, "normalization": normalization}
        for variance, weight, normalization in itertools.product(
            ("unbiased", "biased"), (1.0, 10.0), ("none", "running")
        )
    ]
    + [{"distance": "gaussian_kl"}, {"distance": "wasserstein", "variance": "biased", "first_layer_weight": 10.0}],
}
for name in ("class_statistics", "patch_statistics"):
    VARIANTS[name] = [{"distance": distance} for distance in ("norm", "gaussian_kl", "wasserstein")]
VARIANTS["sorted_features"] = [{"target": "all"}, {"target": "class"}]
VARIANTS["competition"] = [{"form": "jensen_shannon"}, {"form": "nvlabs"}]
MINE = RecordedColors(
    np.zeros(3), np.eye(3), np.linspace(1, 0, 6), np.diag([3, 1, 2, 1, 1, 2.0]), np.array([0.3, 0.1, 0.2])
)
VARIANTS["natural_colors"] = [{"reduction": "image"}, {"reduction": "batch"}, {"colors": MINE}]
VARIANTS["natural_variation"] = [{"reduction": "batch"}, {"reduction": "image"}, {"whitening": 0.5}, {"colors": MINE}]
VARIANTS["layer_activation"] = [{"layer": 0}, {"layer": 1}]
CASES = [(name, kwargs) for name in TERMS for kwargs in VARIANTS.get(name, [{}])]


def images(kind, n=3, height=6, width=5, dtype=jnp.float32):
    return inputs.images(kind, n, height, width, dtype)


def value_of(name, kwargs, image):
    return evaluate_terms([Term(name, TERMS[name], 1.0, kwargs)], network(image), 0)[0]


def of_equal_pixels(image, gradient):
    """The gradient, of pixels that are equal in an image's channel their sum."""
    sums = []
    for i, c in np.ndindex(image.shape[0], image.shape[3]):
        place = np.unique(np.asarray(image)[i, :, :, c], return_inverse=True)[1].reshape(-1)
        sums.append(np.bincount(place, gradient[i, :, :, c].reshape(-1)))
    return np.concatenate(sums)


@functools.cache
def value_and_gradient(name, **kwargs):
    function = jax.value_and_grad(lambda x: value_of(name, kwargs, x))
    return function, jax.jit(function)


def test_every_term_is_found_and_known_here():
    assert set(TERMS) == set(COUPLES)


@pytest.mark.parametrize("name", TERMS)
def test_term_signature_is_its_registration(name):
    assert set(term_fields(TERMS[name])) <= set(Forward._fields)
    for parameter in hyperparameters_of(TERMS[name]).values():
        assert parameter.default is not inspect.Parameter.empty, "a config may leave every hyperparameter out"
    lines = len((inspect.getdoc(TERMS[name]) or "").splitlines())
    assert lines >= 3, f"{name}: a term's docstring has formula, units, coupling, where it is zero, and the paper"


@pytest.mark.parametrize(("name", "kwargs"), [case for case in CASES if case[1]])
def test_every_variant_keeps_the_contract(name, kwargs):
    """What a term keeps besides, with its defaults and every single choice, is asked in test_contract.py."""
    assert check_finite(TERMS[name], kwargs).found is None


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_value_and_gradient_equal_torchs_on_corners_too(name, kwargs):
    with jax.enable_x64(True):
        for kind in inputs.KINDS:
            image = images(kind, n=2, height=8, width=4, dtype=jnp.float64)
            value, gradient = value_and_gradient(name, **kwargs)[1](image)
            x = torch.tensor(np.asarray(image), requires_grad=True)
            assert name in torch_terms.TORCH_TERMS, f"{name}: write its torch twin in tests/core/torch_terms.py"
            expected = torch_terms.TORCH_TERMS[name](torch_terms.network(x), **kwargs)
            expected.backward()
            np.testing.assert_allclose(value, expected.item(), rtol=1e-10, atol=1e-12, err_msg=kind)
            ours, theirs = np.asarray(gradient), x.grad.numpy()
            if name == "sorted_features":  # which of equal pixels comes first is nobody's business
                ours, theirs = of_equal_pixels(image, ours), of_equal_pixels(image, theirs)
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=kind)


@pytest.mark.parametrize("name", TERMS)
def test_coupling_of_the_batch_is_as_stated(name):
    assert name in COUPLES, f"{name}: state in COUPLES whether it couples the images of a batch"
    assert couples(TERMS[name], {}) == COUPLES[name]


def difference_images(x, neighbors):
    vertical, horizontal = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    if neighbors == 4:
        return vertical, horizontal
    return vertical, horizontal, x[:, 1:, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, 1:]


@pytest.mark.parametrize("kwargs", VARIANTS["total_variation"])
def test_total_variation_equals_the_equations(kwargs):
    x = np.asarray(images("random"), np.float64)
    groups = [x] if kwargs["reduction"] == "batch" else [x[i : i + 1] for i in range(len(x))]
    expected = []
    for group in groups:
        if kwargs["form"] == "norm":
            value = sum(np.sqrt((d**2).sum()) for d in difference_images(group, kwargs["neighbors"]))
        elif kwargs["form"] == "l1":
            value = sum(np.abs(d).mean() for d in difference_images(group, kwargs["neighbors"]))
        else:
            value = 0.0
            for image in group:
                for i, j in itertools.product(range(x.shape[1] - 1), range(x.shape[2] - 1)):
                    value += np.sqrt(
                        np.abs(image[i + 1, j] - image[i, j]) + np.abs(image[i, j + 1] - image[i, j])
                    ).sum()
        expected.append(value)
    np.testing.assert_allclose(TERMS["total_variation"](images("random"), **kwargs), np.mean(expected), rtol=1e-5)


def test_batch_wide_norm_is_not_the_mean_of_per_image_norms():
    x = images("random")
    batch, image = (TERMS["total_variation"](x, reduction=r) for r in ("batch", "image"))
    assert abs(float(batch / image) - np.sqrt(3)) < 0.1


def test_image_norm_equals_the_equation():
    x = np.asarray(images("random"), np.float64)
    expected = np.mean([np.sqrt((image**2).sum()) for image in x])
    np.testing.assert_allclose(TERMS["image_norm"](images("random")), expected, rtol=1e-6)


@pytest.mark.parametrize("kwargs", [kwargs for kwargs in VARIANTS["feature_statistics"] if "distance" not in kwargs])
def test_feature_statistics_equals_the_equation(kwargs):
    result = network(images("random"))
    x = np.asarray(images("random"), np.float64)
    expected = 0.0
    for layer, scale in enumerate((1.0, 3.0)):
        values = (x * scale).reshape(-1, 3)
        running_var = np.arange(1.0, 4.0) * scale
        running_mean = running_var - 2 * scale
        mean = np.linalg.norm(values.mean(0) - running_mean)
        var = np.linalg.norm(values.var(0, ddof=1 if kwargs["variance"] == "unbiased" else 0) - running_var)
        if kwargs["normalization"] == "running":
            mean, var = mean / np.sqrt(running_var.sum()) / 2, var / np.linalg.norm(running_var) / 2
        expected += (kwargs["first_layer_weight"] if layer == 0 else 1.0) * (mean + var)
    np.testing.assert_allclose(TERMS["feature_statistics"](result.norm_stats, **kwargs), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["feature_statistics", "layer_activation"])
def test_terms_of_statistics_need_statistics(name):
    with pytest.raises(ValueError, match=f"{name}: the network has no batch-norm"):
        TERMS[name](())


def test_cross_entropy_equals_the_equation():
    logits = np.random.default_rng(1).normal(size=(4, 7)) * 5
    labels = np.array([0, 6, 3, 3])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(p[np.arange(4), labels]).mean()
    actual = TERMS["cross_entropy"](jnp.asarray(logits, jnp.float32), jnp.asarray(labels))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [0.5, 5.0, 300.0])
def test_competition_equals_one_minus_the_jensen_shannon_divergence(scale):
    teacher, student = np.random.default_rng(3).normal(size=(2, 4, 7)) * scale
    expected = []
    for p, q in zip(softmax(teacher), softmax(student), strict=True):
        m = (p + q) / 2
        kl = [sum(a * np.log(a / b) for a, b in zip(x, m, strict=True) if a > 0) for x in (p, q)]
        expected.append(1 - sum(kl) / 2)
    arguments = jnp.asarray(teacher, jnp.float32), jnp.asarray(student, jnp.float32)
    value, gradient = jax.value_and_grad(TERMS["competition"], argnums=(0, 1))(*arguments)
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-5)
    assert np.isfinite(gradient[0]).all() and np.isfinite(gradient[1]).all()


def test_competition_is_one_for_equal_logits_and_one_minus_ln_2_for_disjoint_classes():
    certain = jnp.eye(4) * 200
    assert float(TERMS["competition"](certain, certain)) == 1.0
    np.testing.assert_allclose(TERMS["competition"](certain, certain[::-1]), 1 - np.log(2), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 4.0, 60.0])
def test_competition_as_the_published_program_computes_it(scale):
    teacher, student = np.random.default_rng(4).normal(size=(2, 4, 7)) * scale
    q, p = softmax(teacher / 3), softmax(student / 3)
    p, q, m = (np.clip(x, 0.01, 0.99) for x in (p, q, (p + q) / 2))
    kl = [(m * (np.log(m) - np.log(x))).sum(axis=1).mean() for x in (p, q)]
    expected = 1 - np.clip(sum(kl) / 2, 0, 1)
    arguments = jnp.asarray(teacher, jnp.float32), jnp.asarray(student, jnp.float32)
    np.testing.assert_allclose(TERMS["competition"](*arguments, form="nvlabs"), expected, rtol=1e-4, atol=1e-6)
    if scale == 60.0:
        assert expected == 0 and not np.abs(jax.grad(TERMS["competition"])(*arguments, form="nvlabs")).any()


@pytest.mark.parametrize("form", ["jensen_shannon", "nvlabs"])
@pytest.mark.parametrize("student", ["equal logits", "the same logits", "others"])
def test_competitions_gradient_is_torchs_where_probabilities_meet_the_clamps_bounds(form, student):
    teacher = np.zeros((2, 100))  # a hundred classes at 0.01 each
    students = {"equal logits": teacher, "the same logits": teacher + 1.5}
    other = students.get(student, np.random.default_rng(5).normal(size=(2, 100)))
    tensors = [torch.tensor(x, requires_grad=True) for x in (teacher, other)]
    expected = torch_terms.competition(*tensors, form=form)
    expected.backward()
    with jax.enable_x64(True):
        term = jax.jit(jax.value_and_grad(functools.partial(TERMS["competition"], form=form), argnums=(0, 1)))
        value, gradients = term(jnp.asarray(teacher), jnp.asarray(other))
        np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
        for gradient, tensor in zip(gradients, tensors, strict=True):
            np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-9, atol=1e-14)


IMPOSSIBLE = [
    ("total_variation", {"neighbors": 6}, "neighbors 6 must be one of 4, 8"),
    ("total_variation", {"form": "l2"}, "form 'l2' must be one of 'norm', 'formula_4_1', 'l1'"),
    ("total_variation", {"reduction": "sum"}, "reduction 'sum' must be one of 'batch', 'image'"),
    ("total_variation", {"form": "formula_4_1", "neighbors": 8}, "neighbors must be 4, got 8"),
    ("feature_statistics", {"variance": "none"}, "variance 'none' must be one of 'unbiased', 'biased'"),
    ("feature_statistics", {"normalization": "batch"}, "normalization 'batch' must be one of 'none', 'running'"),
    ("feature_statistics", {"distance": "kl"}, "distance 'kl' must be one of 'norm', 'gaussian_kl', 'wasserstein'"),
    ("feature_statistics", {"distance": "wasserstein", "normalization": "running"}, "normalization is for 'norm'"),
    ("class_statistics", {"distance": "kl"}, "distance 'kl' must be one of 'norm', 'gaussian_kl', 'wasserstein'"),
    ("patch_statistics", {"distance": "kl"}, "distance 'kl' must be one of 'norm', 'gaussian_kl', 'wasserstein'"),
    ("sorted_features", {"target": "mean"}, "target 'mean' must be one of 'all', 'class'"),
    ("layer_activation", {"layer": 2}, "layer 2, but the network's batch-norm layers are 0 to 1"),
    ("layer_activation", {"layer": -1}, "layer -1, but the network's batch-norm layers are 0 to 1"),
    ("natural_colors", {"reduction": "sum"}, "reduction 'sum' must be one of 'image', 'batch'"),
    ("natural_variation", {"reduction": "sum"}, "reduction 'sum' must be one of 'image', 'batch'"),
    ("natural_colors", {"colors": "recorded"}, "colors 'recorded' must be 'photographs' or recorded colours"),
    ("natural_variation", {"colors": "recorded"}, "colors 'recorded' must be 'photographs' or recorded colours"),
    ("competition", {"form": "kl"}, "form 'kl' must be one of 'jensen_shannon', 'nvlabs'"),
]


def bare(name):
    """The term as users have it: the suite's type checks would refuse some of this before the term does."""
    return inspect.unwrap(TERMS[name])


@pytest.mark.parametrize(("name", "kwargs", "message"), IMPOSSIBLE)
def test_a_term_refuses_an_impossible_hyperparameter(name, kwargs, message):
    result = network(images("random"))
    with pytest.raises(ValueError) as caught:
        bare(name)(*(getattr(result, field) for field in term_fields(TERMS[name])), **kwargs)
    assert str(caught.value).startswith(f"{name}: ") and message in str(caught.value)


def test_every_hyperparameter_that_has_impossible_values_is_refused_above():
    refused = {(name, key) for name, kwargs, _ in IMPOSSIBLE for key in kwargs}
    # Any number, which a sweep may trace.
    weights = {("feature_statistics", "first_layer_weight"), ("natural_variation", "whitening")}
    assert refused | weights == {(name, key) for name in TERMS for key in hyperparameters_of(TERMS[name])}


def test_layer_activation_is_minus_the_mean_square_of_the_layers_input():
    x = np.asarray(images("random"), np.float64) * 3
    stats = network(images("random")).norm_stats
    np.testing.assert_allclose(TERMS["layer_activation"](stats, layer=1), -(x**2).mean(), rtol=1e-5)


def test_class_logit_is_minus_the_mean_of_the_chosen_logits():
    logits = np.random.default_rng(1).normal(size=(4, 7))
    actual = TERMS["class_logit"](jnp.asarray(logits, jnp.float32), jnp.array([0, 6, 3, 3]))
    np.testing.assert_allclose(actual, -(logits[0, 0] + logits[1, 6] + logits[2, 3] + logits[3, 3]) / 4, rtol=1e-6)


def test_objective_is_the_weighted_sum_with_scheduled_weights():
    terms = [
        Term("image_norm", TERMS["image_norm"], 2.0),
        Term("cross_entropy", TERMS["cross_entropy"], lambda step: 0.5 * step),
    ]
    total, values = evaluate_terms(terms, network(images("random")), 4)
    norm, entropy = values["image_norm"][0], values["cross_entropy"][0]
    np.testing.assert_allclose(total, 2 * norm + 2 * entropy, rtol=1e-6)
    np.testing.assert_allclose(values["cross_entropy"][1], 2 * entropy, rtol=1e-6)


def test_a_hyperparameter_may_be_a_schedule_of_the_step():
    scheduled = {"first_layer_weight": lambda step: 1.0 + 2.0 * step}
    result = network(images("random"))
    term = Term("feature_statistics", TERMS["feature_statistics"], 1.0, scheduled)
    total = jax.jit(lambda step: evaluate_terms([term], result, step)[0])(3)
    np.testing.assert_allclose(total, TERMS["feature_statistics"](result.norm_stats, first_layer_weight=7.0), rtol=1e-6)
