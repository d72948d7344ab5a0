"""Every term in PyTorch, written as one would write it there: the oracle of values and of gradients where there are corners."""

import numpy as np
import torch
from torch.nn import functional as F

from jinv.core.colors import EDGES, OPPONENT_AXES, PHOTOGRAPHS, PHOTOGRAPHS_COVARIANCE
from jinv.core.contract.inputs import recorded_stats
from jinv.core.types import Forward, RecordedStats


def total_variation(x, neighbors=4, form="norm"):
    """The thesis' listing and its variants, of an NCHW batch."""
    shifts = [x[:, :, :-1, :] - x[:, :, 1:, :], x[:, :, :, :-1] - x[:, :, :, 1:]]
    if neighbors == 8:
        shifts += [x[:, :, 1:, :-1] - x[:, :, :-1, 1:], x[:, :, :-1, :-1] - x[:, :, 1:, 1:]]
    if form == "l1":
        return sum(d.abs().mean() for d in shifts)
    if form == "formula_4_1":
        both = shifts[0][:, :, :, :-1].abs() + shifts[1][:, :, :-1].abs()
        # The root's slope at 0 is infinite and torch makes NaN of it; where a pixel equals both neighbours ours is 0.
        return both[both > 0].sqrt().sum()
    return sum(torch.norm(d) for d in shifts)


def image_norm(x):
    """The mean of the images' norms."""
    return torch.norm(x.reshape(x.shape[0], -1), dim=1).mean()


def network(image):
    """The stand-in of test_terms on an NHWC tensor; `norm_stats` are (layer's input NCHW, running mean, running var)."""
    features = torch.tanh(image.reshape(image.shape[0], -1)[:, :12])
    running = torch.arange(1.0, 4.0, dtype=image.dtype)
    layers = [(image.permute(0, 3, 1, 2) * s, running * s - 2 * s, running * s) for s in (1.0, 3.0)]
    labels = torch.arange(image.shape[0]) // 2 % 12
    x = image.permute(0, 3, 1, 2)
    maps = tuple(y for y, _, _ in layers)
    recorded = tuple(
        RecordedStats(
            *(
                torch.tensor(np.asarray(value), dtype=image.dtype)
                for value in recorded_stats(3, seed=seed, dtype=np.float64)
            )
        )
        for seed in (0, 1)
    )
    student = torch.roll(features, 1, dims=1)
    return Forward(x, features, labels, tuple(layers), student, x / 4 + 0.5, maps, recorded, features)


def _total_variation(result, reduction="batch", **kwargs):
    groups = [result.image] if reduction == "batch" else result.image.split(1)
    return sum(total_variation(group, **kwargs) for group in groups) / len(groups)


def distance_of(mean, var, target_mean, target_var, distance):
    """A layer's distance, by torch's own normal distributions where they are Gaussians."""
    if distance == "norm":
        mean_distance = torch.norm(mean - target_mean) / target_var.sum().sqrt()
        return mean_distance + torch.norm(var - target_var) / torch.norm(target_var)
    floor = 1e-3 * target_var.mean()
    found, wanted = (
        torch.distributions.Normal(m, (v + floor).sqrt()) for m, v in ((mean, var), (target_mean, target_var))
    )
    if distance == "gaussian_kl":
        return torch.distributions.kl_divergence(found, wanted).mean()
    return (((found.mean - wanted.mean) ** 2 + (found.stddev - wanted.stddev) ** 2) / wanted.variance).mean()


def class_statistics(result, distance="norm"):
    """Class by class, of all its images' values at once."""
    total = 0
    for y, target in zip(result.layers, result.recorded, strict=True):
        classes = result.labels.unique()
        for label in classes:
            values = y[result.labels == label].transpose(0, 1).flatten(1)
            moments = values.mean(1), values.var(1, unbiased=False), target.class_mean[label], target.class_var[label]
            total = total + distance_of(*moments, distance) / len(classes)
    return total / len(result.layers)


def patch_statistics(result, distance="norm"):
    """Of maps whose sides four divides."""
    total = 0
    for y, target in zip(result.layers, result.recorded, strict=True):
        n, c, h, w = y.shape
        cells = y.reshape(n, c, 4, h // 4, 4, w // 4).permute(2, 4, 0, 1, 3, 5).flatten(2).flatten(0, 1)
        moments = cells.mean(1), cells.var(1, unbiased=False), target.cell_mean, target.cell_var
        total = total + distance_of(*moments, distance)
    return total / len(result.layers)


def sorted_features(result, target="all"):
    """Quantiles by torch.quantile, which interpolates between sorted values that lie at i / (n - 1)."""
    total = 0
    for y, recorded in zip(result.layers, result.recorded, strict=True):
        values, n = y.flatten(2), y[0, 0].numel()
        k = recorded.quantiles.shape[0]
        places = ((torch.arange(k, dtype=y.dtype) + 0.5) / k * n - 0.5).clamp(0, n - 1) / (n - 1)
        found = torch.quantile(values, places, dim=2).permute(1, 0, 2)
        wanted = recorded.quantiles[None] if target == "all" else recorded.class_quantiles[result.labels]
        total = total + ((found - wanted) ** 2 / (recorded.var + 1e-3 * recorded.var.mean())).mean()
    return total / len(result.layers)


def class_similarity(result):
    """Pair by pair."""
    pairs = [
        F.cosine_similarity(a, b, dim=0)
        for i, a in enumerate(result.features)
        for j, b in enumerate(result.features)
        if i != j and result.labels[i] == result.labels[j]
    ]
    return sum(pairs) / max(len(pairs), 1) + 0 * result.features.sum()


def _feature_statistics(result, variance="unbiased", first_layer_weight=1.0, normalization="none", distance="norm"):
    total = 0
    for layer, (y, running_mean, running_var) in enumerate(result.norm_stats):
        mean, var = y.mean([0, 2, 3]), y.transpose(0, 1).flatten(1).var(1, unbiased=variance == "unbiased")
        if distance != "norm":
            found = distance_of(mean, var, running_mean, running_var, distance) / len(result.norm_stats)
            total = total + (first_layer_weight if layer == 0 else 1.0) * found
            continue
        mean, var = torch.norm(running_mean - mean), torch.norm(running_var - var)
        if normalization == "running":
            mean, var = mean / running_var.sum().sqrt() / 2, var / torch.norm(running_var) / 2
        total = total + (first_layer_weight if layer == 0 else 1.0) * (mean + var)
    return total


def competition(teacher, student, form="jensen_shannon"):
    """Both forms, of logits; `nvlabs` in probabilities and with torch's own clamp."""
    if form == "jensen_shannon":
        p, q = teacher.softmax(1), student.softmax(1)
        m = ((p + q) / 2).log()
        return 1 - (F.kl_div(m, p, reduction="batchmean") + F.kl_div(m, q, reduction="batchmean")) / 2
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    p, q, m = (x.clamp(0.01, 0.99) for x in (p, q, (p + q) / 2))
    divergence = F.kl_div(p.log(), m, reduction="batchmean") + F.kl_div(q.log(), m, reduction="batchmean")
    return 1 - (divergence / 2).clamp(0, 1)


def natural_colors(pixels, reduction="image", colors=None):
    """The colour prior of NCHW pixels, by torch's own normal distribution instead of a whitening."""
    axes = torch.tensor(OPPONENT_AXES, dtype=pixels.dtype)
    y = torch.einsum("dc,nchw->ndhw", axes, pixels).flatten(2)
    spread = (y.var(2, unbiased=False) + 1 / 255**2).sqrt().log()
    photographs = torch.distributions.MultivariateNormal(
        torch.tensor(PHOTOGRAPHS if colors is None else colors.descriptor_mean, dtype=y.dtype),
        torch.tensor(PHOTOGRAPHS_COVARIANCE if colors is None else colors.descriptor_covariance, dtype=y.dtype),
    )
    d = torch.cat([y.mean(2), spread], dim=1)
    if reduction == "image":
        return (photographs.log_prob(photographs.mean) - photographs.log_prob(d)).mean()
    z = torch.linalg.solve_triangular(photographs.scale_tril, (d - photographs.mean).T, upper=False)
    batch = torch.distributions.Normal(z.mean(1), (z.var(1, unbiased=False) + 1e-3).sqrt())
    return torch.distributions.kl_divergence(batch, torch.distributions.Normal(0, 1)).sum()


def natural_variation(pixels, whitening=1.0, reduction="batch", colors=None):
    """Mahalanobis norms of neighbours' differences, by Cholesky's factor of the inverse covariance of red, green and blue."""
    axes = torch.tensor(OPPONENT_AXES, dtype=pixels.dtype)
    edges = EDGES if colors is None else colors.edges
    spread = torch.tensor(edges / edges[0], dtype=pixels.dtype) ** whitening
    factor = torch.linalg.cholesky(axes.T @ torch.diag(spread**-2) @ axes)
    total = 0.0
    for d in (pixels[:, :, 1:] - pixels[:, :, :-1], pixels[:, :, :, 1:] - pixels[:, :, :, :-1]):
        d = torch.einsum("ce,nchw->nehw", factor, d)
        total = total + (d.norm() if reduction == "batch" else d.flatten(1).norm(dim=1).mean())
    return total


TORCH_TERMS = {
    "class_similarity": class_similarity,
    "class_statistics": class_statistics,
    "patch_statistics": patch_statistics,
    "sorted_features": sorted_features,
    "class_logit": lambda r: -r.logits.gather(1, r.labels[:, None]).mean(),
    "competition": lambda r, **kwargs: competition(r.logits, r.student_logits, **kwargs),
    "cross_entropy": lambda r: F.cross_entropy(r.logits, r.labels),
    "feature_statistics": _feature_statistics,
    "image_norm": lambda r: image_norm(r.image),
    "natural_colors": lambda r, **kwargs: natural_colors(r.pixels, **kwargs),
    "natural_variation": lambda r, **kwargs: natural_variation(r.pixels, **kwargs),
    "layer_activation": lambda r, layer=0: -(r.norm_stats[layer][0] ** 2).mean(),
    "total_variation": _total_variation,
}
