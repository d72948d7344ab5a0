"""A batch in chunks: statistics, values and gradients of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.augment import AUGMENTATIONS, Augmentation, augment_batch
from jinv.core.chunked import chunked, combined_moments
from jinv.core.contract.inputs import recorded_stats
from jinv.core.objective import TERMS, Term, evaluate_terms, term_fields
from jinv.core.step import step_keys
from tests.core.test_terms import CASES
from tests.networks import tiny_classifier

pytestmark = pytest.mark.usefixtures("unoptimized")

BATCH = 7
AUGMENTATIONS_USED = [
    Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": 2}),
    Augmentation("flip", AUGMENTATIONS["flip"], {}, "image"),
]


def value_and_gradient(chunk, terms, dtype, blocks=0):
    """Total and image gradient of a batch through the tiny network, augmentations included."""
    classifier = tiny_classifier(blocks=blocks)
    recorded = {name: recorded_stats(channels) for name, channels in (("image", 3), ("conv1", 4), ("bn1", 4))}
    classifier = classifier.with_statistics(recorded, "digest").with_features()
    variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), classifier.variables)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, 16, 16, 3)) + 0.5, dtype)
    labels = jnp.arange(BATCH, dtype=jnp.int32) // 2
    keys = step_keys((jax.random.key(0), jnp.arange(BATCH, dtype=jnp.uint32)), 3)

    def teacher(variables, image, labels):
        result = classifier.forward(variables, image, labels)
        return result._replace(student_logits=result.logits * 0.5)

    forward = teacher if chunk is None else chunked(teacher, chunk)

    def total(image):
        result = forward(variables, augment_batch(AUGMENTATIONS_USED, *keys, image), labels)
        return evaluate_terms(terms, result, 0)[0]

    return jax.jit(jax.value_and_grad(total))(image)


def all_terms():
    """Every term with every choice of hyperparameters, each with a weight of its own."""
    return [Term(f"{name}{i}", TERMS[name], 0.1 + 0.01 * i, kwargs) for i, (name, kwargs) in enumerate(CASES)]


def each_term():
    return [Term(name, TERMS[name], 0.1) for name in TERMS]


def test_every_terms_value_and_gradient_are_the_whole_batchs_in_float64():
    with jax.enable_x64(True):
        expected, gradient = value_and_gradient(None, all_terms(), jnp.float64, blocks=1)
        actual, actual_gradient = value_and_gradient(3, all_terms(), jnp.float64, blocks=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert np.abs(actual_gradient - gradient).max() < 1e-12 * np.abs(gradient).max()


def test_whatever_the_chunk_float32_gradients_agree_to_rounding():
    expected, gradient = value_and_gradient(None, each_term(), jnp.float32)
    for chunk in (1, 2):
        actual, actual_gradient = value_and_gradient(chunk, each_term(), jnp.float32)
        np.testing.assert_allclose(actual, expected, rtol=2e-6)
        assert np.linalg.norm(actual_gradient - gradient) < 1e-5 * np.linalg.norm(gradient)


def test_the_mean_of_the_chunks_own_gradients_would_be_another_one():
    """What the second pass is for: with terms of norm_stats alone, chunks' own statistics give another gradient."""
    terms = [term for term in each_term() if "norm_stats" in term_fields(term.function)]
    classifier = tiny_classifier(blocks=0)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)

    def total(image):
        return evaluate_terms(terms, classifier.forward(classifier.variables, image, None), 0)[0]

    whole = np.asarray(jax.grad(total)(image))
    halves = np.concatenate([jax.grad(total)(image[:2]), jax.grad(total)(image[2:])]) / 2
    assert np.linalg.norm(halves - whole) > 0.05 * np.linalg.norm(whole)


def test_combined_moments_are_those_of_all_values_also_far_from_zero():
    random = np.random.default_rng(0)
    counts = np.array([5, 1, 30])
    # A mean of a thousand deviations: E[x^2] - m^2 in float32 would have no digit left.
    parts = [random.normal(1000 * np.array([1, -1]), 1.0, size=(n, 2)).astype(np.float32) for n in counts]
    own = [np.stack([getattr(part.astype(np.float64), name)(0) for part in parts]) for name in ("mean", "var")]
    mean, var = combined_moments(*(jnp.asarray(x, jnp.float32) for x in own), jnp.asarray(counts, jnp.float32))
    everything = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, everything.var(0), rtol=1e-3)


def test_the_program_of_a_chunked_batch_needs_less_memory():
    classifier = tiny_classifier()
    image, labels = jax.ShapeDtypeStruct((16, 32, 32, 3), jnp.float32), jax.ShapeDtypeStruct((16,), jnp.int32)

    def buffers(forward):
        def total(image, labels):
            return evaluate_terms(terms, forward(classifier.variables, image, labels), 0)[0]

        return jax.jit(jax.grad(total)).lower(image, labels).compile().memory_analysis().temp_size_in_bytes

    terms = [Term("feature_statistics", TERMS["feature_statistics"])]
    assert buffers(chunked(classifier.forward, 2)) < 0.4 * buffers(classifier.forward)


def test_a_chunk_without_images_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        chunked(tiny_classifier().forward, 0)
