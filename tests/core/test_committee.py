"""Several networks in one objective: the sum of what each says alone, or one of them by lot."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.committee import Committee, evaluate
from jinv.core.loop import Pace
from jinv.core.objective import TERMS, Term
from jinv.core.step import Method
from jinv.core.sweep import snapshot_of, sweep_of, synthesize_sweep
from jinv.core.synthesis import Options, check_labels, synthesize
from jinv.core.types import Forward
from jinv.errors import ModelMismatchError, UsageError
from jinv.models.networks import Networks
from tests.core import small_synthesis
from tests.networks import tiny_classifier

pytestmark = pytest.mark.usefixtures("unoptimized")

FIRST = tiny_classifier(blocks=0)
SECOND = replace(tiny_classifier(3, blocks=0), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), clamp="straight-through")
LABELS = jnp.array([1, 2])
PIXELS = np.random.default_rng(0).uniform(-0.2, 1.2, size=(2, 8, 8, 3))
TERMS_OF_ALL = [
    Term("cross_entropy", TERMS["cross_entropy"], 2.0),
    Term("total_variation", TERMS["total_variation"], 0.01),
    Term("feature_statistics", TERMS["feature_statistics"], lambda step: 0.1 * step),
]


def in_units_of(network, pixels=PIXELS):
    return (pixels - np.array(network.mean)) / np.array(network.std)


def committee(*shares, draw="all", networks=(FIRST, SECOND)):
    return Committee(Networks(networks, shares).forwards, shares, draw)


def alone(network, terms):
    """(total, {term: value}, gradient in that network's units) of one network, shown the pixels in its units."""

    def total(image):
        said = evaluate(network.forward, terms, network.variables, image, LABELS, step=3, key=jax.random.key(0))
        return said.total, said.terms

    (value, values), gradient = jax.value_and_grad(total, has_aux=True)(jnp.asarray(in_units_of(network), jnp.float32))
    return float(value), {name: float(pair[0]) for name, pair in values.items()}, np.asarray(gradient, np.float64)


def of_committee(forward, terms=TERMS_OF_ALL, seed=0, networks=(FIRST, SECOND)):
    def total(image):
        variables = tuple(network.variables for network in networks)
        said = evaluate(forward, terms, variables, image, LABELS, step=3, key=jax.random.key(seed))
        return said.total, said

    image = jnp.asarray(in_units_of(networks[0]), jnp.float32)
    (_, said), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(image)
    return said, np.asarray(gradient, np.float64)


def test_a_committee_says_the_sum_of_what_its_members_say_alone():
    network_terms = [TERMS_OF_ALL[0], TERMS_OF_ALL[2]]
    said, gradient = of_committee(committee(0.75, 0.25))
    first, second = alone(FIRST, network_terms), alone(SECOND, network_terms)
    image = alone(FIRST, [TERMS_OF_ALL[1]])
    assert float(said.total) == pytest.approx(0.75 * first[0] + 0.25 * second[0] + image[0], rel=1e-5)
    # The chain rule by hand: a step of one in the first network's units is std_1 / std_2 in the second's.
    restated = second[2] * np.array(FIRST.std) / np.array(SECOND.std)
    expected = 0.75 * first[2] + 0.25 * restated + image[2]
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    for name in ("cross_entropy", "feature_statistics"):
        each = [first[1][name], second[1][name]]
        np.testing.assert_allclose(said.members[name], each, rtol=1e-5)
        assert float(said.terms[name][0]) == pytest.approx(np.dot([0.75, 0.25], each), rel=1e-5)
    weighted = {name: float(pair[1] / pair[0]) for name, pair in said.terms.items()}
    assert weighted == pytest.approx({"cross_entropy": 2.0, "total_variation": 0.01, "feature_statistics": 0.3})
    assert set(said.members) == {"cross_entropy", "feature_statistics"}  # a picture's variation is nobody's opinion


def test_one_member_by_lot_says_what_it_says_alone():
    asked = set()
    for seed in range(6):
        said, gradient = of_committee(committee(0.5, 0.5, draw="one"), seed=seed)
        drawn = int(said.drawn)
        network = (FIRST, SECOND)[drawn]
        only = alone(network, [TERMS_OF_ALL[0], TERMS_OF_ALL[2]])
        image = alone(FIRST, [TERMS_OF_ALL[1]])
        assert float(said.total) == pytest.approx(only[0] + image[0], rel=1e-5)
        expected = only[2] * np.array(FIRST.std) / np.array(network.std) + image[2]
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
        members = np.asarray(said.members["cross_entropy"])
        assert members[drawn] == pytest.approx(only[1]["cross_entropy"], rel=1e-5) and np.isnan(members[1 - drawn])
        asked.add(drawn)
    assert asked == {0, 1}


@pytest.mark.parametrize("draw", ["all", "one"])
def test_what_a_picture_says_by_itself_is_counted_once_and_is_no_members_opinion(draw):
    network_terms = [TERMS_OF_ALL[0]]
    colors = [Term(name, TERMS[name], 0.3) for name in ("natural_variation", "natural_colors")]
    with_colors = of_committee(committee(0.5, 0.5, draw=draw), network_terms + colors)
    without = of_committee(committee(0.5, 0.5, draw=draw), network_terms)
    image = alone(FIRST, colors)
    assert float(with_colors[0].total - without[0].total) == pytest.approx(image[0], rel=1e-4)
    assert set(with_colors[0].members) == {"cross_entropy"}
    expected = without[1] + image[2]
    np.testing.assert_allclose(with_colors[1], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def flat(slope):
    """A network of two classes whose logits are the image's mean times a slope."""

    def forward(variables, image, labels):
        mean = image.mean(axis=(1, 2, 3))
        return Forward(image, jnp.stack([0 * mean, slope * mean], axis=1), labels, ())

    return forward


def test_the_lot_falls_by_the_shares_so_that_the_mean_gradient_is_that_of_all():
    shares, slopes = (0.5, 0.3, 0.2, 0.0), (1.0, 2.0, 4.0, 100.0)
    forwards = tuple(flat(slope) for slope in slopes)
    terms = [Term("class_logit", TERMS["class_logit"])]

    def gradient(draw, key):
        def total(image):
            said = evaluate(
                Committee(forwards, shares, draw), terms, (None,) * 4, image, jnp.array([1]), step=0, key=key
            )
            return said.total

        return jax.grad(total)(jnp.ones((1, 2, 2, 3), jnp.float32))[0, 0, 0, 0] * 12

    assert float(gradient("all", jax.random.key(0))) == pytest.approx(-np.dot(shares, slopes), rel=1e-5)
    drawn = -np.asarray(jax.vmap(lambda key: gradient("one", key))(jax.random.split(jax.random.key(1), 2000)))
    found = [np.mean(np.isclose(drawn, slope)) for slope in slopes]
    # Four standard deviations of 2000 draws.
    np.testing.assert_allclose(found, shares, atol=4 * 0.5 / 2000**0.5)
    assert found[3] == 0 and sum(found) == pytest.approx(1)


@pytest.mark.parametrize(("draw", "options"), [("all", {}), ("all", {"keep": "best", "copies": 2}), ("one", {})])
def test_twice_the_same_network_is_that_network(draw, options):
    def images(forward, variables):
        stages = [small_synthesis.stage(steps=4, size=8, batch=2, terms=TERMS_OF_ALL)]
        arguments = forward, variables, LABELS
        return list(synthesize(*arguments, stages=stages, image_size=8, options=Options(log_every=1, **options)))

    single = images(FIRST.forward, FIRST.variables)
    twice = images(committee(0.5, 0.5, draw=draw, networks=(FIRST, FIRST)), (FIRST.variables,) * 2)
    np.testing.assert_allclose(twice[-1].image, single[-1].image, atol=1e-5)
    for one, both in zip(single, twice, strict=True):
        assert float(both.metrics.total) == pytest.approx(float(one.metrics.total), rel=1e-5)
        assert float(both.metrics.accuracy) == float(one.metrics.accuracy)
    assert one.metrics.members is None and both.metrics.members.accuracy.shape == (2,)


def test_the_best_image_of_a_committee_is_the_one_that_all_of_it_like():
    """What a step scores an image by is the members' mean, not what the first of them says."""
    means = np.array([0.5, -0.25])
    start = np.broadcast_to(means[:, None, None, None], (2, 2, 2, 3)).astype(np.float32)
    terms = [Term("cross_entropy", TERMS["cross_entropy"])]
    stages = [small_synthesis.stage(steps=2, size=2, batch=2, terms=terms)]
    options = Options(keep="best", log_every=1)
    both = Committee((flat(1.0), flat(-3.0)), (0.75, 0.25))
    first = next(synthesize(both, (None, None), [1, 1], stages=stages, image_size=2, init=start, options=options))
    expected = 0.75 * np.log1p(np.exp(-means)) + 0.25 * np.log1p(np.exp(3 * means))
    np.testing.assert_allclose(first.state.best_score, expected, rtol=1e-5)


def test_networks_of_other_classes_make_no_committee():
    other = replace(SECOND, class_names=("aeroplane", *SECOND.class_names[1:]))
    with pytest.raises(ModelMismatchError, match="model: tiny's classes .* class 0 is 'airplane' and 'aeroplane'"):
        Networks((FIRST, SECOND, other), (0.5, 0.25, 0.25))
    with pytest.raises(UsageError, match="labels: 1 must be a class id from 0 to 0"):
        one_class = lambda *arguments: flat(1.0)(*arguments)._replace(logits=jnp.zeros((1, 1)))  # noqa: E731
        check_labels(Committee((flat(1.0), one_class), (0.5, 0.5)), (None, None), [1], (2, 2))


def test_side_by_side_every_setting_asks_whom_it_would_ask_alone():
    lot = Committee((flat(1.0), flat(-3.0)), (0.5, 0.5), "one")
    terms = [Term("class_logit", TERMS["class_logit"])]
    stage = small_synthesis.stage(steps=6, size=2, batch=1, terms=terms)
    sweep = sweep_of(lot, [lambda setting: stage], Method((2, 2)), [0, 0])
    labels, pace = jnp.array([[1], [1]]), Pace(log_every=1)
    both = list(synthesize_sweep(sweep, (None, None), labels, settings=jnp.zeros(2), seeds=[3, 4], pace=pace))
    asked = []
    for position, seed in enumerate((3, 4)):
        options = Options(log_every=1)
        alone = synthesize(lot, (None, None), [1], stages=[stage], image_size=2, seed=seed, options=options)
        for one, beside in zip(alone, both, strict=True):
            mine = snapshot_of(beside, position)
            np.testing.assert_allclose(mine.image, one.image, atol=1e-6)
            np.testing.assert_array_equal(
                np.isnan(mine.metrics.members.accuracy), np.isnan(one.metrics.members.accuracy)
            )
            asked.append(int(np.argmin(np.isnan(one.metrics.members.accuracy))))
    assert asked[:6] != asked[6:] and set(asked) == {0, 1}
