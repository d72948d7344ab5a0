"""Ambient settings of JAX's generators change no bit of a run."""

import jax
import numpy as np
import pytest

import jinv
from jinv.core.draws import run_key
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")  # other draws are other images, however they are compiled

RECIPE = {
    "image": {"size": 16, "labels": [2, 3], "count": 2, "init": "uniform"},
    "stages": [{"steps": 2, "size": 8}, {"steps": 1, "start": "zoom"}],
    "augment": {"roll": {"draw": "image"}, "flip": {}, "resized_crop": {}, "gaussian_noise": {}},
    "terms": {"cross_entropy": {}},
}


@pytest.fixture(scope="module")
def network(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    save_tiny(path, 1, name=one_block)
    return str(path)


def test_neither_another_generator_nor_another_split_changes_the_images(network):
    def images():
        return jinv.run(jinv.Recipe(model=network, **RECIPE)).images

    expected = images()
    with jax.default_prng_impl("rbg"):
        assert (images() == expected).all()
    with jax.threefry_partitionable(False):
        assert (images() == expected).all()


def test_keys_are_those_of_the_default_generator():
    """Earlier runs' keys: nothing changes where nobody asked for another generator."""
    for seed in (0, 7, 2**31):
        assert (
            np.asarray(jax.random.key_data(run_key(seed))) == np.asarray(jax.random.key_data(jax.random.key(seed)))
        ).all()
