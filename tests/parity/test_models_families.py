"""Every family at reduced width, two networks in full: equal to torch in both precisions, from rules to gradients."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jinv.models.registry import ARCHITECTURES
from jinv_convert.families.rules import detect_architecture
from jinv_convert.reference import make_reference
from tests.converter.checkpoint_files import randomize
from tests.converter.reduced import FULL, REDUCED, register
from tests.parity.torch_oracle import compare, flax_variables, own_rounding, random_image


def assert_parity(name: str, size: int | tuple[int, int], *, double: bool) -> None:
    architecture = ARCHITECTURES[name]
    reference = randomize(make_reference(name).double() if double else make_reference(name))
    shapes = {key: tuple(value.shape) for key, value in reference.state_dict().items()}
    assert detect_architecture(shapes) == (architecture.alike.other if architecture.alike else name)
    with jax.enable_x64(double):
        variables = flax_variables(name, reference.state_dict())
        image = random_image(size).astype(np.float64 if double else np.float32)
        errors = compare(architecture.make(architecture.num_classes), reference, variables, image)
    assert len(flatten_dict(variables)) + sum(".num_batches" in key for key in shapes) == len(shapes)
    print(name, size, errors)
    assert errors["logits"] < (1e-10 if double else 2e-4), errors
    assert errors["statistics"] < (1e-10 if double else 2e-4), errors
    if double:
        assert errors["gradient"] < 1e-10, errors
    elif errors["gradient_90"] >= 1e-3:
        # A flipped ReLU deep in the network moves more than a tenth of the pixels: then as much as torch's own rounding.
        own = own_rounding(reference, image)
        print("torch's own rounding", own)
        assert errors["gradient_90"] < 2 * own, (errors, own)


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_family_equals_torch_in_float64_at_odd_sizes(name, monkeypatch):
    register(monkeypatch)
    assert_parity(name, (max(61, REDUCED[name].min_size + 6), 96), double=True)


@pytest.mark.parametrize("name", ["resnet50", pytest.param("densenet121", marks=pytest.mark.full)])
def test_full_network_equals_torch(name):
    assert_parity(name, 64, double=False)


@pytest.mark.full
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", FULL)
def test_every_network_equals_torch_at_full_size(name, double):
    # Twice the smallest image: of a last map of one pixel the variance, of two numbers, is rounding and nothing else.
    size = max(96, 2 * ARCHITECTURES[name].min_size) if ARCHITECTURES[name].input_size > 32 else 32
    assert_parity(name, size, double=double)
