"""Metrics against loops written from the equations, and against cases whose answer is known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.types import NormStats
from jinv.judge import metrics
from jinv.judge.metrics import (
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_neighbors,
    norm_distances,
    precision_recall_density_coverage,
    top_k_correct,
    wilson_interval,
)


def normal(seed: int, n: int, d: int = 6, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


@pytest.mark.parametrize(
    "successes, count, low, high",
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_has_published_values(successes, count, low, high):
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(count - successes, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_stays_within_zero_and_one():
    assert wilson_interval(0, 3)[0] == 0.0 and wilson_interval(16, 16)[1] == 1.0
    assert wilson_interval(8, 16, 0.99)[0] < wilson_interval(8, 16, 0.95)[0]


@pytest.mark.parametrize("successes, count, confidence", [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_interval_refuses_what_is_no_proportion(successes, count, confidence):
    with pytest.raises(ValueError, match="wilson_interval"):
        wilson_interval(successes, count, confidence)


def test_top_k_counts_ranks_and_breaks_ties_as_argmax():
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    labels = np.array([2, 0, 1])
    assert top_k_correct(logits, labels, 1).tolist() == [False, True, False]
    assert top_k_correct(jnp.asarray(logits), jnp.asarray(labels), 2).tolist() == [True, True, True]


def test_top_k_agrees_with_sorting():
    logits, labels = normal(0, 50, 20), np.random.default_rng(1).integers(0, 20, 50)
    for k in (1, 5, 20):
        expected = [label in np.argsort(-row)[:k] for row, label in zip(logits, labels, strict=True)]
        assert top_k_correct(logits, labels, k).tolist() == expected


def test_top_k_refuses_nan_and_foreign_labels():
    with pytest.raises(ValueError, match="not finite"):
        top_k_correct(np.array([[np.nan, 0.0]]), np.array([0]))
    with pytest.raises(ValueError, match="2 classes"):
        top_k_correct(np.zeros((1, 2)), np.array([2]))


def mmd_oracle(x, y):
    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    same = [np.mean([kernel(a, b) for a, b in itertools.permutations(s, 2)]) for s in (x, y)]
    return sum(same) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_kernel_distance_equals_its_definition_over_blocks(monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", 4)
    x, y = normal(0, 11), normal(1, 9, shift=0.5)
    estimate = kernel_distance(x, y, fewest=5)
    assert estimate.value == pytest.approx(mmd_oracle(x, y), rel=1e-10)
    assert estimate.low < estimate.value < estimate.high


def clusters(seed: int, count: int, spread: float, *, designed: bool, shift: float = 0.0):
    """(features, labels) of four classes around corners; `designed`: as many of each, else as chance has it."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4 if designed else random.integers(0, 4, count)
    centres = spread * np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    return centres[labels] + random.normal(size=(count, 3)) + np.array([0.0, 0.0, shift]), labels


@pytest.mark.parametrize(
    ("real", "made", "spread", "designed"),
    [(100, 100, 0.0, False), (300, 120, 2.0, True), (120, 120, 2.0, True), (300, 120, 2.0, False)],
)
def test_the_interval_of_the_kernel_distance_is_as_wide_as_the_distance_scatters(real, made, spread, designed):
    """A Monte Carlo of the whole draw: 150 pairs of sets, class by class with equal counts or at random."""
    estimates = []
    for seed in range(150):
        x, real_labels = clusters(seed, real, spread, designed=designed)
        y, labels = clusters(1000 + seed, made, spread, designed=designed, shift=0.8)
        told = {"real_labels": real_labels, "labels": labels} if designed else {}
        estimates.append(kernel_distance(x, y, **told))
    values = [e.value for e in estimates]
    assert np.mean([e.low <= np.mean(values) <= e.high for e in estimates]) >= 0.9
    width = np.mean([e.high - e.low for e in estimates]) / np.std(values, ddof=1)
    assert width == pytest.approx(2 * 1.96, rel=0.2)


def test_classes_that_are_drawn_in_equal_numbers_narrow_the_interval_and_others_do_not():
    x, real_labels = clusters(0, 400, 3.0, designed=True)
    y, labels = clusters(1, 100, 3.0, designed=True, shift=0.3)
    plain, known = kernel_distance(x, y), kernel_distance(x, y, real_labels=real_labels, labels=labels)
    assert known.value == plain.value and (known.high - known.low) < 0.7 * (plain.high - plain.low)
    # One image of each class, or counts that differ, say nothing of how an image scatters within its class.
    singles, unequal = np.arange(100), np.minimum(labels, 2)
    for other in (singles, unequal):
        assert kernel_distance(x, y, labels=other) == plain


def test_kernel_distance_is_unbiased():
    same = [kernel_distance(normal(s, 100), normal(50 + s, 100)).value for s in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 40**0.5 and min(same) < 0


def overlap(*sets, **options):
    result = precision_recall_density_coverage(*sets, **options)
    return result.precision, result.recall, result.density, result.coverage


@pytest.mark.parametrize("seed", range(4))
def test_overlap_equals_its_definition(monkeypatch, seed):
    monkeypatch.setattr(metrics, "BLOCK", 16)
    x, y, k = normal(seed, 60, 3), normal(seed + 9, 45, 3, shift=0.7), 2
    radius = [[sorted(np.linalg.norm(s - p, axis=1))[k] for p in s] for s in (x, y)]
    inside = np.array([[np.linalg.norm(p - q) < radius[0][i] for i, q in enumerate(x)] for p in y])
    reached = np.array([[np.linalg.norm(p - q) < radius[1][j] for j, p in enumerate(y)] for q in x])
    expected = (inside.any(1).mean(), reached.any(1).mean(), inside.sum() / (k * len(y)), inside.any(0).mean())
    assert overlap(x, y, k=k) == pytest.approx(expected)


def test_overlap_of_equal_and_of_distant_sets():
    x = normal(0, 40)
    assert overlap(x, x)[:2] == (1.0, 1.0)
    assert overlap(x, x + 100) == (0.0, 0.0, 0.0, 0.0)


def test_frechet_distance_of_gaussians():
    x = normal(0, 50, 3)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + np.array([1.0, 2.0, 0.0])) == pytest.approx(5)
    # Scaling a set by two adds the trace of its covariance, beside the mean's shift.
    expected = np.trace(np.cov(x, rowvar=False)) + (x.mean(0) ** 2).sum()
    assert frechet_distance(x, 2 * x) == pytest.approx(expected)


def test_frechet_distance_equals_the_general_matrix_root():
    x, y = normal(0, 60, 4), normal(1, 50, 4) @ np.random.default_rng(2).normal(size=(4, 4))
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_nearest_neighbors_equal_a_full_sort(monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", 3)
    x, y = normal(0, 8), normal(1, 20)
    indices, distances = nearest_neighbors(x, y, k=4)
    full = np.linalg.norm(x[:, None] - y[None], axis=2)
    np.testing.assert_array_equal(indices, np.argsort(full, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :4])
    assert nearest_neighbors(y[5:6], y)[0].tolist() == [[5]]


def test_pairwise_distance_within_classes():
    points = np.array([[0.0, 0], [3, 4], [0, 8], [9, 9], [1, 1]])
    result = mean_pairwise_distance(points, np.array([7, 7, 7, 2, 7]))
    expected = np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(points[[0, 1, 2, 4]], 2)])
    assert result == {7: pytest.approx(expected)}


def test_norm_distances_are_fractions_of_the_running_statistics():
    ones = jnp.ones(4)
    exact = NormStats(ones, 3 * ones, ones, 4 * ones, 4)  # unbiased: 3 * 4/3 = 4
    off = NormStats(jnp.array([3.0, 4.0]), jnp.array([0.0, 0.0]), jnp.zeros(2), jnp.array([9.0, 16.0]), 100)
    dead = NormStats(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), 1)
    np.testing.assert_allclose(norm_distances([exact, off, dead]), [[0, 0], [1, 1], [0, 0]], atol=1e-12)
    assert norm_distances([]).shape == (0, 2)


@pytest.mark.parametrize(
    "call, needed",
    [
        (lambda: kernel_distance(normal(0, 99), normal(1, 200)), 100),
        (lambda: precision_recall_density_coverage(normal(0, 9), normal(1, 5), k=5), 6),
        (lambda: frechet_distance(normal(0, 6), normal(1, 70)), 7),
        (lambda: nearest_neighbors(normal(0, 1), normal(0, 2), k=3), 3),
        (lambda: mean_pairwise_distance(normal(0, 3), np.array([1, 2, 3])), 2),
    ],
)
def test_too_few_images_say_how_many_are_needed(call, needed):
    with pytest.raises(ValueError, match=f"at least {needed} "):
        call()


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        nearest_neighbors(np.full((2, 2), np.nan), np.zeros((2, 2)))
