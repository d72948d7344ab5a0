"""What the peers' recipes need of the loop: students, copies, other parameterizations and starts, gradient norms."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.objective import TERMS, Term
from jinv.errors import ModelMismatchError
from tests.core import small_synthesis
from tests.networks import tiny_classifier

CLASSIFIER = tiny_classifier(blocks=0)
BOUNDS = synthesis.clip_bounds(CLASSIFIER.mean, CLASSIFIER.std)
CROSS_ENTROPY = [Term("cross_entropy", TERMS["cross_entropy"])]
NOISE = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
ROLL = Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": 2})


def stage(steps=4, **kwargs):
    return small_synthesis.stage(steps=steps, batch=2, **kwargs)


def snapshots(stages, terms=CROSS_ENTROPY, classifier=CLASSIFIER, **kwargs):
    return list(small_synthesis.snapshots(classifier, stages, terms, (1, 2), **kwargs))


def test_the_student_sees_the_same_picture_in_its_own_units():
    student = replace(tiny_classifier(3, blocks=0), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    both = CLASSIFIER.with_student(student)
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 16, 16, 3)).astype(np.uint8)
    result = both.forward(both.variables, both.preprocess(pixels), jnp.array([1, 2]))
    alone = CLASSIFIER.forward(CLASSIFIER.variables, CLASSIFIER.preprocess(pixels))
    expected = student.forward(student.variables, student.preprocess(pixels))
    np.testing.assert_allclose(result.student_logits, expected.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.logits, alone.logits, rtol=1e-5)
    assert len(result.norm_stats) == len(alone.norm_stats)
    prepared = both.prepared()
    again = prepared.forward(prepared.variables, both.preprocess(pixels))
    np.testing.assert_allclose(again.student_logits, expected.logits, rtol=1e-3, atol=1e-3)


def test_competition_drives_the_two_networks_apart():
    both = CLASSIFIER.with_student(tiny_classifier(3, blocks=0))
    competition = [*CROSS_ENTROPY, Term("competition", TERMS["competition"], 5.0)]
    with_it, without = (
        snapshots([stage(steps=30, rate=0.1)], terms=terms, classifier=both)[-1].image
        for terms in (competition, CROSS_ENTROPY)
    )

    def agreement(image):
        result = both.forward(both.variables, image, jnp.array([1, 2]))
        return float(TERMS["competition"](result.logits, result.student_logits))

    assert agreement(with_it) < agreement(without) - 0.01


def test_a_student_with_other_classes_is_refused():
    names = ("aeroplane", *CLASSIFIER.class_names[1:])
    with pytest.raises(ModelMismatchError, match="class 0 is 'airplane' and 'aeroplane'"):
        CLASSIFIER.with_student(replace(CLASSIFIER, class_names=names))
    with pytest.raises(ModelMismatchError, match="10 and 9 classes"):
        CLASSIFIER.with_student(replace(CLASSIFIER, class_names=CLASSIFIER.class_names[:9]))


def test_gradient_norms_are_those_of_each_weighted_term_and_change_no_image():
    terms = [*CROSS_ENTROPY, Term("total_variation", TERMS["total_variation"], 0.3)]
    options = dict(terms=terms, log_every=2)
    logged = snapshots([stage(size=8)], log_gradients=True, **options)
    plain = snapshots([stage(size=8)], **options)
    assert (logged[-1].image == plain[-1].image).all() and plain[0].gradient_norms is None
    # At the last of four steps the gradient was taken at the image after three.
    image = snapshots([stage(size=8, steps=3)], **options)[-1].image

    def weighted(image, term):
        pooled = image.reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
        result = CLASSIFIER.forward(CLASSIFIER.variables, pooled, jnp.array([1, 2]))
        return [TERMS["cross_entropy"](result.logits, result.labels), 0.3 * TERMS["total_variation"](pooled)][term]

    gradients = [np.asarray(jax.grad(weighted)(image, term), np.float64) for term in (0, 1)]
    norms = {name: float(norm) for name, norm in logged[-1].gradient_norms.items()}
    np.testing.assert_allclose(norms["cross_entropy"], np.sqrt((gradients[0] ** 2).sum()), rtol=1e-3)
    np.testing.assert_allclose(norms["total_variation"], np.sqrt((gradients[1] ** 2).sum()), rtol=1e-3)
    np.testing.assert_allclose(norms["total"], np.sqrt((sum(gradients) ** 2).sum()), rtol=1e-3)


def test_copies_without_draws_change_nothing_and_with_draws_average_over_views():
    one, three = (snapshots([stage()], copies=copies)[-1] for copies in (1, 3))
    np.testing.assert_allclose(one.image, three.image, atol=2e-4)
    for draw in ("batch", "image"):
        shown = snapshots([stage()], copies=3, augmentations=[ROLL._replace(draw=draw)], keep="best")[-1]
        assert shown.image.shape == (2, 16, 16, 3) and not np.allclose(shown.image, one.image, atol=1e-2)


@pytest.mark.parametrize("name", ["fourier", "maco"])
def test_other_parameterizations_stay_within_the_bounds_and_bring_the_loss_down(name):
    optimised = stage(steps=30, rate=0.1, parameterization=name)
    # With a block behind the stem: the stem's pooled features alone hardly know where an edge is, and MACO moves edges.
    deeper = tiny_classifier(1)
    first, *_, last = snapshots([optimised], bounds=BOUNDS, log_every=1, classifier=deeper, init=NOISE)
    assert (last.image >= BOUNDS[0][None, None, None]).all() and (last.image <= BOUNDS[1][None, None, None]).all()
    assert last.metrics.total < 0.9 * first.metrics.total


def test_fouriers_own_start_is_for_noise_alone():
    still = {"rate": 0.0, "steps": 1, "parameterization": {"name": "fourier", "sd": 0.0}}
    assert np.abs(np.asarray(snapshots([stage(**still)])[-1].image)).max() == 0
    np.testing.assert_allclose(snapshots([stage(**still)], init=NOISE)[-1].image, NOISE, atol=1e-4)
    # A later stage goes on from the image, whatever the parameterization.
    both = [stage(steps=2), stage(**still)]
    np.testing.assert_allclose(snapshots(both)[-1].image, snapshots(both[:1])[-1].image, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "parameterization"), [("clean", "pixels"), ("detail", "fourier"), ("zoom", "pixels")]
)
def test_resuming_at_and_within_a_stage_gives_the_same_bits(start, parameterization):
    descent = {"optimizer": {"name": "normalized_gradient", "radius": 2.0}, "parameterization": parameterization}
    stages = [stage(steps=2, size=8, **descent), stage(steps=3, start=start, **descent)]
    options = dict(augmentations=[ROLL], bounds=BOUNDS)
    whole = np.asarray(snapshots(stages, **options)[-1].image)
    for at in (2, 4):
        for snapshot in small_synthesis.snapshots(
            CLASSIFIER, stages, CROSS_ENTROPY, (1, 2), checkpoint_every=1, **options
        ):
            if snapshot.step == at:
                leaves = None if snapshot.stage_done else [np.asarray(x) for x in jax.tree.leaves(snapshot.state)]
                image = np.asarray(snapshot.image) if snapshot.stage_done else None
                resume = synthesis.Resume(snapshot.stage + snapshot.stage_done, leaves, image)
                break
        assert (np.asarray(snapshots(stages, resume=resume, **options)[-1].image) == whole).all()


def test_normalized_gradient_keeps_the_image_within_its_ball():
    descent = stage(steps=12, rate=0.5, optimizer={"name": "normalized_gradient", "radius": 1.5})
    moved = np.asarray(snapshots([descent], init=NOISE)[-1].image, np.float64) - NOISE
    lengths = np.sqrt((moved**2).sum((1, 2, 3)))
    assert (lengths <= 1.5 + 1e-4).all() and (lengths > 1.0).all()
