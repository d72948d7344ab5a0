"""What the numbers of an evaluation are: accuracy with an interval, and distances between two sets of feature vectors.

Computed once per evaluation on the host in float64, blockwise: in float32 the differences that KID and the Fréchet
distance are made of drown in rounding. Too few images for a figure raise `TooFewImages`, never a silent smaller figure.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial.distance import cdist, pdist
from scipy.special import ndtri

from jinv.core.types import NormStats
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Overlap

Features = Float[np.ndarray, "n d"] | Float[Array, "n d"]
OtherFeatures = Float[np.ndarray, "m d"] | Float[Array, "m d"]
LogitsLike = Float[np.ndarray, "n classes"] | Float[Array, "n classes"]
LabelsLike = Int[np.ndarray, " n"] | Int[Array, " n"]
OtherLabelsLike = Int[np.ndarray, " m"] | Int[Array, " m"]
BLOCK = 1024


class TooFewImages(ValueError):
    """A figure needs more images; the message says how many."""


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; unlike the normal one it never leaves [0, 1] and has width at 0 and 1.

    `(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`. Wilson (1927).

    Raises:
      ValueError: no proportion, or no confidence.
    """
    from scipy.stats import binomtest  # takes a second to import

    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"wilson_interval: {successes} successes of {count}; count must be at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"wilson_interval: confidence {confidence} must be between 0 and 1")
    interval = binomtest(successes, count).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def share_of(right: int, count: int) -> Estimate:
    """`right` of `count` images, with Wilson's interval."""
    return Estimate(right / count, *wilson_interval(right, count), count)


def top_k_correct(logits: LogitsLike, labels: LabelsLike, k: int = 1) -> Bool[np.ndarray, " n"]:
    """Whether each image's label is among the k largest logits; of equal ones the lower class id counts as larger.

    Raises:
      ValueError: logits that are not finite, a label or k out of range.
    """
    scores, labels = np.asarray(logits, np.float64), np.asarray(labels)
    classes = scores.shape[1]
    if not np.isfinite(scores).all():
        raise ValueError("top_k_correct: the logits are not finite")
    if not 1 <= k <= classes or (labels.size and (labels.min() < 0 or labels.max() >= classes)):
        raise ValueError(f"top_k_correct: k {k} and labels must fit the {classes} classes")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    tied_before = (scores == own) & (np.arange(classes)[None] < labels[:, None])
    correct: np.ndarray = ((scores > own) | tied_before).sum(axis=1) < k
    return correct


def kernel_distance(
    real: Features,
    generated: OtherFeatures,
    *,
    real_labels: LabelsLike | None = None,
    labels: OtherLabelsLike | None = None,
    fewest: int = 100,
    confidence: float = 0.95,
) -> Estimate:
    """Unbiased kernel inception distance (squared MMD, kernel `(x.y/d + 1)^3`) with an interval.

    Each image's share in the value, `h(y) = 2 (mean_y' k(y, y') - mean_x k(x, y))` and likewise h(x), scatters as the value
    does in first order: its variance is `var h(x) / n + var h(y) / m`, and the interval normal. Where a set's classes are
    known, equal in number and have two images or more, it was drawn class by class: how many are of which class is no
    accident, and only the variance within the classes counts. Second-order terms are counted twice, which makes the
    interval up to 1.4 times too wide where both sets are of one distribution.

    The value is unbiased for images drawn at random, hence negative at times. Of sets drawn class by class it is an
    estimate of what such sets have on average: lower than that of endless ones by the classes' spread over n and over m,
    so only sets of the same counts compare. Binkowski et al. (2018); Serfling (1980), 5.3; Efron and Stein (1981).

    Raises:
      TooFewImages: fewer than `fewest` images in a set.
    """
    x, y = _features("real", real, fewest), _features("generated", generated, fewest)
    n, m = len(x), len(y)
    same_x, same_y, across = _kernel_sums(x, x), _kernel_sums(y, y), _kernel_sums(x, y)
    # Without an image beside itself.
    of_x = (same_x[0] - ((x * x).sum(axis=1) / x.shape[1] + 1) ** 3) / (n - 1)
    of_y = (same_y[0] - ((y * y).sum(axis=1) / y.shape[1] + 1) ** 3) / (m - 1)
    value = float(of_x.mean() + of_y.mean() - 2 * across[0].mean() / m)
    variance = _variance_of_mean(2 * (of_x - across[0] / m), real_labels)
    variance += _variance_of_mean(2 * (of_y - across[1] / n), labels)
    half = float(ndtri((1 + confidence) / 2)) * variance**0.5
    return Estimate(value, value - half, value + half)


def precision_recall_density_coverage(real: Features, generated: OtherFeatures, *, k: int = 5) -> Overlap:
    """How two sets overlap, each taken as the union of balls that reach to a point's k-th neighbour in its own set.

    precision: share of generated images in a real ball. recall: share of real images in a generated ball. density: how
    many real balls a generated image lies in, over k. coverage: share of real balls with a generated image in them.
    Kynkäänniemi et al. (2019); Naeem et al. (2020).

    Raises:
      TooFewImages: fewer than k + 1 images in a set.
    """
    x, y = _features("real", real, k + 1), _features("generated", generated, k + 1)
    real_radius, generated_radius = _radii(x, k), _radii(y, k)
    covered = np.zeros(len(x), bool)
    recalled = np.zeros(len(x), bool)
    balls = np.empty(len(y))
    for rows in _blocks(len(y)):
        squared = cdist(y[rows], x, "sqeuclidean")
        inside = squared < real_radius[None]
        balls[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (squared < generated_radius[rows, None]).any(axis=0)
    return Overlap(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
    )


def frechet_distance(real: Features, generated: OtherFeatures) -> float:
    """`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` of two sets' means and unbiased covariances.

    Biased upwards for few images, so sets of different sizes do not compare. Dowson and Landau (1982).

    Raises:
      TooFewImages: not more images than feature dimensions, where a covariance would be singular.
    """
    needed = np.shape(real)[1] + 1
    x, y = _features("real", real, needed), _features("generated", generated, needed)
    covariance, other = _covariance(x), _covariance(y)
    root = _symmetric_root(covariance)
    # (S1 S2)^(1/2) has the trace of (S1^(1/2) S2 S1^(1/2))^(1/2), which is symmetric: no complex roots to throw away.
    eigenvalues = np.linalg.eigvalsh(root @ other @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    difference = x.mean(axis=0) - y.mean(axis=0)
    return float(max(difference @ difference + np.trace(covariance) + np.trace(other) - 2 * cross, 0.0))


def nearest_neighbors(
    queries: Features, references: OtherFeatures, *, k: int = 1
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Indices and Euclidean distances of each query's k nearest references, nearest first.

    Raises:
      TooFewImages: fewer than k references.
    """
    x, y = _features("queries", queries, 1), _features("references", references, k)
    indices, distances = np.empty((len(x), k), np.int64), np.empty((len(x), k))
    for rows in _blocks(len(x)):
        squared = cdist(x[rows], y, "sqeuclidean")
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        indices[rows] = order
        distances[rows] = np.sqrt(np.take_along_axis(squared, order, axis=1))
    return indices, distances


def mean_pairwise_distance(features: Features, labels: LabelsLike) -> dict[int, float]:
    """Diversity: the mean Euclidean distance between two images of a class, for every class with at least two.

    Raises:
      TooFewImages: no class has two images.
    """
    x, labels = _features("features", features, 2), np.asarray(labels)
    result = {}
    for label in np.unique(labels):
        members = x[labels == label]
        if len(members) > 1:
            result[int(label)] = _mean_distance(members)
    if not result:
        raise TooFewImages("no class has two images, at least 2 of one are needed")
    return result


def _mean_distance(x: np.ndarray) -> float:
    """Of all pairs of rows, in blocks: those of 10,000 at once would be 400 MB."""
    if len(x) <= BLOCK:
        return float(pdist(x).mean())
    total = 0.0
    for rows in _blocks(len(x)):
        total += float(pdist(x[rows]).sum())
        if rows.stop < len(x):
            total += float(cdist(x[rows], x[rows.stop :]).sum())
    return total / (len(x) * (len(x) - 1) / 2)


def norm_distances(norm_stats: Sequence[NormStats]) -> Float[np.ndarray, "layers 2"]:
    """Per batch-norm layer, by what fraction the batch's mean and unbiased variance are off the running ones.

    The mean's distance over `sqrt(sum(running_var))`, the variance's over `|running_var|_2`; layers without a scale of
    their own count in absolute units. For a network whose statistics were no term of the synthesis.
    """
    rows = []
    for stats in norm_stats:
        mean, var, running_mean, running_var = (np.asarray(s, np.float64) for s in stats[:4])
        count = float(stats.count)
        var = var * count / max(count - 1, 1)
        mean_scale, var_scale = np.sqrt(running_var.sum()) or 1.0, np.linalg.norm(running_var) or 1.0
        rows.append((np.linalg.norm(mean - running_mean) / mean_scale, np.linalg.norm(var - running_var) / var_scale))
    return np.asarray(rows, np.float64).reshape(-1, 2)


def _features(name: str, features: Features, needed: int) -> Float[np.ndarray, "n d"]:
    x = np.asarray(features, np.float64)
    if len(x) < needed:
        raise TooFewImages(f"{name}: {len(x)} images, at least {needed} are needed")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: the features are not finite")
    return x


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's sums over y for every x, and over x for every y."""
    rows_of, columns = np.empty(len(x)), np.zeros(len(y))
    for rows in _blocks(len(x)):
        kernel = (x[rows] @ y.T / x.shape[1] + 1) ** 3
        rows_of[rows] = kernel.sum(axis=1)
        columns += kernel.sum(axis=0)
    return rows_of, columns


def _variance_of_mean(values: np.ndarray, labels: LabelsLike | None) -> float:
    """The variance of the mean of values that were drawn class by class, or of one draw where that is not known."""
    groups = (
        np.zeros(len(values), np.int64) if labels is None else np.unique(np.asarray(labels), return_inverse=True)[1]
    )
    counts = np.bincount(groups)
    if counts.min() < 2 or counts.max() - counts.min() > 1:
        groups, counts = np.zeros(len(values), np.int64), np.array([len(values)])
    means = np.bincount(groups, values) / counts
    squares = np.bincount(groups, (values - means[groups]) ** 2)
    return float((squares * counts / (counts - 1)).sum()) / len(values) ** 2


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each point to its k-th neighbour, itself not counted."""
    radii = np.empty(len(x))
    for rows in _blocks(len(x)):
        squared = cdist(x[rows], x, "sqeuclidean")
        squared[np.arange(squared.shape[0]), np.arange(rows.start, rows.start + squared.shape[0])] = np.inf
        radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def _covariance(x: np.ndarray) -> np.ndarray:
    centered = x - x.mean(axis=0)[None]
    covariance: np.ndarray = centered.T @ centered / (len(x) - 1)
    return covariance


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    eigenvalues, vectors = np.linalg.eigh(matrix)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(eigenvalues, 0))[None]) @ vectors.T
    return root


def _blocks(count: int) -> Iterator[slice]:
    """Rows in blocks: all pairs of 50,000 images at once would be 20 GB."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
