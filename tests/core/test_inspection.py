"""What a state is asked beside the step, beside NumPy's float64: cosines, statistics, attributions, balanced weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.committee import Committee
from jinv.core.inspection import make_attribution, relative_distances
from jinv.core.loop import Resume
from jinv.core.objective import TERMS, Term
from jinv.core.schedules import balanced
from jinv.core.synthesis import Options, synthesize
from jinv.core.types import NormStats
from tests.core.small_synthesis import snapshots, stage
from tests.networks import tiny_classifier

pytestmark = pytest.mark.usefixtures("unoptimized")

CLASSIFIER = tiny_classifier(blocks=0)
LABELS = (1, 2)
CROSS_ENTROPY, TOTAL_VARIATION = (Term(name, TERMS[name], 0.3) for name in ("cross_entropy", "total_variation"))


def taken(terms, *, steps=3, **options):
    found = snapshots(CLASSIFIER, [stage(size=8, steps=steps)], terms, LABELS, log_every=1, **options)
    return [jax.device_get(snapshot._replace(state=None)) for snapshot in found]


def nothing(image):
    """A term whose gradient is zero."""
    return 0.0 * jnp.sum(image)


def test_cosines_are_those_of_the_terms_gradients_and_looking_changes_no_bit():
    terms = [CROSS_ENTROPY, TOTAL_VARIATION, Term("nothing", nothing)]
    seen, plain = taken(terms, log_gradients=True, log_statistics=True), taken(terms)
    for with_look, without in zip(seen, plain, strict=True):
        np.testing.assert_array_equal(with_look.image, without.image)
        assert float(with_look.metrics.total) == float(without.metrics.total)
    assert plain[0].seen.gradients is None and plain[0].seen.statistics is None
    image = plain[0].image  # the second step's gradients are taken here

    def value(image, term):
        pooled = image.reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
        result = CLASSIFIER.forward(CLASSIFIER.variables, pooled, jnp.array(LABELS))
        return [TERMS["cross_entropy"](result.logits, result.labels), TERMS["total_variation"](pooled)][term]

    first, second = (np.asarray(jax.grad(value)(image, term), np.float64).ravel() for term in (0, 1))
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    cosines = seen[1].seen.gradients.cosines
    assert abs(expected) > 1e-3 and float(cosines["cross_entropy"]["total_variation"]) == pytest.approx(
        expected, rel=1e-3
    )
    pairs = {(first, second) for first, row in cosines.items() for second in row}
    assert pairs == {("cross_entropy", "total_variation"), ("cross_entropy", "nothing"), ("total_variation", "nothing")}
    assert np.isnan(cosines["cross_entropy"]["nothing"])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cosines_of_gradients_whose_squares_are_no_float32_are_finite(scale):
    def slope(image):
        return scale * jnp.mean(image)

    def bend(image):
        return scale * (jnp.mean(image) + jnp.mean(image[:, :4]))

    (found, *_) = taken([Term("slope", slope), Term("bend", bend)], steps=1, log_gradients=True)
    # On half of the pixels the second pulls three times as hard as the first, elsewhere as hard.
    expected = (3 + 1) / np.sqrt(2 * (9 + 1))
    assert float(found.seen.gradients.cosines["slope"]["bend"]) == pytest.approx(expected, rel=1e-4)


def test_statistics_are_relative_to_each_layers_own_scale():
    random = np.random.default_rng(0)
    layers = []
    for channels, count in ((3, 8), (5, 2), (4, 1), (2, 9)):
        mean, var, running_mean = (
            random.normal(size=channels),
            random.uniform(size=channels),
            random.normal(size=channels),
        )
        layers.append(NormStats(mean, var, running_mean, random.uniform(0.5, 2, channels), count))
    layers[3] = layers[3]._replace(running_var=np.zeros(2))
    found = relative_distances([NormStats(*(jnp.asarray(x, jnp.float32) for x in s[:4]), s.count) for s in layers])
    means, variances = [], []
    for s in layers:
        unbiased = s.batch_var * s.count / max(s.count - 1, 1)
        scales = (np.sqrt(s.running_var.sum()) or 1, np.sqrt((s.running_var**2).sum()) or 1)
        means.append(np.sqrt(((s.batch_mean - s.running_mean) ** 2).sum()) / scales[0])
        variances.append(np.sqrt(((unbiased - s.running_var) ** 2).sum()) / scales[1])
    np.testing.assert_allclose(found.mean, means, rtol=1e-5)
    np.testing.assert_allclose(found.variance, variances, rtol=1e-5)


def test_a_committees_statistics_are_each_members_and_its_cosines_the_objectives():
    members = (CLASSIFIER, tiny_classifier(1, blocks=0))
    both = Committee(tuple(m.forward for m in members), (0.5, 0.5), "one")
    chosen = stage(size=16, steps=2)._replace(terms=[CROSS_ENTROPY, TOTAL_VARIATION])
    found = list(
        synthesize(
            both, tuple(m.variables for m in members), jnp.array(LABELS), stages=[chosen], image_size=(16, 16),
            options=Options(log_every=1, log_gradients=True, log_statistics=True),
        )
    )  # fmt: skip
    image = found[0].image
    for member, distances in zip(members, found[1].seen.statistics, strict=True):
        expected = relative_distances(member.forward(member.variables, image).norm_stats)
        np.testing.assert_allclose(distances.mean, expected.mean, rtol=1e-4)
        np.testing.assert_allclose(distances.variance, expected.variance, rtol=1e-4)
    assert np.isfinite(found[1].seen.gradients.cosines["cross_entropy"]["total_variation"])


def test_a_balanced_weight_keeps_the_ratio_of_the_gradients():
    weight = balanced(to="cross_entropy", ratio=0.25, decay=0.0)
    for found in taken([CROSS_ENTROPY, TOTAL_VARIATION._replace(weight=weight)], log_gradients=True, keep="best"):
        norms = found.gradient_norms
        assert float(norms["total_variation"]) == pytest.approx(0.25 * float(norms["cross_entropy"]), rel=1e-4)
        value, weighted = found.metrics.terms["total_variation"]
        assert weighted / value > 0 and float(found.metrics.total) == pytest.approx(
            float(weighted + found.metrics.terms["cross_entropy"][1]), rel=1e-5
        )


@pytest.mark.parametrize(("decay", "every"), [(0.8, 1), (0.5, 2)])
def test_a_balanced_weight_is_of_averaged_norms_measured_now_and_then(decay, every):
    weight = balanced(to="cross_entropy", ratio=2.0, decay=decay, every=every)
    found = taken([CROSS_ENTROPY, TOTAL_VARIATION._replace(weight=weight)], steps=5, log_gradients=True)
    average = None
    for step, snapshot in enumerate(found):
        norms, (value, weighted) = snapshot.gradient_norms, snapshot.metrics.terms["total_variation"]
        used = float(weighted / value)
        now = np.array([float(norms["total_variation"]) / used, float(norms["cross_entropy"]) / 0.3])
        if average is None:
            average = now
        elif step % every == 0:
            average = decay * average + (1 - decay) * now
        assert used == pytest.approx(2.0 * 0.3 * average[1] / average[0], rel=1e-3), step


def test_a_term_that_does_not_pull_has_no_balanced_weight_and_no_weight_is_above_the_maximum():
    none = Term("nothing", nothing, balanced(to="cross_entropy"))
    small = TOTAL_VARIATION._replace(weight=balanced(to="cross_entropy", ratio=100.0, maximum=0.1))
    for found in taken([CROSS_ENTROPY, none, small]):
        assert float(found.metrics.terms["nothing"][1]) == 0 and np.isfinite(found.image).all()
        value, weighted = found.metrics.terms["total_variation"]
        assert float(weighted / value) == pytest.approx(0.1, rel=1e-6)


def test_a_run_with_a_balanced_weight_goes_on_bit_by_bit():
    chosen = [stage(size=8, steps=4)]
    terms = [CROSS_ENTROPY, TOTAL_VARIATION._replace(weight=balanced(to="cross_entropy", every=3))]
    leaves = None
    for snapshot in snapshots(CLASSIFIER, chosen, terms, LABELS, log_every=1):
        if snapshot.step == 2:
            leaves = [np.array(leaf) for leaf in jax.tree.leaves(snapshot.state)]
        last = snapshot
    on = list(snapshots(CLASSIFIER, chosen, terms, LABELS, log_every=1, resume=Resume(0, leaves)))
    assert on[0].step == 3
    np.testing.assert_array_equal(on[-1].image, last.image)


def test_an_attribution_is_the_slope_of_the_term_in_every_pixel():
    random = np.random.default_rng(3)
    image = jnp.asarray(random.normal(size=(2, 16, 16, 3)), jnp.float32)
    terms = [CROSS_ENTROPY, Term("feature_statistics", TERMS["feature_statistics"], 7.0)]
    make = jax.jit(make_attribution(CLASSIFIER.forward, terms, lambda image: image))
    found = make(CLASSIFIER.variables, image, jnp.array(LABELS), jnp.asarray(0))
    result = CLASSIFIER.forward(CLASSIFIER.variables, image, jnp.array(LABELS))
    assert float(found["cross_entropy"][0]) == pytest.approx(
        float(TERMS["cross_entropy"](result.logits, result.labels))
    )
    direction = random.normal(size=image.shape)
    for name, (_, gradient) in found.items():
        ends = [
            float(
                make(CLASSIFIER.variables, image + jnp.asarray(h * direction, jnp.float32), jnp.array(LABELS), 0)[name][
                    0
                ]
            )
            for h in (-2e-3, 2e-3)
        ]
        slope = float((np.asarray(gradient, np.float64) * direction).sum())
        assert (ends[1] - ends[0]) / 4e-3 == pytest.approx(slope, rel=2e-2), name
