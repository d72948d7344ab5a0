"""Configs of published methods have the published numbers, where an audit against the programs found others."""

from pathlib import Path

import pytest

from jinv.errors import UsageError
from jinv.recipe.read import check_config, read_config
from jinv.reproduce.plan import Choices, plan, read_sheets

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BATCHES = ["adaptive_deepinversion", "cda", "cifar10_deepinversion", "nvlabs_deepinversion", "sre2l"]


def peer(name, *overrides):
    return read_config(CONFIGS / "peers" / f"{name}.toml", list(overrides))


def settings(recipe):
    """Learning rate, weight of the batch statistics, weight of total variation."""
    weights = (recipe.terms[name]["weight"] for name in ("feature_statistics", "total_variation"))
    return (recipe.stages[0].learning_rate, *weights)


def test_cifar10_deepinversion_has_a_published_setting_and_names_the_two_others():
    assert settings(peer("cifar10_deepinversion")) == (0.05, 10.0, 2.5e-5)
    header = (CONFIGS / "peers" / "cifar10_deepinversion.toml").read_text().split("model =")[0]
    given = [line.split("--set ")[1].split() for line in header.splitlines() if line.startswith("#   --set ")]
    assert [settings(peer("cifar10_deepinversion", *overrides)) for overrides in given] == [
        (0.1, 10.0, 1e-3),
        (0.1, 100.0, 2.5e-5),
    ]


def test_plug_in_inversion_grows_on_uniform_noise_and_shows_21_copies():
    recipe = peer("plug_in_inversion")
    assert (recipe.copies, recipe.image.init) == (21, "uniform")
    assert {(stage.upsample, stage.start) for stage in recipe.stages} == {("crop", "image")}
    assert [stage.size[0] for stage in recipe.stages] == list(range(56, 225, 28))


def test_deepdream_rolls_by_32_pixels_in_every_octave():
    assert peer("deepdream").augment["roll"]["max_shift"] == 32


@pytest.mark.parametrize("name", BATCHES)
def test_published_programs_of_batches_have_the_published_eps(name):
    assert [stage.optimizer["eps_scaling"] for stage in peer(name).stages] == ["none"] * len(peer(name).stages)


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_run_of_the_thesis_has_its_eps(preset, tmp_path):
    file = tmp_path / "network.safetensors"
    file.touch()
    panels = plan(
        read_sheets(CONFIGS / "thesis"), Choices(preset, files={"standard": file, "robust": file}, photograph=file)
    )
    for panel in panels:
        assert panel.recipe is not None, panel.skipped
        assert all(stage.optimizer["eps_scaling"] == "none" for stage in panel.recipe.stages), panel
    assert panels


def test_after_a_crop_a_stage_goes_on_with_the_image_alone():
    table = {
        "model": "m",
        "image": {"labels": [1], "size": 16},
        "stages": [{"size": 8, "steps": 1, "upsample": "crop"}, {"steps": 1, "start": "clean"}],
        "terms": {"cross_entropy": {}},
    }
    with pytest.raises(UsageError, match=r"stages\[1\].start: 'clean' needs all that the stage before saw"):
        check_config(table)
