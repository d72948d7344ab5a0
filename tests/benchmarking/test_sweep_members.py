"""Members of a sweep beside their own runs in float64: what the benchmark decides by."""

import numpy as np
import pytest

from benchmarks import members_float64, sweep_members
from benchmarks.members_float64 import MOST_DIFFERENT, compare_in_float64
from jinv.recipe.variations import read_variations
from tests.networks import tiny_classifier

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.fixture
def settings(tmp_path):
    """Three settings of the benchmark's own config, by what they differ in."""
    config = tmp_path / "config.toml"
    config.write_text(
        sweep_members.CONFIG.format(network="tiny.safetensors", labels=[3, 5], steps=25).replace("= 32", "= 16")
    )
    return {
        name: read_variations(config, [vary.format(count=3, last=2)]) for name, vary in sweep_members.VARIED.items()
    }


@pytest.mark.parametrize("name", ["seed", "weight"])
def test_every_member_is_its_own_run(name, settings):
    found = compare_in_float64(settings[name], tiny_classifier(blocks=0))
    assert found["pixels"] < MOST_DIFFERENT / 100 and found["loss"] < 1e-12, found


def test_a_member_that_draws_otherwise_is_not(settings, monkeypatch):
    batch = members_float64.sweep_batch

    def others(sweep, labels, numbers, seeds, **rest):
        return batch(sweep, labels, numbers, [seed + 1 for seed in seeds], **rest)

    monkeypatch.setattr(members_float64, "sweep_batch", others)
    assert compare_in_float64(settings["seed"], tiny_classifier(blocks=0))["pixels"] > 1


def test_a_run_in_float32_proves_nothing(settings, monkeypatch):
    monkeypatch.setattr(members_float64, "_wide", lambda leaf: np.asarray(leaf, np.float32))
    with pytest.raises(AssertionError, match="computed float32"):
        compare_in_float64(settings["seed"], tiny_classifier(blocks=0))
