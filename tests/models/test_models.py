"""The registry, the Classifier's preprocessing and forward, and what every network promises."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jinv.errors import NumericalError, UsageError
from jinv.models.architecture import EMBEDDED
from jinv.models.classifier import Classifier
from jinv.models.efficientnet_lite import same_padding
from jinv.models.layers import BatchNorm
from jinv.models.ops import for_shapes
from jinv.models.registry import ARCHITECTURES, get_architecture
from tests.converter.reduced import REDUCED
from tests.networks import tiny_classifier


def random_image(*shape: int, dtype=jnp.float32) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape, dtype)


def with_clamp(clamp) -> Classifier:
    return replace(tiny_classifier(), clamp=clamp)


# --- registry ---------------------------------------------------------------------------------------------------------


def test_registry_names_agree_and_embedded_ones_exist():
    assert all(name == architecture.name for name, architecture in ARCHITECTURES.items())
    lite = {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}
    assert set(EMBEDDED) == lite | {"squeezenet1_1_caffe"}
    assert ARCHITECTURES["efficientnet_lite0"].embedded == EMBEDDED["efficientnet_lite0"]
    assert ARCHITECTURES["resnet50"].embedded is None


@pytest.mark.parametrize(
    ("name", "parameters", "norms"),
    [
        ("efficientnet_lite0", 4_652_008, 49),
        ("efficientnet_lite1", 5_416_680, 64),
        ("efficientnet_lite2", 6_092_072, 64),
        ("resnet50", 25_557_032, 53),
        ("resnet50d", 25_576_264, 55),
        ("resnext50_32x4d", 25_028_904, 53),
        ("wide_resnet50_2", 68_883_240, 53),
        ("vgg16_bn", 138_365_992, 13),
        ("mobilenet_v1", 4_231_976, 27),
        ("mobilenet_v2", 3_504_872, 52),
        ("mobilenet_v2_flat", 3_504_872, 52),
        ("densenet121", 7_978_856, 121),
        ("efficientnet_b0", 5_288_548, 49),
        ("mobilenet_v3_small", 2_542_856, 34),
        ("mobilenet_v3_large", 5_483_032, 46),
        ("shufflenet_v2_x0_5", 1_366_792, 56),
        ("shufflenet_v2_x1_0", 2_278_604, 56),
        ("regnet_y_400mf", 4_344_144, 53),
        ("regnet_x_400mf", 5_495_976, 71),
        ("densenet161", 28_681_000, 161),
        ("densenet201", 20_013_928, 201),
        ("googlenet", 6_624_904, 57),
        ("inception_v3", 23_834_568, 94),
        ("resnet20", 269_722, 19),
        ("resnet18_cifar", 11_173_962, 20),
        ("preactresnet18", 11_171_146, 16),
        ("wrn_28_10", 36_479_194, 25),
        ("wrn_34_10", 46_160_474, 31),
        ("vgg16_bn_cifar", 14_728_266, 13),
        ("squeezenet1_1", 1_235_496, 0),
        ("squeezenet1_1_caffe", 1_235_496, 0),
    ],
)
def test_networks_have_the_published_number_of_parameters(name, parameters, norms):
    architecture = get_architecture(name)
    size = architecture.min_size
    module = architecture.make(architecture.num_classes)
    with for_shapes():
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    assert len(flatten_dict(variables.get("batch_stats", {}))) == 2 * norms


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'resnet152'"):
        get_architecture("resnet_152")


# --- every network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
def test_every_layer_is_a_named_module_whose_activation_can_be_captured(name):
    module = REDUCED[name].make(10)
    image = random_image(2, REDUCED[name].min_size + 1, REDUCED[name].min_size + 8, 3)
    with for_shapes():
        variables = jax.eval_shape(module.init, jax.random.key(0), image)
        (logits, norm_stats), captured = jax.eval_shape(
            lambda v, x: module.apply(v, x, capture_intermediates=True, mutable=["intermediates"]), variables, image
        )
    assert logits.shape == (2, 10)
    layers = {path[:-1] for path in flatten_dict(variables["params"])}
    assert layers <= {path[:-1] for path in flatten_dict(captured["intermediates"])}
    running = flatten_dict(variables.get("batch_stats", {}))
    assert len(norm_stats) == len(running) // 2


def test_norm_statistics_are_in_network_order():
    classifier = tiny_classifier(blocks=2)
    order = ["bn1"] + [f"layer{s}_{b}/bn{n}" for s in (1, 2, 3) for b in (0, 1) for n in (1, 2)]
    flat = flatten_dict(classifier.variables, sep="/")
    for place, name in enumerate(order):
        flat[f"batch_stats/{name}/mean"] = jnp.full_like(flat[f"batch_stats/{name}/mean"], place)
    variables = unflatten_dict(flat, sep="/")
    norm_stats = jax.jit(classifier.forward)(variables, random_image(2, 16, 16, 3)).norm_stats
    assert [int(layer.running_mean[0]) for layer in norm_stats] == list(range(len(order)))


def test_norm_statistics_describe_the_input_over_the_batch():
    classifier = tiny_classifier()
    image = random_image(3, 12, 10, 3)

    @jax.jit
    def captured(variables, image):
        return classifier.module.apply(variables, image, capture_intermediates=True, mutable=["intermediates"])

    (_, stats), activations = captured(classifier.variables, image)
    activation = np.asarray(activations["intermediates"]["conv1"]["__call__"][0], np.float64)
    assert stats[0].count == 3 * 12 * 10
    np.testing.assert_allclose(stats[0].batch_mean, activation.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats[0].batch_var, activation.var((0, 1, 2)), rtol=1e-4)


HALF = [
    "small_resnet_bottleneck",
    "small_efficientnet_lite",
    "small_densenet",
    "small_efficientnet",
    "small_mobilenet_v3",
    "small_shufflenet",
    "small_regnet_y",
]


@pytest.mark.parametrize("name", HALF)
def test_bfloat16_images_are_computed_in_bfloat16_with_float32_statistics(name):
    module = REDUCED[name].make(10)
    image = random_image(2, 32, 32, 3, dtype=jnp.bfloat16)
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    (logits, norm_stats), captured = jax.eval_shape(
        lambda v, x: module.apply(v, x, capture_intermediates=True, mutable=["intermediates"]), variables, image
    )
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in norm_stats for leaf in leaf[:4]} == {jnp.dtype("float32")}
    activations, parameters = flatten_dict(captured["intermediates"]), flatten_dict(variables["params"])
    convolutions = [path[:-1] for path, leaf in parameters.items() if leaf.ndim == 4]
    assert {activations[(*path, "__call__")][0].dtype for path in convolutions} == {jnp.dtype("bfloat16")}


def test_lite_pads_are_those_of_the_nominal_size():
    assert same_padding(224, 3, 2) == ((0, 1), (0, 1))
    assert same_padding(15, 5, 2) == ((2, 2), (2, 2))
    assert same_padding(7, 5, 1) == ((2, 2), (2, 2))


# --- Classifier -------------------------------------------------------------------------------------------------------


def test_every_pixel_value_survives_the_round_trip():
    classifier = tiny_classifier()
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    image = classifier.preprocess(pixels)
    assert image.dtype == jnp.float32
    np.testing.assert_allclose(image[0, 0, 0], -np.array(classifier.mean) / classifier.std, rtol=1e-6)
    np.testing.assert_array_equal(classifier.to_uint8(image), pixels)


def test_to_uint8_rounds_clips_and_refuses_nan():
    classifier = replace(tiny_classifier(), mean=(0.0,) * 3, std=(1.0,) * 3)
    image = np.array([-1, 0.6 / 255, 0.4 / 255, 254.6 / 255, 2, np.inf]).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(classifier.to_uint8(image).ravel(), [0, 1, 0, 255, 255, 255])
    with pytest.raises(NumericalError, match="1 of 6"):
        classifier.to_uint8(np.where(image == 2, np.nan, image))


@pytest.mark.parametrize("pixels", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)])
def test_preprocess_takes_uint8_batches_only(pixels):
    with pytest.raises(UsageError, match="uint8"):
        tiny_classifier().preprocess(pixels)


def test_forward_takes_any_shape_from_the_smallest_up():
    classifier = tiny_classifier()
    result = jax.eval_shape(classifier.forward, classifier.variables, random_image(2, 8, 13, 3))
    assert result.logits.shape == (2, 10) and result.labels is None and result.student_logits is None
    with pytest.raises(UsageError, match="7x13.*at least 8 pixels"):
        classifier.forward(classifier.variables, random_image(2, 7, 13, 3))


def test_images_are_classified_alone_but_measured_together():
    classifier = tiny_classifier()
    image = random_image(4, 16, 16, 3)
    forward = jax.jit(classifier.forward)
    together = forward(classifier.variables, image)
    alone = [forward(classifier.variables, image[i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(together.logits, jnp.concatenate([one.logits for one in alone]), rtol=1e-4, atol=1e-5)
    means = jnp.stack([one.norm_stats[3].batch_mean for one in alone])
    np.testing.assert_allclose(together.norm_stats[3].batch_mean, means.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("clamp", "outside_moves"), [(False, True), (True, False), ("straight-through", True)])
def test_clamp_limits_pixels_before_the_network(clamp, outside_moves):
    classifier, plain = with_clamp(clamp), with_clamp(False)
    image = classifier.preprocess(np.full((1, 8, 8, 3), 255, np.uint8))
    beyond = image.at[0, 0, 0, 0].add(3.0)

    @partial(jax.jit, static_argnums=1)
    def logit(image, classifier):
        return classifier.forward(classifier.variables, image).logits[0, 0]

    limited = plain if clamp is False else classifier
    expected = logit(beyond if clamp is False else image, plain)
    np.testing.assert_allclose(logit(beyond, limited), expected, rtol=1e-5)
    gradient = jax.grad(logit)(beyond, classifier)
    assert bool(gradient[0, 0, 0, 0] != 0) == outside_moves
    # On the bound itself the gradient passes whole, as torch.clamp's does.
    np.testing.assert_allclose(jax.grad(logit)(image, classifier), jax.grad(logit)(image, plain), rtol=1e-5, atol=1e-9)


def test_at_inference_a_batch_norms_statistics_are_taken_last():
    """Nothing depends on the order but the last bits of every run, which a change of version is not to change unawares."""
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)))
    program = jax.make_jaxpr(norm.apply)(variables, jnp.ones((2, 4, 4, 3))).jaxpr
    names = [equation.primitive.name for equation in program.eqns]
    assert names[-1].startswith("custom_vjp_call") and names.count(names[-1]) == 1, names
