"""Every network equals its torch reference: logits, batch-norm statistics and the image's gradient, in float32.

One size of one member of a family in ordinary runs; reduced networks of every family are in test_models_families.py.
"""

import pytest
import torch

from jinv.models.registry import ARCHITECTURES
from jinv_convert.reference import make_reference
from tests.converter.checkpoint_files import randomize
from tests.parity.torch_oracle import compare, embedded_state_dict, flax_variables, random_image


def assert_parity(name: str, reference: torch.nn.Module, size: int) -> None:
    architecture = ARCHITECTURES[name]
    module = architecture.make(architecture.num_classes)
    errors = compare(module, reference, flax_variables(name, reference.state_dict()), random_image(size))
    print(name, size, errors)
    assert errors["logits"] < 2e-4, errors
    assert errors["statistics"] < 2e-4, errors
    # The single worst pixel is test_models_float64.py's: it is held to 1e-10 there, where no ReLU's corner is near.
    assert errors["gradient_90"] < 1e-3, errors


FULL = pytest.mark.full


@pytest.mark.parametrize("size", [224, pytest.param(112, marks=FULL)])
@pytest.mark.parametrize("name", ["efficientnet_lite0", pytest.param("efficientnet_lite1", marks=FULL)])
def test_efficientnet_lite_equals_torch_on_real_weights(name, size):
    reference = make_reference(name)
    reference.load_state_dict(embedded_state_dict(name))
    assert_parity(name, reference, size)


@pytest.mark.parametrize("file", ["resnet20-12fca82f.th", pytest.param("resnet56-4bfd9763.th", marks=FULL)])
@pytest.mark.parametrize("size", [pytest.param(224, marks=FULL), 112])
def test_cifar_resnet_equals_torch_on_real_weights(file, size, shared_data):
    tensors = torch.load(shared_data / "checkpoints" / file, map_location="cpu", weights_only=True)["state_dict"]
    name = file.partition("-")[0]
    reference = make_reference(name)
    reference.load_state_dict({key.removeprefix("module."): value for key, value in tensors.items()}, strict=False)
    assert_parity(name, reference, size)


@pytest.mark.parametrize("size", [pytest.param(224, marks=FULL), 112])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=FULL)])
def test_resnet_equals_torch_on_random_weights_and_statistics(name, size):
    assert_parity(name, randomize(make_reference(name)), size)
