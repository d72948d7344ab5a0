"""`jinv config`: a config with every default, the schema for editors; and what is refused."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jinv.cli import main
from jinv.recipe.packaged import packaged_names
from jinv.recipe.read import check_config, read_config
from jinv.recipe.resolved import resolved_table
from jinv.recipe.schema import json_schema
from jinv.recipe.training import DistillationRecipe, TrainingRecipe, complete_table, read_training
from tests.recipe.test_declarations import TABLE, problems

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_schema_accepts_every_config_and_underlines_what_reading_refuses():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    configs = [CONFIGS / f"{name}.toml" for name in packaged_names()]
    assert len(configs) > 20
    for path in configs:
        table = tomllib.loads(path.read_text())
        assert not list(validator.iter_errors(table)), path
        assert not list(validator.iter_errors(resolved_table(read_config(path), every_key=True))), path
    wrong = [
        {"seed": -1}, {"seeed": 1}, {"precision": "fp16"}, {"stages": []}, {"stages": [{"steps": 10**8}]}, {"terms": {}},
        {"image": {"labels": []}}, {"image": {"labels": [1], "size": 0}}, {"terms": {"x": {"weight": -1}}}, {"model": ""},
        {"augment": {"roll": {"draw": "pixel"}}}, {"stages": [{"steps": 1, "optimizer": {"b1": 0.5}}]}, {"devices": "some"},
    ]  # fmt: skip
    for changes in wrong:
        assert list(validator.iter_errors(TABLE | changes)), changes
        problems(TABLE | changes)
    for changes in ({"terms": {"x": {"anything": [1]}}}, {"augment": {"roll": {"max_shift": 2}}}, {"devices": "all"}):
        assert not list(validator.iter_errors(TABLE | changes)), changes


def test_every_key_has_a_line_of_help():
    schema = json_schema()
    tables = [schema, *schema["$defs"].values()]
    assert len(tables) >= 9
    for table in tables:
        for name, entry in table["properties"].items():
            assert entry.get("description"), f"{table['title']}.{name}"


def test_config_prints_what_reads_as_the_same_experiment(tmp_path, capsys):
    for path in (CONFIGS / f"{name}.toml" for name in packaged_names()):
        assert main(["config", str(path), "--set", "seed=5"]) == 0
        printed = capsys.readouterr().out
        recipe = check_config(tomllib.loads(printed), folder=tmp_path)
        expected = resolved_table(read_config(path, ["seed=5"]), every_key=True)
        assert resolved_table(recipe, every_key=True) == expected and recipe.seed == 5 and "log_gradients" in printed


@pytest.mark.parametrize(("folder", "kind"), [("training", TrainingRecipe), ("distillation", DistillationRecipe)])
def test_config_prints_trainings_and_distillations_by_what_they_are(folder, kind, tmp_path, capsys):
    for name in packaged_names(folder):
        path = CONFIGS / f"{name}.toml"
        for given in (name, str(path)):
            assert main(["config", given]) == 0
            printed = capsys.readouterr().out
            assert printed.startswith(f"# A {folder}: jinv ")
            (tmp_path / "again.toml").write_text(printed)
            again = complete_table(read_training(tmp_path / "again.toml", kind))
            assert again == complete_table(read_training(path, kind))
            assert "optimizer" in printed
    assert main(["config", packaged_names(folder)[0], "--set", "cuont=3"]) == 2
    assert "unknown key 'cuont' (did you mean 'count'?)" in capsys.readouterr().err


TRAINING, DISTILLATION = "training/cifar10_resnet20", "distillation/cifar10"


@pytest.mark.parametrize(
    "name, change, words",
    [
        (TRAINING, "optimizer=sgdd", "optimizer: no such optimizer 'sgdd' (did you mean 'sgd'?"),
        (TRAINING, "augment.flipp={}", "augment.flipp: no such augmentation 'flipp' (did you mean 'flip'?"),
        (TRAINING, "augment.flip={draw='batch'}", "augment.flip.draw: is of a synthesis"),
        (TRAINING, "architecture=resnet21", "architecture: "),
        (TRAINING, "learning_rate={schedule='cosin', peak=1.0}", "'cosin'"),
        (DISTILLATION, "student.optimizer=sgdd", "student.optimizer: no such optimizer 'sgdd'"),
        (DISTILLATION, "student.architecture=resnet21", "student.architecture: "),
        (DISTILLATION, "images.dream.recipe=quality/cifar10_quik", "images.dream: "),
        (DISTILLATION, "images.dream.set=['terms.cross_entrpy.weight=1']", "images.dream: "),
    ],
)
def test_names_in_trainings_and_distillations_are_looked_up(name, change, words, capsys):
    assert main(["config", name, "--set", change]) in (2, 5)
    captured = capsys.readouterr()
    assert words in captured.err and "--set" in captured.err, captured.err
    assert captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "which CONFIG.toml"),
        (["nowhere.toml"], 5, "nowhere.toml: no such file"),
        (["."], 2, ".: a folder, not a config"),
        (["--schema", "nowhere.toml"], 2, "--schema is of all configs"),
        (["--schema", "--set", "seed=1"], 2, "--schema is of all configs"),
        ([str(CONFIGS / "demo.toml"), "--set", "image.cuont=3"], 2, "did you mean 'image.count'?"),
        ([str(CONFIGS / "demo.toml"), "--set", "terms.cross_entrpy.weight=3"], 2, "did you mean 'cross_entropy'?"),
        ([str(CONFIGS / "demo.toml"), "--shema"], 2, "did you mean '--schema'?"),
        (["/dev/zero"], 2, "limit of 1000000"),
    ],
)
def test_misuses_of_config_get_a_line_and_a_code(arguments, code, words, capsys):
    assert main(["config", *arguments]) == code
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_the_schema_is_printed_as_json(capsys):
    assert main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_help_loads_no_pydantic():
    program = "import sys, jinv.cli; jinv.cli.make_parser().format_help(); print({'pydantic', 'jinv.recipe.recipe'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
