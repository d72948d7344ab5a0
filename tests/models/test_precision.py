"""bfloat16 and TF32: what stays float32, how near the numbers stay, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.objective import TERMS, Term, evaluate_terms
from jinv.errors import UsageError
from jinv.models.precision import check_precision, matmul_precision, with_precision
from jinv.models.registry import ARCHITECTURES
from tests.networks import tiny_classifier

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)
LABELS = jnp.arange(4, dtype=jnp.int32)


def values(classifier):
    """Forward, total and image gradient."""
    terms = [Term(name, TERMS[name], 0.1) for name in ("cross_entropy", "total_variation", "feature_statistics")]

    @jax.jit
    def both(image):
        def total(image):
            result = classifier.forward(classifier.variables, image, LABELS)
            return evaluate_terms(terms, result, 0)[0], result

        return jax.value_and_grad(total, has_aux=True)(image)

    (total, result), gradient = both(IMAGE)
    return result, total, gradient


def test_bfloat16_keeps_image_statistics_losses_and_gradient_in_float32_near_the_exact_ones():
    exact, half = values(tiny_classifier()), values(with_precision(tiny_classifier(), "bf16").prepared())
    for leaf in jax.tree.leaves(half):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    (expected, total, gradient), (result, half_total, half_gradient) = exact, half
    assert (np.asarray(result.image) == np.asarray(IMAGE)).all()
    # bfloat16 has 8 bits: 0.4 % per rounding, a few of them on the way.
    np.testing.assert_allclose(half_total, total, rtol=0.02)
    assert 0 < np.abs(result.logits - expected.logits).max() < 0.05 * np.abs(expected.logits).max()
    for ours, theirs in zip(result.norm_stats, expected.norm_stats, strict=True):
        assert np.abs(ours.batch_mean - theirs.batch_mean).max() < 0.03 * np.sqrt(theirs.batch_var.max())
        np.testing.assert_allclose(ours.batch_var, theirs.batch_var, rtol=0.05)
        assert (np.asarray(ours.running_var) == np.asarray(theirs.running_var)).all()
    cosine = np.vdot(gradient, half_gradient) / np.linalg.norm(gradient) / np.linalg.norm(half_gradient)
    assert cosine > 0.98


def test_bfloat16_statistics_are_those_of_the_bfloat16_activations_far_from_zero():
    """The first norm's input, offset by its kernel to a mean of many deviations: its variance is still measured right."""
    classifier = with_precision(tiny_classifier(), "bf16")
    image = jnp.asarray(100 + np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)
    stats = classifier.forward(classifier.variables, image).norm_stats[0]
    kernel = np.asarray(classifier.variables["params"]["conv1"]["kernel"])
    x = jax.lax.conv_general_dilated(
        image.astype(jnp.bfloat16), kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = np.asarray(x).astype(np.float64)
    np.testing.assert_allclose(stats.batch_mean, x.mean((0, 1, 2)), rtol=0.01, atol=0.01)
    np.testing.assert_allclose(stats.batch_var, x.var((0, 1, 2)), rtol=0.02)


def test_only_kernels_become_bfloat16():
    dtypes = {
        path[-1].key: leaf.dtype
        for path, leaf in jax.tree_util.tree_leaves_with_path(with_precision(tiny_classifier(), "bf16").variables)
    }
    assert dtypes.pop("kernel") == jnp.bfloat16
    assert set(dtypes.values()) == {jnp.dtype("float32")}


def test_tf32_is_refused_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(UsageError, match="'tf32' needs an NVIDIA GPU"):
        check_precision("tf32")
    check_precision("bf16")


@pytest.mark.parametrize(("precision", "written"), [("float32", "[HIGHEST, HIGHEST]"), ("tf32", "[HIGH, HIGH]")])
def test_the_program_says_how_float32_products_are_taken(precision, written):
    x = jnp.ones((4, 4))
    with matmul_precision(precision):
        text = jax.jit(jnp.dot).lower(x, x).as_text()
    assert written in text


# Smallest image, and the number of blocks, of one network per family that has blocks.
BLOCKS = {
    "resnet20": (8, 9),
    "resnet18": (32, 8),
    "mobilenet_v2": (32, 17),
    "densenet121": (32, 58),
    "efficientnet_lite0": (32, 16),
    "efficientnet_b0": (32, 16),
    "mobilenet_v3_small": (32, 11),
    "shufflenet_v2_x0_5": (32, 16),
    "regnet_y_400mf": (32, 16),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_rematerialisation_has_the_same_variables_and_recomputes_every_block(name):
    """By tracing alone: what a block computes inside is checkpointed, and nothing is renamed."""
    size, blocks = BLOCKS[name]
    module = ARCHITECTURES[name].make(10)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)
    jaxpr = jax.make_jaxpr(lambda v, x: module.clone(remat=True).apply(v, x)[0])(shapes, image)
    # A block is one equation, and those of its norms are inside it.
    own = [equation for equation in jaxpr.eqns if equation.primitive.name == "custom_vjp_call"]
    assert sum("custom_vjp_call" in str(equation.params["call_jaxpr"]) for equation in own) == blocks


def test_rematerialisation_saves_memory_on_a_cpu_too():
    def buffers(classifier):
        def total(image):
            result = classifier.forward(classifier.variables, image, None)
            return evaluate_terms([Term("feature_statistics", TERMS["feature_statistics"])], result, 0)[0]

        image = jax.ShapeDtypeStruct((16, 32, 32, 3), jnp.float32)
        return jax.jit(jax.grad(total)).lower(image).compile().memory_analysis().temp_size_in_bytes

    classifier = tiny_classifier(blocks=3)
    assert buffers(classifier.rematerialised()) < 0.8 * buffers(classifier)


def test_rematerialisation_changes_no_value_and_vgg_has_none():
    exact, again = values(tiny_classifier()), values(tiny_classifier().rematerialised())
    np.testing.assert_allclose(again[1], exact[1], rtol=1e-6)
    np.testing.assert_allclose(again[2], exact[2], rtol=1e-4, atol=1e-6)
    vgg = replace(tiny_classifier(), architecture="vgg", module=ARCHITECTURES["vgg11_bn"].make(10))
    with pytest.raises(UsageError, match=r"remat: vgg .*image\.chunk"):
        vgg.rematerialised()
