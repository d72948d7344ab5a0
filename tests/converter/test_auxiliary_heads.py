"""Heads that only training needs are left out with a note, and what else is unknown is refused as ever."""

import pytest
import torch

from jinv.errors import ModelMismatchError
from jinv.weights.file import read_converted
from jinv_convert.pipeline import convert_checkpoint
from jinv_convert.validate import _left_out, _read_both, make_original
from tests.converter.checkpoint_files import random_reference
from tests.converter.reduced import register

HEADS = {
    "small_googlenet": (
        "aux1.conv.conv.weight",
        "aux1.conv.bn.num_batches_tracked",
        "aux1.fc1.bias",
        "aux2.fc2.weight",
    ),
    "small_inception": ("AuxLogits.conv0.conv.weight", "AuxLogits.conv0.bn.running_var", "AuxLogits.fc.weight"),
}


@pytest.fixture(autouse=True)
def _reduced_architectures(monkeypatch):
    register(monkeypatch)


@pytest.mark.parametrize("name", HEADS)
def test_auxiliary_heads_are_left_out_with_a_note(name, tmp_path):
    state = random_reference(name).state_dict()
    path, out = tmp_path / "in.pth", tmp_path / "out.safetensors"
    torch.save(state, path)
    assert convert_checkpoint(path, out).notes == ()
    digests = read_converted(out)[1]["sha256_of_tensors"]
    torch.save({**{key: torch.full((2, 3), torch.nan) for key in HEADS[name]}, **state}, path)
    report = convert_checkpoint(path, out)
    named = [key for key in HEADS[name] if not key.endswith("tracked")]
    assert len(report.notes) == 1 and f"left out {len(named)} tensors that no classification reads" in report.notes[0]
    assert report.warnings == () and read_converted(out)[1]["sha256_of_tensors"] == digests
    assert _left_out(_read_both(out, path, None, True)) == []
    torch.save(state | {"aux3.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelMismatchError, match="1 problem: extra 'aux3.weight'"):
        convert_checkpoint(path, out)


def test_the_original_is_made_without_auxiliary_heads():
    """Of torchvision where it is installed, and its state dict is then what `load_weights` is given."""
    assert not any(name.startswith("aux") for name in make_original("googlenet", 7)[0].state_dict())
