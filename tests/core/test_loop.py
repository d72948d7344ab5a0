"""The loop as its users meet it: one compilation per stage, snapshots that stay, arguments that are looked at first."""

import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.loop import Batch, Pace, Resume, Synthesis
from jinv.core.objective import TERMS, Term
from jinv.core.program import constant
from jinv.core.step import Method
from jinv.core.sweep import sweep_batch, sweep_of
from jinv.core.synthesis import Options, clip_bounds, synthesize
from jinv.errors import NumericalError, UsageError
from tests.core.small_synthesis import snapshots, stage
from tests.networks import tiny_classifier

ROOT = Path(__file__).resolve().parents[2]
CLASSIFIER = tiny_classifier(blocks=0)
BOUNDS = clip_bounds(CLASSIFIER.mean, CLASSIFIER.std)
CROSS_ENTROPY = [Term("cross_entropy", TERMS["cross_entropy"])]
TWO_STAGES = [stage(steps=3, size=8, terms=CROSS_ENTROPY), stage(steps=2, terms=CROSS_ENTROPY)]


def batch(number, size=2):
    ids = jnp.arange(size * number, size * (number + 1), dtype=jnp.uint32)
    return Batch(jnp.arange(size, dtype=jnp.int32) + number, jax.random.key(number), ids)


def test_a_stage_is_traced_and_compiled_once_for_any_number_of_batches():
    forward = chex.assert_max_traces(CLASSIFIER.forward, n=2)
    synthesis = Synthesis(forward, [constant(s) for s in TWO_STAGES], Method((16, 16), BOUNDS))
    images = [list(synthesis.run(CLASSIFIER.variables, batch(number)))[-1].image for number in range(4)]
    assert [program.step._cache_size() for program in synthesis.programs] == [1, 1]
    chex.clear_trace_counter()
    # And each is the image of a synthesis of its own.
    for number in (0, 3):
        own = batch(number)
        alone = synthesize(
            CLASSIFIER.forward, CLASSIFIER.variables, own.labels, stages=TWO_STAGES, image_size=16, seed=number,
            options=Options(bounds=BOUNDS, image_ids=own.image_ids),
        )  # fmt: skip
        assert (np.asarray(list(alone)[-1].image) == np.asarray(images[number])).all()


def test_the_trace_that_checks_is_the_one_that_is_compiled():
    forward = chex.assert_max_traces(CLASSIFIER.forward, n=3)  # the labels' check, and one per stage
    taken = synthesize(forward, CLASSIFIER.variables, [1, 2], stages=TWO_STAGES, image_size=16)
    assert len(list(taken)) == 2
    chex.clear_trace_counter()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("upsample", ["pool", "resize"])
def test_every_snapshots_image_stays_readable(upsample, scan):
    stages = [stage(steps=4, size=8, upsample=upsample), stage(steps=3, upsample=upsample), stage(steps=2)]
    kept = list(snapshots(CLASSIFIER, stages, CROSS_ENTROPY, log_every=2, scan=scan))
    images = [np.asarray(snapshot.image) for snapshot in kept]
    assert all(np.isfinite(image).all() for image in images) and not (images[1] == images[2]).all()


def test_best_looks_at_what_the_last_update_left():
    start = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    shown = stage(steps=1, optimizer="sgd", rate=20.0)
    (best,) = snapshots(CLASSIFIER, [shown], CROSS_ENTROPY, init=start, keep="best")
    (last,) = snapshots(CLASSIFIER, [shown], CROSS_ENTROPY, init=start)

    def losses(image):
        logits = CLASSIFIER.forward(CLASSIFIER.variables, image).logits
        return -jax.nn.log_softmax(logits)[jnp.arange(4), jnp.array([1, 2, 3, 4])]

    before, after = losses(jnp.asarray(start)), losses(last.image)
    assert (after < before).any(), "a step that helps nobody tests nothing"
    for own, moved, better in zip(best.image, last.image, after < before, strict=True):
        assert (np.asarray(own) == np.asarray(moved)).all() == bool(better)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [10]}, "labels: 10 must be a class id from 0 to 9"),
        ({"labels": [-1]}, "labels: -1 must"),
        ({"labels": []}, "at least one"),
        ({"stages": []}, "at least one Stage"),
        ({"stages": [stage(steps=1)]}, r"stages\[0\].terms: at least one term"),
        ({"stages": [TWO_STAGES[0]._replace(steps=-1)]}, r"stages\[0\].steps: -1"),
        ({"stages": [TWO_STAGES[0]._replace(size=32)]}, r"stages\[0\].size: \(32, 32\) is larger"),
        ({"image_size": 0}, "image_size: 0 must be"),
        ({"init": np.zeros((1, 8, 8, 3), np.float32)}, r"init: shape \(1, 8, 8, 3\), expected \(1, 16, 16, 3\)"),
        ({"options": Options(keep="nope")}, "keep: 'nope' must be one of 'last', 'best'"),
        ({"options": Options(log_every=0)}, "log_every: 0 must be a whole number of at least 1"),
        ({"options": Options(copies=0)}, "copies: 0"),
        ({"options": Options(checkpoint_every=-2)}, "checkpoint_every: -2"),
        ({"options": Options(image_ids=np.arange(3))}, "image_ids"),
    ],
)
def test_arguments_that_cannot_be_carried_out_are_named_before_anything_is_computed(change, words):
    arguments = {"labels": [1], "stages": TWO_STAGES, "image_size": 16} | change
    labels = arguments.pop("labels")
    with pytest.raises(UsageError, match=words) as caught:
        list(synthesize(CLASSIFIER.forward, CLASSIFIER.variables, labels, **arguments))
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError)


WRONG_TYPES = """
from jinv import Stage, Term, losses, synthesize
from tests.networks import tiny_classifier

network, stages = tiny_classifier(blocks=0), [Stage((8, 8), 1, [Term("cross_entropy", losses.cross_entropy)])]
for labels, size in (([1.5], 8), ([[1]], 8), ("cat", 8), ([1], "big"), ([1], (8, 8, 3)), ([1], 8.0), ([True], 8)):
    try:
        next(synthesize(network.forward, network.variables, labels, stages=stages, image_size=size))
    except ValueError as error:
        print(type(error).__name__, error)
"""


def test_values_of_other_types_are_named_too():
    """In a process of its own: here every annotation is checked before the function is entered."""
    done = subprocess.run([sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == ["labels"] * 3 + ["image_size"] * 3 + ["labels"]
    assert all(line.startswith("UsageError") for line in lines)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (lambda image: image, "where one number is needed"),
        (lambda image: image.sum() + jnp.zeros(7)[jnp.zeros((3, 3), int)][:2] @ image, "cannot be carried out"),
        (lambda image: (_ for _ in ()).throw(ValueError("blur: 3 must be odd")), "blur: 3 must be odd"),
    ],
)
def test_what_would_fail_in_the_middle_fails_in_an_abstract_step(term, words):
    stages = [TWO_STAGES[0], stage(steps=2, terms=[Term("mine", term)])]
    with pytest.raises(UsageError, match=words) as caught:
        next(synthesize(CLASSIFIER.forward, CLASSIFIER.variables, [1], stages=stages, image_size=16))
    assert str(caught.value).startswith("stages[1]") and "\n" not in str(caught.value)


def test_an_objective_that_is_lost_is_shown_and_then_raised():
    lost = stage(steps=4, terms=[Term("lost", lambda image: jnp.sum(image) * jnp.nan)])
    seen = []
    with pytest.raises(NumericalError, match="step 2"):
        for snapshot in snapshots(CLASSIFIER, [lost], lost.terms, log_every=2):
            seen.append(float(snapshot.metrics.total))
    assert len(seen) == 1 and np.isnan(seen[0])


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_sweep_resumes_to_the_same_bits(at):
    def bind(setting):
        chosen = stage(steps=3, size=8, terms=CROSS_ENTROPY)
        return chosen._replace(terms=[Term("cross_entropy", TERMS["cross_entropy"], setting["weight"])])

    settings = {"weight": jnp.array([1.0, 2.0])}
    plain = [{"weight": 1.0}, {"weight": 2.0}]
    synthesis = sweep_of(CLASSIFIER.forward, [bind, constant(TWO_STAGES[1])], Method((16, 16), BOUNDS), plain)
    both = sweep_batch(synthesis, jnp.array([[1, 2], [3, 4]]), settings, [0, 1])
    *_, whole = synthesis.run(CLASSIFIER.variables, both)
    for snapshot in synthesis.run(CLASSIFIER.variables, both, pace=Pace(checkpoint_every=1)):
        if snapshot.step == at:
            done = snapshot.stage_done
            leaves = None if done else [np.asarray(leaf) for leaf in jax.tree.leaves(snapshot.state)]
            resume = Resume(snapshot.stage + done, leaves, np.asarray(snapshot.image) if done else None)
            break
    *_, resumed = synthesis.run(CLASSIFIER.variables, both, resume=resume)
    assert (np.asarray(resumed.image) == np.asarray(whole.image)).all()
