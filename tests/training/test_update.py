"""One update beside PyTorch's, attacks beside NumPy's, views beside what they say of themselves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinv.core.augment import Augmentation, flip, padded_crop
from jinv.models.classifier import Classifier
from jinv.models.registry import ARCHITECTURES
from jinv.training.accuracy import recognised
from jinv.training.adversary import Adversary, Bounds, attacked
from jinv.training.initial import initial_variables
from jinv.training.method import Method, Teacher, cross_entropy
from jinv.training.training import Program, Training, training_forward
from jinv.training.views import Data, Views, view
from jinv_convert.reference import make_reference
from tests.converter.checkpoint_files import randomize
from tests.networks import tiny_classifier
from tests.parity.torch_oracle import flax_variables

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(3)


def pictures(count=24, side=16, seed=0):
    random = np.random.default_rng(seed)
    pixels = jnp.asarray(random.integers(0, 256, (count, side, side, 3)), jnp.uint8)
    return Data(pixels, jnp.asarray(random.integers(0, 10, count), jnp.int32))


def test_updates_are_torchs_with_batch_statistics_momentum_and_weight_decay():
    """Three steps of SGD on a ResNet-20 in float64: parameters and running statistics."""
    torch = pytest.importorskip("torch")
    architecture = ARCHITECTURES["resnet20"]
    reference = make_reference("resnet20").double()
    randomize(reference)
    images = np.random.default_rng(1).normal(size=(6, 16, 16, 3))
    labels = np.array([1, 2, 3, 3, 0, 9])
    with jax.enable_x64(True):
        variables = flax_variables("resnet20", reference.state_dict())
        module = architecture.make(10)
        optimizer = optax.chain(optax.add_decayed_weights(5e-2), optax.sgd(0.1, momentum=0.9, nesterov=True))
        params, stats = variables["params"], variables["batch_stats"]
        state = optimizer.init(params)
        classifier = Classifier("resnet20", module, variables, (0.5,) * 3, (0.25,) * 3, 16, 8, tuple("abcdefghij"))

        @jax.jit
        def update(params, stats, state):
            def loss(params):
                logits, changed = training_forward(classifier, params, stats, jnp.asarray(images))
                return cross_entropy(logits, jax.nn.one_hot(labels, 10, dtype=jnp.float64)).mean(), changed

            gradients, changed = jax.grad(loss, has_aux=True)(params)
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), changed, state

        for _ in range(3):
            params, stats, state = update(params, stats, state)

        reference.train()
        sgd = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-2)
        for _ in range(3):
            sgd.zero_grad()
            logits = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
            logits = logits[0] if isinstance(logits, tuple) else logits
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
            sgd.step()
        expected = flax_variables("resnet20", reference.state_dict())
        for name, found in (("params", params), ("batch_stats", stats)):
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected[name]), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def linear_gradient(weights):
    """The gradient of `sum(w x^2) / 2`, which NumPy takes as well."""
    return lambda x: x * weights


STD = np.array([0.2, 0.25, 0.5], np.float32)
BOUNDS = Bounds(jnp.asarray(-0.5 / STD), jnp.asarray(0.5 / STD))


def test_noisy_gradient_sign_is_its_equation_and_leaves_the_ball():
    random = np.random.default_rng(0)
    image = (random.uniform(-0.4, 0.4, (2, 5, 5, 3)) / STD).astype(np.float32)
    weights = random.normal(size=image.shape).astype(np.float32)
    found = attacked(
        Adversary("n_fgsm", 8 / 255), KEY, jnp.asarray(image), linear_gradient(weights), jnp.asarray(STD), BOUNDS
    )
    eta = np.asarray(jax.random.uniform(KEY, image.shape, jnp.float32, -1, 1)) * (2 * 8 / 255 / STD)
    expected = image + eta + 8 / 255 / STD * np.sign((image + eta) * weights)
    np.testing.assert_allclose(found, np.clip(expected, -0.5 / STD, 0.5 / STD), atol=1e-5)
    moved = np.abs(np.asarray(found) - image) * STD * 255
    assert 16 < moved.max() <= 24.01  # noise of twice eps, a step of eps, not brought back


def test_projected_gradient_descent_is_its_equation_and_stays_in_the_ball():
    random = np.random.default_rng(1)
    image = (random.uniform(-0.5, 0.5, (2, 5, 5, 3)) / STD).astype(np.float32)
    weights = random.normal(size=image.shape).astype(np.float32)
    adversary = Adversary("pgd", 8 / 255, 3 / 255, steps=4)
    found = np.asarray(attacked(adversary, KEY, jnp.asarray(image), linear_gradient(weights), jnp.asarray(STD), BOUNDS))
    eps, step = 8 / 255 / STD, 3 / 255 / STD
    x = np.clip(
        image + np.asarray(jax.random.uniform(KEY, image.shape, jnp.float32, -1, 1)) * eps, -0.5 / STD, 0.5 / STD
    )
    for _ in range(4):
        x = np.clip(np.clip(x + step * np.sign(x * weights), image - eps, image + eps), -0.5 / STD, 0.5 / STD)
    np.testing.assert_allclose(found, x, atol=1e-5)
    assert np.max(np.abs(found - image) * STD) <= 8 / 255 + 1e-6


def test_an_attack_finds_what_a_network_gets_wrong():
    classifier, data = tiny_classifier(), pictures(20)
    logits = classifier.forward(classifier.variables, classifier.preprocess(np.asarray(data.pixels))).logits
    data = data._replace(labels=jnp.argmax(logits, axis=1).astype(jnp.int32))
    assert recognised(classifier, classifier.variables, data).all()
    assert recognised(classifier, classifier.variables, data, Adversary("pgd", 8 / 255, steps=10), KEY).mean() < 0.6


def test_a_view_is_a_function_of_epoch_and_place_whatever_the_batch():
    views = Views(
        (Augmentation("padded_crop", padded_crop, {"padding": 2}, "image"), Augmentation("flip", flip, {}, "image")),
        "cutmix",
    )
    show = jax.jit(partial(view, views, tiny_classifier(), KEY, pictures()))
    together = show(jnp.array(5), jnp.array([3, 8, 1, 11]))
    apart = show(jnp.array(5), jnp.array([11, 3, 3, 3]))
    np.testing.assert_array_equal(together.image[3], apart.image[0])
    np.testing.assert_array_equal(together.image[0], apart.image[1])
    assert not np.array_equal(together.image, show(jnp.array(6), jnp.array([3, 8, 1, 11])).image)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_targets_say_what_share_of_the_view_is_whose(mix):
    """Pictures of one colour each: what a view shows of whom can be read off it."""
    count = 10
    grey = np.repeat(np.linspace(0, 255, count).round().astype(np.uint8), 16 * 16 * 3).reshape(count, 16, 16, 3)
    data = Data(jnp.asarray(grey), jnp.arange(count, dtype=jnp.int32))
    classifier = tiny_classifier()
    shown = view(Views(mix=mix), classifier, KEY, data, jnp.array(0), jnp.arange(count))
    values = np.asarray(classifier.to_uint8(shown.image)).astype(float).mean(axis=(1, 2, 3))
    expected = np.asarray(shown.target) @ np.linspace(0, 255, count).round()
    np.testing.assert_allclose(values, expected, atol=0.6)
    np.testing.assert_allclose(np.asarray(shown.target).sum(axis=1), 1, atol=1e-6)
    partners = (np.asarray(shown.target) > 0).sum(axis=1)
    assert partners.max() == 2  # and everybody is mixed with somebody, as far as a draw goes
    assert (partners == 2).mean() > 0.5


def test_a_crop_shows_the_picture_moved_and_mirrors_its_rim():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(8, 9, 3)), jnp.float32)
    padded = np.pad(np.asarray(image), ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = [padded[top : top + 8, left : left + 9] for top in range(7) for left in range(7)]
    seen = set()
    for seed in range(40):
        found = np.asarray(padded_crop(jax.random.key(seed), image, padding=3))
        seen.update(i for i, window in enumerate(windows) if np.array_equal(window, found))
    assert len(seen) > 20


def test_first_weights_have_the_variance_that_keeps_activations():
    variables = initial_variables(ARCHITECTURES["resnet20"].make(10), 8, KEY)
    kernel = np.asarray(variables["params"]["layer3_1"]["conv2"]["kernel"])
    assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert abs(kernel.mean()) < 1e-3
    others = initial_variables(ARCHITECTURES["resnet20"].make(10), 8, jax.random.key(4))
    assert not np.array_equal(kernel, others["params"]["layer3_1"]["conv2"]["kernel"])


def method(**more):
    return Method(tiny_classifier(), optax.sgd(0.05, momentum=0.9), optax.constant_schedule(0.05), **more)


def test_a_network_learns_its_pictures_by_heart_and_its_teachers_answers():
    data, variables = pictures(), tiny_classifier().variables
    training = Training(Program(method(), 24, 12), data, KEY)
    state = training.begin(variables)
    losses = []
    for step in range(60):
        state = training.update(state)
        if step % 2:
            losses.append(float(state.sums.loss / state.sums.images))
    assert losses[-1] < 0.1 * losses[0]
    taught = Training(Program(method(teacher=Teacher(tiny_classifier(seed=7), 4.0)), 24, 12), data, KEY)
    state = taught.begin(variables)
    for _ in range(100):
        state = taught.update(state)
    assert float(state.sums.right / state.sums.images) > 0.9


def test_an_average_follows_slowly_and_forgets_the_beginning():
    data, variables = pictures(), tiny_classifier().variables
    plain, averaged = (
        Training(Program(method(), 24, 12), data, KEY),
        Training(Program(method(average=0.9), 24, 12), data, KEY),
    )
    one, other = plain.begin(variables), averaged.begin(variables)
    expected = variables["params"]["conv1"]["kernel"]
    for step in range(8):
        one, other = plain.update(one), averaged.update(other)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * one.params["conv1"]["kernel"]
    np.testing.assert_allclose(averaged.result(other)["params"]["conv1"]["kernel"], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.params["conv1"]["kernel"], other.params["conv1"]["kernel"], atol=1e-6)
