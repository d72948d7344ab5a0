"""The loop: determinism, independence of the batch, clipping, stages, best images, resuming."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS, Augmentation, augment_batch
from jinv.core.objective import TERMS, Term
from jinv.core.parameterization import average_pool_to, pixels, pooled_pixels, staged
from jinv.core.schedules import warmup_cosine
from jinv.core.step import step_keys
from jinv.errors import UsageError
from tests.core.small_synthesis import snapshots, stage
from tests.networks import tiny_classifier

# The stem alone: the loop is tested here, and it is compiled once per case.
CLASSIFIER = tiny_classifier(blocks=0)
BOUNDS = synthesis.clip_bounds(CLASSIFIER.mean, CLASSIFIER.std)
ROLL = Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": 2})
FLIP = Augmentation("flip", AUGMENTATIONS["flip"], {})
CROSS_ENTROPY = [Term("cross_entropy", TERMS["cross_entropy"])]
STATISTICS = [*CROSS_ENTROPY, Term("feature_statistics", TERMS["feature_statistics"], 0.1)]


def last(labels=(1, 2, 3, 4), stages=None, terms=STATISTICS, **kwargs):
    """The last snapshot of a small synthesis."""
    stages = stages or [stage(batch=len(labels))]
    return list(snapshots(CLASSIFIER, stages, terms, labels, **kwargs))[-1]


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    one, two, other = (np.asarray(last(seed=s, augmentations=[ROLL, FLIP]).image) for s in (3, 3, 4))
    assert (one == two).all() and not np.allclose(one, other)


@pytest.mark.parametrize(
    "augmentations", [[], [ROLL, FLIP], [ROLL._replace(draw="image"), FLIP._replace(draw="image")]]
)
def test_an_image_does_not_depend_on_its_batch_without_coupling_terms(augmentations):
    terms = [*CROSS_ENTROPY, Term("image_norm", TERMS["image_norm"], 0.01)]
    together = last(terms=terms, augmentations=augmentations).image
    for index, label in enumerate((1, 2, 3, 4)):
        alone = last((label,), terms=terms, augmentations=augmentations, image_ids=jnp.array([index])).image
        np.testing.assert_allclose(alone[0], together[index], atol=2e-4)


def test_an_image_does_not_depend_on_its_place():
    terms = CROSS_ENTROPY
    forwards = last((1, 2), terms=terms, image_ids=jnp.array([7, 9])).image
    backwards = last((2, 1), terms=terms, image_ids=jnp.array([9, 7])).image
    np.testing.assert_allclose(forwards, backwards[::-1], atol=2e-4)


def test_clipping_keeps_the_image_within_black_and_white():
    image = np.asarray(last(stages=[stage(rate=5.0)], bounds=BOUNDS).image)
    assert (image >= np.asarray(BOUNDS[0])).all() and (image <= np.asarray(BOUNDS[1])).all()
    assert np.abs(np.asarray(last(stages=[stage(rate=5.0)]).image)).max() > 5


def test_losses_go_down():
    stages = [stage(steps=60, rate=0.1)]
    assert last(stages=stages, seed=1).metrics.total < last(stages=[stage(steps=1)], seed=1).metrics.total * 0.9


@pytest.mark.parametrize("upsample", ["pool", "resize"])
def test_stages_run_one_after_another_at_their_sizes(upsample):
    stages = [stage(steps=4, size=8, upsample=upsample), stage(steps=3, size=16, upsample=upsample)]
    taken = list(snapshots(CLASSIFIER, stages, STATISTICS, (1, 2), log_every=2))
    assert [(s.stage, s.step, s.stage_step, s.stage_done) for s in taken] == [
        (0, 2, 2, False), (0, 4, 4, True), (1, 6, 2, False), (1, 7, 3, True)]  # fmt: skip
    assert all(s.image.shape == (2, 16, 16, 3) for s in taken)


def test_the_pooled_stage_moves_the_pixels_of_a_window_alike_and_the_resized_one_leaves_no_noise():
    start = np.asarray(synthesis.initial_noise(jax.random.key(0), jnp.arange(4, dtype=jnp.uint32), (16, 16)))
    moved = np.asarray(last(stages=[stage(size=8)]).image) - start
    windows = moved.reshape(4, 8, 2, 8, 2, 3)
    np.testing.assert_allclose(windows, np.broadcast_to(windows[:, :, :1, :, :1], windows.shape), atol=1e-5)
    smooth = np.asarray(last(stages=[stage(size=8, upsample="resize")]).image)
    assert np.abs(np.diff(smooth, axis=1)).mean() < 0.7 * np.abs(np.diff(start + moved, axis=1)).mean()


def test_average_pooling_to_sizes_that_divide_and_that_do_not():
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3))
    expected = x.reshape(2, 3, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(average_pool_to(jnp.asarray(x, jnp.float32), (3, 3)), expected, atol=1e-6)
    # Size 4 from 6: each output pixel covers one and a half source pixels.
    weights = np.array([[2, 1, 0, 0, 0, 0], [0, 1, 2, 0, 0, 0], [0, 0, 0, 2, 1, 0], [0, 0, 0, 0, 1, 2]]) / 3
    expected = np.einsum("ih,jw,nhwc->nijc", weights, weights, x)
    np.testing.assert_allclose(average_pool_to(jnp.asarray(x, jnp.float32), (4, 4)), expected, atol=1e-5)


def test_best_keeps_each_images_lowest_score_of_the_last_stage():
    # A learning rate that blows the image up after a few good steps: the last iterate is worse than the best.
    wild = stage(steps=12, rate={"schedule": "exponential", "start": 0.02, "end": 20.0})
    stages = [stage(steps=20, size=8, rate=0.1), wild]
    best, final = (last(stages=stages, terms=CROSS_ENTROPY, keep=keep) for keep in ("best", "last"))
    losses = [float(loss_of(s.image)) for s in (best, final)]
    assert losses[0] < losses[1]


def test_best_ranks_by_the_objective_alone():
    """Without a cross-entropy in it, images are kept of the one step whose total is the lowest."""
    wild = stage(steps=12, rate={"schedule": "exponential", "start": 0.02, "end": 20.0})
    terms = [Term("total_variation", TERMS["total_variation"], 1e-3)]
    totals = []
    for s in snapshots(CLASSIFIER, [wild], terms, keep="best", log_every=1):
        totals.append(float(s.metrics.total))
    assert min(totals) < totals[-1]
    np.testing.assert_allclose(1e-3 * TERMS["total_variation"](s.image), min(totals), rtol=1e-6)


def loss_of(image):
    result = CLASSIFIER.forward(CLASSIFIER.variables, image, jnp.array([1, 2, 3, 4]))
    return TERMS["cross_entropy"](result.logits, result.labels)


@pytest.mark.parametrize("at", [2, 4, 6])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_resuming_gives_the_same_bits(at, keep):
    stages = [stage(steps=4, size=8), stage(steps=4, size=16)]
    options = dict(stages=stages, augmentations=[ROLL, FLIP], bounds=BOUNDS, keep=keep)
    whole = last(**options).image
    for snapshot in snapshots(CLASSIFIER, terms=STATISTICS, checkpoint_every=2, **options):
        if snapshot.step == at:
            leaves = None if snapshot.stage_done else [np.asarray(leaf) for leaf in jax.tree.leaves(snapshot.state)]
            resume = synthesis.Resume(
                snapshot.stage + snapshot.stage_done,
                leaves,
                np.asarray(snapshot.image) if snapshot.stage_done else None,
            )
            break
    assert (np.asarray(last(**options, resume=resume).image) == np.asarray(whole)).all()


def test_roll_and_flip_are_the_circular_roll_and_the_mirror():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(7, 6, 3)), jnp.float32)
    seen = set()
    for seed in range(40):
        rolled = AUGMENTATIONS["roll"](jax.random.key(seed), image, max_shift=1)
        matches = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (np.roll(image, (i, j), (0, 1)) == rolled).all()]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 9
    flipped = [bool((AUGMENTATIONS["flip"](jax.random.key(s), image) == image[:, ::-1]).all()) for s in range(40)]
    assert 8 < sum(flipped) < 32


def test_batch_draws_are_shared_and_image_draws_are_not():
    image = jnp.broadcast_to(jnp.arange(16.0).reshape(1, 16, 1, 1), (4, 16, 16, 3))
    keys = step_keys((jax.random.key(0), jnp.arange(4, dtype=jnp.uint32)), 0)
    shared = augment_batch([ROLL], *keys, image)
    own = augment_batch([ROLL._replace(draw="image")], *keys, image)
    assert (shared == shared[:1]).all() and not (own == own[:1]).all()


def test_warmup_cosine_equals_the_published_formula():
    steps, warmup, peak = 50, 10, 0.25
    schedule = warmup_cosine(steps, peak=peak, warmup=warmup)
    for t in range(steps):
        expected = (
            peak * (t + 1) / warmup
            if t < warmup
            else 0.5 * (1 + np.cos(np.pi * (t - warmup) / (steps - warmup))) * peak
        )
        np.testing.assert_allclose(schedule(t), expected, rtol=1e-4)


def test_any_optax_optimizer_by_name():
    for name in ("sgd", "adamw", "lion", "rmsprop"):
        assert np.isfinite(last(stages=[stage(steps=2, optimizer=name)]).image).all()


def test_a_stage_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="larger than the image"):
        last(stages=[stage(size=32)])


def test_pixels_parameterizations_render_the_full_size():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    for way in (pooled_pixels, partial(staged, pixels, "resize")):
        parameterization = way((16, 16), (8, 8))
        params = parameterization.init(image)
        assert parameterization.render(params).shape == (2, 16, 16, 3)
        assert parameterization.view(params).shape == (2, 8, 8, 3)


def magnitudes(image):
    """(frequency in cycles per pixel, summed magnitude) of every bin of a 16 px image's spectrum."""
    spectrum = np.abs(np.fft.fft2(np.asarray(image, np.float64), axes=(1, 2))).sum(axis=(0, 3))
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None])
    return frequency, spectrum


def test_a_low_pass_that_relaxes_leaves_after_each_step_what_its_schedule_lets_through():
    relaxed = stage(steps=4, low_pass={"schedule": "linear", "start": 0.1, "end": 0.4})
    shown = list(snapshots(CLASSIFIER, [relaxed], CROSS_ENTROPY, log_every=1))
    for snapshot, cutoff in zip(shown, (0.1, 0.2, 0.3, 0.4), strict=True):
        frequency, spectrum = magnitudes(snapshot.image)
        assert (
            spectrum[frequency > cutoff + 1e-6].max()
            < 1e-3
            < spectrum[(frequency > cutoff - 0.1) & (frequency > 0)].max()
        )
    plain = list(snapshots(CLASSIFIER, [stage(steps=4)], CROSS_ENTROPY))
    open_all = list(snapshots(CLASSIFIER, [stage(steps=4, low_pass=0.8)], CROSS_ENTROPY))
    np.testing.assert_allclose(plain[-1].image, open_all[-1].image, atol=1e-4)


def test_a_low_pass_needs_pixels():
    of_spectra = stage(low_pass=0.2, parameterization="fourier")
    with pytest.raises(UsageError, match=r"stages\[0\]: cannot be carried out: low_pass: removes frequencies of plain"):
        next(snapshots(CLASSIFIER, [of_spectra], CROSS_ENTROPY))
