"""Configs that come with jinv, by name."""

from pathlib import Path

import pytest

from jinv.cli import main
from jinv.errors import StorageError, UsageError
from jinv.recipe.packaged import (
    DISTILLATIONS,
    FOLDER,
    TRAININGS,
    check_packaged_files,
    find_any_config,
    find_config,
    packaged_names,
)
from jinv.recipe.read import read_config
from jinv.recipe.training import DistillationRecipe, TrainingRecipe, read_training
from jinv.students.inputs import experiment_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_every_config_has_a_name_and_is_found_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("**/*.toml")} - {"thesis/sheets.toml"}
    kinds = (None, TRAININGS, DISTILLATIONS)
    assert {f"{name}.toml" for kind in kinds for name in packaged_names(kind)} == expected
    for kind in kinds:
        assert packaged_names(kind)
        for name in packaged_names(kind):
            assert find_config(name, kind).read_bytes() == (CONFIGS / f"{name}.toml").read_bytes()


@pytest.mark.parametrize(
    ("kind", "model"), [(TRAININGS, TrainingRecipe), (DISTILLATIONS, DistillationRecipe)], ids=lambda value: str(value)
)
def test_trainings_and_distillations_that_come_with_jinv_can_be_read(kind, model):
    for name in packaged_names(kind):
        recipe = read_training(find_config(name, kind), model)
        for of, source in getattr(recipe, "sources", {}).items():
            assert source.recipe is None or experiment_of(recipe, of).image.count <= recipe.count


def test_an_existing_file_wins_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert find_config("demo") == FOLDER / "demo.toml"
    Path("demo").rmdir()
    Path("demo").write_text("")
    assert find_config("demo") == Path("demo")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("dmo", UsageError, ["did you mean 'demo'?", "known: ", "peers/deepdream"]),
        ("peers/deepdraem", UsageError, ["did you mean 'peers/deepdream'?"]),
        ("thesis/sheets", UsageError, ["no config that comes with jinv"]),
        ("../pyproject", UsageError, ["no config that comes with jinv"]),
        ("own.toml", StorageError, ["own.toml: no such file"]),
        ("configs/demo.toml", StorageError, ["no such file", "called 'demo'"]),
    ],
)
def test_what_is_neither_is_refused_in_one_line(tmp_path, monkeypatch, name, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        find_config(name)
    assert all(words in str(caught.value) for words in said) and "\n" not in str(caught.value)


def test_a_packaged_config_says_which_file_does_not_come_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = find_config("quality/cifar10_standard")
    with pytest.raises(
        StorageError, match=r"^quality/cifar10_standard: model: \S+resnet20_cifar10.safetensors does not"
    ):
        check_packaged_files(config, read_config(config))
    Path("own.safetensors").touch()
    recipe = read_config(config, ["model=own.safetensors"])
    with pytest.raises(StorageError, match=r"--set 'evaluate.verifiers=\[\"FILE\"\]'"):
        check_packaged_files(config, recipe)
    check_packaged_files(config, read_config(config, ["model=own.safetensors", "evaluate.verifiers=[]"]))
    # Of a config of the user's own, what reads the file says that it is missing.
    check_packaged_files(Path("own.toml"), read_config(config))


def test_synthesize_takes_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["synthesize", "demo", "--set", "image.count=none"]) == 2
    assert "--set image.count: 'none' must be a whole number" in capsys.readouterr().err
    assert main(["synthesize", "thesis/figure_3_1"]) == 5
    assert "--set 'model=FILE'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_any_config_is_one_of_any_command():
    assert find_any_config("training/cifar10_resnet20") == find_config("training/cifar10_resnet20", TRAININGS)
    with pytest.raises(UsageError, match="did you mean 'training/cifar10_resnet20'") as caught:
        find_any_config("training/cifar10_resnet2")
    assert "known: beyond/" in str(caught.value) and ", distillation/cifar10" in str(caught.value)
