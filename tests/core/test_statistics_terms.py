"""The terms of recorded statistics, Gaussian distances and averages over steps, against NumPy float64 from the equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.averages import Past, averaged, none_yet
from jinv.core.committee import Committee
from jinv.core.contract.inputs import recorded_stats
from jinv.core.image_stats import image_stats, sorted_values
from jinv.core.objective import TERMS, Term
from jinv.core.parameterization import resolutions
from jinv.core.step import Inputs, Method, Stage, first_averages, make_step, start_state
from jinv.core.synthesis import Options, Resume, synthesize
from jinv.core.types import Forward, NormStats

pytestmark = pytest.mark.usefixtures("unoptimized")

DISTANCES = ("norm", "gaussian_kl", "wasserstein")
LABELS = np.array([3, 0, 3, 7, 0, 3])


def maps(seed=0, n=6, height=6, width=5, channels=4):
    return np.random.default_rng(seed).normal(size=(n, height, width, channels)) * 2 + 0.5


def distance_of(mean, var, target_mean, target_var, distance):
    """Channel by channel, from the definitions."""
    if distance == "norm":
        scaled = np.sqrt(((mean - target_mean) ** 2).sum() / target_var.sum())
        return scaled + np.sqrt(((var - target_var) ** 2).sum() / (target_var**2).sum())
    floor = 1e-3 * target_var.mean()
    total = 0.0
    for m, v, n, w in zip(mean, var + floor, target_mean, target_var + floor, strict=True):
        if distance == "gaussian_kl":
            total += np.log(np.sqrt(w / v)) + (v + (m - n) ** 2) / (2 * w) - 0.5
        else:
            total += ((m - n) ** 2 + (np.sqrt(v) - np.sqrt(w)) ** 2) / w
    return total / len(mean)


def layers_and_recorded():
    x = [maps(seed) * scale for seed, scale in ((0, 1.0), (1, 3.0))]
    layers = tuple(image_stats(jnp.asarray(y, jnp.float32), 5) for y in x)
    return x, layers, tuple(recorded_stats(4, seed=seed) for seed in (0, 1))


@pytest.mark.parametrize("distance", ["gaussian_kl", "wasserstein"])
def test_gaussian_feature_statistics_equal_the_definitions(distance):
    expected, stats = 0.0, []
    for seed, recorded in ((0, recorded_stats(4, seed=0)), (1, recorded_stats(4, seed=1))):
        values = maps(seed).reshape(-1, 4)
        moments = values.mean(0), values.var(0), np.float64(recorded.mean), np.float64(recorded.var)
        expected += (5 if seed == 0 else 1) * distance_of(*moments, distance) / 2
        stats.append(NormStats(*(jnp.asarray(x, jnp.float32) for x in moments), len(values)))
    actual = TERMS["feature_statistics"](stats, distance=distance, variance="biased", first_layer_weight=5.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize("distance", ["gaussian_kl", "wasserstein"])
@pytest.mark.parametrize("recorded_var", [0.0, 2.0])
def test_a_channel_without_variance_is_finitely_far_and_pulls_finitely(distance, recorded_var):
    zeros = jnp.zeros(3)
    stats = NormStats(zeros, zeros, zeros, zeros + recorded_var, 1)
    term = functools.partial(TERMS["feature_statistics"], distance=distance)
    value, gradient = jax.value_and_grad(lambda m, v: term([stats._replace(batch_mean=m, batch_var=v)]), (0, 1))(
        zeros, zeros
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert (value == 0) == (recorded_var == 0) and (gradient[1] <= 0).all()


def test_kullback_and_leibler_are_of_the_batch_to_what_was_recorded():
    wide, narrow = (
        NormStats(jnp.zeros(1), jnp.full(1, v), jnp.zeros(1), jnp.full(1, w), 9) for v, w in ((4.0, 1.0), (1.0, 4.0))
    )
    term = functools.partial(TERMS["feature_statistics"], distance="gaussian_kl", variance="biased")
    assert float(term([wide])) > 1.5 * float(term([narrow]))


@pytest.mark.parametrize("distance", DISTANCES)
def test_class_statistics_are_those_of_each_class_images_taken_together(distance):
    x, layers, recorded = layers_and_recorded()
    expected = 0.0
    for y, target in zip(x, recorded, strict=True):
        for label in set(LABELS):
            values = y[label == LABELS].reshape(-1, 4)
            wanted = np.float64(target.class_mean[label]), np.float64(target.class_var[label])
            expected += distance_of(values.mean(0), values.var(0), *wanted, distance) / 3 / 2
    actual = TERMS["class_statistics"](layers, recorded, jnp.asarray(LABELS), distance=distance)
    np.testing.assert_allclose(actual, expected, rtol=2e-5)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_batch_of_one_class_is_compared_as_a_whole(distance):
    _, layers, recorded = layers_and_recorded()
    labels = jnp.full(6, 7)
    of_class = [target._replace(mean=target.class_mean[7], var=target.class_var[7]) for target in recorded]
    stats = []
    for values, target in zip(layers, of_class, strict=True):
        mean = values.mean.mean(0)
        stats.append(
            NormStats(mean, (values.var + (values.mean - mean[None]) ** 2).mean(0), target.mean, target.var, 180)
        )
    whole = {"normalization": "running"} if distance == "norm" else {"distance": distance}
    expected = TERMS["feature_statistics"](stats, variance="biased", **whole)
    np.testing.assert_allclose(
        TERMS["class_statistics"](layers, recorded, labels, distance=distance), expected, rtol=1e-5
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_patch_statistics_are_those_of_each_cell_of_every_image_and_channel(distance):
    x = maps(height=8, width=12)
    layers, target = (image_stats(jnp.asarray(x, jnp.float32)),), recorded_stats(4)
    cells = [x[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].ravel() for i in range(4) for j in range(4)]
    moments = np.array([c.mean() for c in cells]), np.array([c.var() for c in cells])
    expected = distance_of(*moments, np.float64(target.cell_mean), np.float64(target.cell_var), distance)
    np.testing.assert_allclose(TERMS["patch_statistics"](layers, (target,), distance=distance), expected, rtol=2e-5)


@pytest.mark.parametrize("target", ["all", "class"])
def test_sorted_features_are_sorted_values_subtracted(target):
    x = maps(height=2, width=4)
    layers, recorded = (image_stats(jnp.asarray(x, jnp.float32), 8),), recorded_stats(4, quantiles=8)
    found = np.sort(x.reshape(6, 8, 4), axis=1)  # as many quantiles as values: the sorted values themselves
    wanted = np.float64(recorded.quantiles)[None] if target == "all" else np.float64(recorded.class_quantiles)[LABELS]
    var = np.float64(recorded.var)
    expected = ((found - wanted) ** 2 / (var + 1e-3 * var.mean())).mean()
    actual = TERMS["sorted_features"](layers, (recorded,), jnp.asarray(LABELS), target=target)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_quantiles_lie_between_sorted_values():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    for count in (1, 4, 40):
        expected = np.quantile(x.reshape(2, 15, 4), (np.arange(count) + 0.5) / count, axis=1, method="hazen")
        np.testing.assert_allclose(sorted_values(jnp.asarray(x), count), expected.transpose(1, 0, 2), atol=1e-6)


def test_class_similarity_is_the_mean_cosine_of_pairs_of_a_class():
    features = np.random.default_rng(0).normal(size=(6, 5))
    cosines = [
        features[i] @ features[j] / np.linalg.norm(features[i]) / np.linalg.norm(features[j])
        for i in range(6)
        for j in range(6)
        if i != j and LABELS[i] == LABELS[j]
    ]
    term = TERMS["class_similarity"]
    actual = term(jnp.asarray(features, jnp.float32), jnp.asarray(LABELS))
    np.testing.assert_allclose(actual, np.mean(cosines), rtol=1e-5)
    assert term(jnp.asarray(features, jnp.float32), jnp.arange(6)) == 0
    assert np.isfinite(jax.grad(term)(jnp.zeros((6, 5)), jnp.asarray(LABELS))).all()


def test_terms_say_what_was_not_recorded():
    _, layers, recorded = layers_and_recorded()
    labels = jnp.asarray(LABELS)
    bare = tuple(target._replace(class_mean=None, class_var=None, class_quantiles=None) for target in recorded)
    for name, arguments, said in [
        ("class_statistics", ((), (), labels), "no statistics were recorded"),
        ("class_statistics", (layers, bare, labels), "no classes were recorded"),
        ("patch_statistics", ((), ()), "no statistics were recorded"),
        ("sorted_features", ((), (), labels), "no statistics were recorded"),
        ("sorted_features", (layers, tuple(t._replace(quantiles=None) for t in bare), labels), "no quantiles"),
        ("class_similarity", (None, labels), "gives no features"),
    ]:
        with pytest.raises(ValueError, match=f"^{name}: .*{said}"):
            TERMS[name](*arguments)
    with pytest.raises(ValueError, match="no classes were recorded"):
        TERMS["sorted_features"](layers, bare, labels, target="class")


def forward_of(image):
    flat = image.reshape(-1, 3)
    mean = flat.mean(0)
    var = ((flat - mean[None]) ** 2).mean(0)
    target = jnp.arange(3.0)
    return Forward(image, image[:, 0, 0], None, (NormStats(mean, var, target, target + 1, flat.shape[0]),))


def test_averages_are_exponential_from_the_first_step_on_and_let_the_gradient_pass():
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 3, 3)).astype(np.float32)
    averages, sums = none_yet(forward_of(images[0])), np.zeros(3)
    for step, image in enumerate(images):
        past = Past((averages,), 0.7, jnp.asarray(step))
        seen, averages = averaged(forward_of(jnp.asarray(image)), averages, past)
        sums = 0.7 * sums + 0.3 * np.float64(image).reshape(-1, 3).var(0)
        np.testing.assert_allclose(seen.norm_stats[0].batch_var, sums / (1 - 0.7 ** (step + 1)), rtol=1e-5)

    def through(image, averaging):
        result = forward_of(image)
        result = averaged(result, averages, past)[0] if averaging else result
        return (result.norm_stats[0].batch_mean * 3 + result.norm_stats[0].batch_var).sum()

    image = jnp.asarray(images[0])
    np.testing.assert_allclose(jax.grad(through)(image, True), jax.grad(through)(image, False), rtol=1e-5, atol=1e-7)


def test_a_step_sees_the_average_of_the_steps_before_and_goes_on_from_its_state():
    method = Method((4, 4), momentum=0.9)
    stage = Stage((4, 4), 3, [Term("feature_statistics", TERMS["feature_statistics"])], learning_rate=0.1)

    def forward(variables, image, labels):
        return forward_of(image)._replace(labels=labels)

    start = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    ids = jnp.arange(2, dtype=jnp.uint32)
    inputs = Inputs((), jnp.zeros(2, jnp.int32), jax.random.key(0), ids, jnp.zeros((), jnp.int32))
    state = start_state(start, stage, method)
    state = state._replace(averages=first_averages(forward, stage, method, start, inputs))
    step, sums, seen = jax.jit(make_step(forward, stage, method)), np.zeros((2, 3)), []
    for number in range(3):
        values = np.float64(state.params).reshape(-1, 3)
        sums = 0.9 * sums + 0.1 * np.stack([values.mean(0), values.var(0)])
        mean, var = sums / (1 - 0.9 ** (number + 1))
        seen.append(np.linalg.norm(mean - np.arange(3)) + np.linalg.norm(var * 32 / 31 - np.arange(3) - 1))
        state, metrics = step(state, inputs)
        np.testing.assert_allclose(metrics.total, seen[-1], rtol=1e-5)
    assert seen[2] < seen[0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_synthesis_with_momentum_goes_on_from_its_leaves_to_the_same_bits(count):
    def forward(variables, image, labels):
        return forward_of(image)._replace(labels=labels)

    forwards = forward if count == 1 else Committee((forward, forward), (0.25, 0.75))
    variables = () if count == 1 else ((), ())
    stage = Stage((4, 4), 6, [Term("feature_statistics", TERMS["feature_statistics"])], learning_rate=0.1)

    def run(momentum=0.9, resume=None):
        options = Options(momentum=momentum, checkpoint_every=3, resume=resume)
        for snapshot in synthesize(forwards, variables, [0, 1], stages=[stage], image_size=4, options=options):
            yield (
                snapshot.step,
                np.asarray(snapshot.image),
                [np.asarray(leaf) for leaf in jax.tree.leaves(snapshot.state)],
            )

    (middle, _, leaves), (_, whole, _) = run()
    ((_, resumed, _),) = run(resume=Resume(0, leaves))
    assert middle == 3 and (resumed == whole).all()
    assert (list(run(momentum=0.0))[-1][1] != whole).any()


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_resolutions_are_summed_from_one_pixel_to_the_full_size(upsampling):
    made = resolutions((8, 6), upsampling=upsampling)
    image = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype(np.float32)
    parts = made.init(jnp.asarray(image))
    assert [part.shape[1:3] for part in parts] == [(1, 1), (2, 2), (4, 3), (8, 6)]
    np.testing.assert_allclose(parts[0][:, 0, 0], image.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(made.render(parts), image, atol=1e-6)
    only = [jnp.zeros_like(part) for part in parts]
    only = (*only[:2], jnp.arange(72.0).reshape(2, 4, 3, 3), only[3])
    if upsampling == "nearest":
        np.testing.assert_allclose(made.render(only), np.repeat(np.repeat(only[2], 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(made.render(only).mean((1, 2)), only[2].mean((1, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="ratio 1.0 must be above 1"):
        resolutions((8, 6), ratio=1.0)


def test_a_step_moves_coarse_resolutions_as_far_as_fine_ones():
    made = resolutions((16, 16))
    gradient = jax.grad(lambda parts: made.render(parts).sum())(made.init(jnp.zeros((1, 16, 16, 3))))
    assert float(gradient[0][0, 0, 0, 0]) == 256 and np.allclose(gradient[-1], 1)
    assert len(resolutions((16, 16), ratio=1.05).init(jnp.zeros((1, 16, 16, 3)))) > 10
