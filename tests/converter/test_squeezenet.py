"""SqueezeNet: the packaged Caffe weights, value for value, and which of its relatives a file is."""

import pickle
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jinv
from jinv.errors import ModelMismatchError
from jinv.judge.judge import judge
from jinv.models.architecture import EMBEDDED
from jinv.models.features import forward_with_features
from jinv.weights.cache import embedded_checkpoint
from jinv_convert.families.rules import detect_architecture
from jinv_convert.reference import make_reference
from tests.converter.checkpoint_files import randomize
from tests.converter.reduced import REDUCED, register
from tests.networks import tiny_classifier
from tests.parity.torch_oracle import flax_variables

pytestmark = pytest.mark.usefixtures("unoptimized")

NAME = "squeezenet1_1_caffe"
MEAN_BGR = (103.939, 116.779, 123.68)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JINV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield jinv.load(NAME)


@pytest.fixture(scope="module")
def published():
    """As the package itself reads them; the file's digest is the one that the registry names, and it names numpy alone."""
    return pickle.loads(embedded_checkpoint(NAME).read_bytes())


def test_every_weight_is_the_files_own(network, published):
    params, places = network.variables["params"], {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}
    layers = {"conv1": params["features_0"], "conv10": params["classifier_1"]}
    for place, number in places.items():
        for ours, theirs in (("squeeze", "squeeze1x1"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
            layers[f"fire{number}/{theirs}"] = params[f"features_{place}"][ours]
    assert layers.keys() == published.keys() and len(layers) == 26
    for name, layer in layers.items():
        kernel, bias = published[name]
        # The first kernel sees blue, green and red; ours red, green and blue.
        np.testing.assert_array_equal(layer["kernel"], kernel[:, :, ::-1] if name == "conv1" else kernel)
        np.testing.assert_array_equal(layer["bias"], bias)
    assert network.source["source_sha256"] == EMBEDDED[NAME].sha256


def test_it_computes_what_caffes_preprocessing_and_the_file_say(network, published):
    """Another way through: pixels turned to BGR, torch, the file's own kernels."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 63, 96, 3), np.uint8)
    x = pixels[..., ::-1] - np.array(MEAN_BGR)

    def conv(x, name, stride=1, pads=(0, 0, 0, 0)):
        kernel, bias = (torch.tensor(part.astype(np.float64)) for part in published[name])
        x = torch.nn.functional.pad(x, pads)
        return torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride)

    # 63 is odd: SAME pads one row before and one behind; 96 columns are even: one behind alone.
    x = conv(torch.tensor(x).permute(0, 3, 1, 2), "conv1", 2, (0, 1, 1, 1)).relu()
    x = torch.nn.functional.max_pool2d(x, 3, 2)
    for number in range(2, 10):
        squeezed = conv(x, f"fire{number}/squeeze1x1").relu()
        wide = conv(squeezed, f"fire{number}/expand3x3", pads=(1, 1, 1, 1))
        x = torch.cat([conv(squeezed, f"fire{number}/expand1x1"), wide], 1).relu()
        x = torch.nn.functional.max_pool2d(x, 3, 2) if number in (3, 5) else x
    logits, features = conv(x, "conv10").mean((2, 3)).numpy(), x.mean((2, 3)).numpy()
    forward, found = forward_with_features(network, network.variables, network.preprocess(pixels))
    np.testing.assert_allclose(forward.logits, logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-4 * np.abs(features).max())
    assert forward.norm_stats == ()


def test_it_judges_without_statistics(network):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    judgement = judge(network, pictures)
    assert judgement.features.shape == (2, 512) and judgement.norm_stats == ()


def test_torchvisions_features_are_what_its_last_convolution_is_given(monkeypatch):
    register(monkeypatch)
    reference = randomize(make_reference("small_squeezenet"))
    variables = flax_variables("small_squeezenet", reference.state_dict())
    module = REDUCED["small_squeezenet"].make(10)
    classifier = replace(tiny_classifier(), module=module, variables=variables, min_size=32)
    image = np.random.default_rng(0).normal(size=(1, 50, 47, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = reference.features(torch.tensor(image).permute(0, 3, 1, 2)).mean((2, 3)).numpy()
    features = forward_with_features(classifier, variables, jnp.asarray(image))[1]
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_relatives_are_told_apart():
    shapes = {name: {k: tuple(v.shape) for k, v in make_reference(name).state_dict().items()} for name in NAMES}
    for name in NAMES:
        assert detect_architecture(shapes[name]) == name
    # SqueezeNet 1.0: 96 features of a 7x7 kernel, and its fire modules elsewhere.
    older = {f"features.{i}.squeeze.weight": (16, 96, 1, 1) for i in (3, 4, 5, 7, 8, 9, 10, 12)}
    older |= {"features.0.weight": (96, 3, 7, 7), "classifier.1.weight": (1000, 512, 1, 1)}
    with pytest.raises(ModelMismatchError, match="unknown network"):
        detect_architecture(older)


NAMES = ("squeezenet1_1", NAME)
