"""In float64 rounding is out of the way: every network equals its torch reference to 1e-10, the gradient included."""

import jax
import numpy as np
import pytest

from jinv.models.registry import ARCHITECTURES
from jinv_convert.reference import make_reference
from tests.converter.checkpoint_files import randomize
from tests.parity.torch_oracle import compare, embedded_state_dict, flax_variables, random_image


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("efficientnet_lite0", (61, 96)),
        pytest.param("efficientnet_lite1", 112, marks=pytest.mark.full),
        pytest.param("efficientnet_lite2", 112, marks=pytest.mark.full),
        pytest.param("resnet18", (61, 96), marks=pytest.mark.full),
        pytest.param("resnet50", 112, marks=pytest.mark.full),
        ("resnet20", (33, 20)),
    ],
)
def test_network_equals_torch_in_float64(name, size):
    architecture = ARCHITECTURES[name]
    module = architecture.make(architecture.num_classes)
    reference = make_reference(name).double()
    if architecture.embedded:
        reference.load_state_dict(embedded_state_dict(name))
    else:
        randomize(reference)
    with jax.enable_x64(True):
        variables = flax_variables(name, reference.state_dict())
        errors = compare(module, reference, variables, random_image(size).astype(np.float64))
    assert max(errors.values()) < 1e-10, errors
