"""Adding a family is one model file, one rule file and its torch twin, each with a line in its table: done here."""

from functools import partial

import numpy as np
import pytest
import torch

import jinv
from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.registry import ARCHITECTURES
from jinv_convert.families.table import FAMILIES
from jinv_convert.reference import REFERENCES
from jinv_convert.validate import validate
from tests.converter.checkpoint_files import random_reference

pytestmark = pytest.mark.usefixtures("unoptimized")

MODEL = """
import flax.linen as nn
from jinv.models import ops
from jinv.models.layers import BatchNorm, Conv, Dense

class Shallow(nn.Module):
    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, x):
        x, stats = BatchNorm(name="norm")(Conv(self.width, name="conv")(x))
        return Dense(self.num_classes, name="head")(ops.global_average_pool(nn.relu(x))), (stats,)
"""
RULES = """
from jinv_convert.families.family import Family, axis

FAMILY = Family(
    title="a shallow network",
    markers=("conv.weight", "norm.running_mean", "head.weight"),
    head="head",
    describe=lambda shapes: {"width": axis(shapes, "conv.weight", 0)},
)
"""
REFERENCE = """
from torch import nn

class Shallow(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(width), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))
"""


@pytest.fixture
def shallow(monkeypatch):
    """The three files' classes, and a line in each of the three tables."""
    module, rules, reference = (run(text) for text in (MODEL, RULES, REFERENCE))
    entry = Architecture(
        "shallow8",
        partial(module["Shallow"], width=8),
        16,
        8,
        IMAGENET_MEAN,
        IMAGENET_STD,
        num_classes=5,
        class_names=None,
    )
    monkeypatch.setitem(ARCHITECTURES, "shallow8", entry)
    monkeypatch.setitem(FAMILIES, module["Shallow"], rules["FAMILY"])
    monkeypatch.setitem(REFERENCES, module["Shallow"], reference["Shallow"])


def run(text):
    names = {"__name__": "shallow"}
    exec(text, names)
    return names


def test_a_new_family_is_recognised_converted_loaded_and_validated(shallow, tmp_path, out):
    from jinv_convert.pipeline import convert_checkpoint

    network, path = random_reference("shallow8"), tmp_path / "in.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    assert convert_checkpoint(path, out).architecture == "shallow8"
    classifier = jinv.load(out)
    image = np.random.default_rng(0).normal(size=(2, 9, 11, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(classifier.forward(classifier.variables, image).logits, expected, rtol=1e-4, atol=1e-5)
    assert validate(out, path).passed
