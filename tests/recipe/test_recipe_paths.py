"""Which values of a config are paths, and what they are relative to: in a file, typed, inside a typed table, in a run's config."""

from pathlib import Path

import pytest

from jinv.recipe.read import check_config, read_config
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from tests.recipe.test_declarations import changed

PATHS = {
    "model": ("net.pth", "nets/net", "resnet20"),
    "student": ("net.safetensors", "nets/net", "vgg16"),
    "image.init": ("start.npy", "start", "package:skimage/data/cat.png"),
    "evaluate.reference": ("real", "real.zip", None),
    "evaluate.photographs": ("real", "real.zip", None),
    "parameterization.spectrum": ("real", "real.zip", None),
    "stages.1.parameterization.spectrum": ("real", "real.zip", None),
}


def write_config(folder):
    text = (
        'model = "m"\nparameterization = {name = "maco"}\n[image]\nsize = 8\nlabels = [1]\n[[stages]]\nsteps = 4\n'
        '[[stages]]\nsteps = 1\nparameterization = {name = "maco"}\n[terms.cross_entropy]\n'
    )
    folder.mkdir(exist_ok=True)
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def value_at(recipe, path):
    value = recipe
    for name in path.split("."):
        if name == "parameterization" and value is recipe:
            value = recipe.stages[0]
        value = value[int(name)] if name.isdigit() else value[name] if isinstance(value, dict) else getattr(value, name)
    return value


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_relative_to_the_config_or_typed_where_the_user_stands(path, tmp_path, monkeypatch):
    config = write_config(tmp_path / "configs")
    here = tmp_path / "here"
    (here / "nets").mkdir(parents=True)
    monkeypatch.chdir(here)
    *files, name = PATHS[path]
    for file in files:
        in_config = str(tmp_path / "configs" / file)
        assert value_at(read_config(config, [f"{path}={file}"]), path) == in_config
        (here / file).touch()
        typed = value_at(read_config(config, [f"{path}={file}"]), path)
        assert typed == str(here / file) and type(typed) is str
        # The same inside a table that is typed.
        table, _, last = path.rpartition(".")
        if table.endswith("parameterization"):
            assert value_at(read_config(config, [f'{table}={{name = "maco", {last} = "{file}"}}']), path) == str(
                here / file
            )
        elif table == "image":
            assert value_at(read_config(config, [f'image={{labels=[1], size=8, {last}="{file}"}}']), path) == str(
                here / file
            )
        # Written in the file, it is the config's.
        text = config.read_text()
        if path in ("model", "student"):
            config.write_text(
                f'{path} = "{file}"\n' + text.replace('model = "m"\n', "" if path == "model" else 'model = "m"\n')
            )
            assert value_at(read_config(config), path) == in_config
            config.write_text(text)
    if name:
        (here / name.split("/")[0]).mkdir(exist_ok=True)
        assert value_at(read_config(config, [f"{path}={name}"]), path) == name


def test_verifiers_are_names_or_files_each(tmp_path, monkeypatch):
    config = write_config(tmp_path / "configs")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("a.pt").touch()
    for override in ('evaluate.verifiers=["a.pt", "b.pt", "vgg16"]', 'evaluate={verifiers=["a.pt", "b.pt", "vgg16"]}'):
        recipe = read_config(config, [override])
        assert recipe.evaluate.verifiers == (str(tmp_path / "here/a.pt"), str(tmp_path / "configs/b.pt"), "vgg16")


def test_a_folder_called_like_a_network_leaves_the_runs_config_usable(tmp_path, monkeypatch):
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("resnet20", "vgg16", "noise"):
        (tmp_path / name).mkdir()
    overrides = ["model=resnet20", "student=resnet20", 'evaluate.verifiers=["vgg16"]', "image.init=noise"]
    table = resolved_table(read_config(config, overrides), [1], (8, 8))
    assert (table["model"], table["student"], table["evaluate"]["verifiers"]) == ("resnet20", "resnet20", ["vgg16"])
    assert table["image"]["init"] == "noise" and check_config(table, folder=tmp_path).model == "resnet20"
    # A slash makes a file of what would be a name, also where the folder is the working directory.
    typed = read_config("c.toml", ["model=./other", "image.init=./noise.npy"])
    assert resolved_table(typed)["model"] == str(tmp_path / "other")
    from_python = Recipe(**changed(model="./resnet20", image={"labels": [1], "init": "./noise", "size": 32}))
    assert resolved_table(from_python)["model"] == str(tmp_path / "resnet20")
    assert resolved_table(from_python)["image"]["init"] == str(tmp_path / "noise")
