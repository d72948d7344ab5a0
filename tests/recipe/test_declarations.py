"""Keys declared once; recipes made in Python; what is wrong, in words; the resolved table, and what differs between runs."""

from typing import Literal

import pytest

import jinv.recipe.read
import jinv.recipe.schema
from jinv.cli import main
from jinv.errors import UsageError
from jinv.recipe.declaration import key
from jinv.recipe.read import check_config
from jinv.recipe.recipe import ImageRecipe, Recipe, StageRecipe, replaced
from jinv.recipe.resolved import changes_between, resolved_table
from jinv.recipe.schema import json_schema
from jinv.reproduce.plan import Choices, plan, read_sheets

TABLE = {
    "model": "resnet20",
    "image": {"labels": [1, 2], "size": 32},
    "stages": [{"size": 16, "steps": 4}, {"steps": 2}],
    "terms": {"cross_entropy": {}},
}


def changed(**changes):
    return {name: value for name, value in (TABLE | changes).items() if value is not None}


def problems(table):
    with pytest.raises(UsageError) as caught:
        check_config(table)
    assert "pydantic" not in str(caught.value).lower() and "input" not in str(caught.value).lower()
    return str(caught.value).removeprefix("config: ").split("; ")


def test_a_recipe_made_in_python_is_the_config_of_the_same_words():
    recipe = Recipe(
        model="resnet20", image={"labels": [1, 2]}, stages=[{"size": 32, "steps": 4}], terms={"cross_entropy": {}}
    )
    assert (recipe.image.count, recipe.image.batch, recipe.image.size, recipe.image.labels) == (2, 2, None, (1, 2))
    assert recipe.terms == {"cross_entropy": {"weight": 1.0}} and recipe.augment == {}
    (stage,) = recipe.stages
    assert (stage.size, stage.steps, stage.learning_rate, stage.optimizer) == ((32, 32), 4, 0.05, "adam")
    assert recipe == check_config({"model": "resnet20", "image": {"labels": [1, 2]}, "stages": [{"size": 32, "steps": 4}], "terms": {"cross_entropy": {}}})  # fmt: skip
    parts = Recipe(
        **changed(image=ImageRecipe(labels=("cat",), count=3, batch=7), stages=(StageRecipe(size=(8, 9), steps=0),))
    )
    assert (parts.image.batch, parts.stages[0].size, parts.stages[0].parameterization) == (3, (8, 9), "pixels")


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Recipe(**changed(seed=-1)), "Recipe: seed: -1 must be a whole number of at least 0"),
        (lambda: Recipe(modle="x", **changed(model=None)), "unknown key 'modle' (did you mean 'model'?)"),
        (lambda: StageRecipe(size=8, steps=1.5), "StageRecipe: steps: 1.5 must be a whole number of at least 0"),
        (lambda: StageRecipe(steps=1), "StageRecipe: size: needed where image.size is not given"),
        (lambda: Recipe(), "at least one [[stages]] table is needed"),
        (lambda: Recipe(**changed(terms={"x": {"weight": 10**400}})), "terms.x.weight: a whole number of 401 digits"),
        (lambda: Recipe(**changed(seed=16**9000)), "seed: a whole number of 10838 digits must be"),
        (lambda: Recipe(**changed(terms={1: {}})), "terms.1.[key]: 1 must be a text"),
        (lambda: Recipe(**changed(terms={"x": {"form": {1, 2}}})), "terms.x.form: {1, 2} must be a number, a text"),
    ],
)
def test_what_is_wrong_in_python_is_told_as_in_a_config(make, words):
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_every_problem_is_told_with_key_value_and_limit():
    first = changed(
        seed=2**32, copies=0, remat="yes", model="", clip_bounds=[1, 1], precision="fp16", devices="some",
        image={"labels": [], "size": [8, 9, 10], "batch": True},
    )  # fmt: skip
    assert problems(first) == [
        "model: '' must be the name or the file of a network, or a list of these",
        "seed: 4294967296 must be a whole number of at most 4294967295",
        "clip_bounds: [1, 1] must be [low, high] with low < high",
        "devices: 'some' must be a whole number of at least 1 or 'all'",
        "precision: 'fp16' must be one of 'float32', 'tf32', 'bf16'",
        "remat: 'yes' must be true or false",
        "copies: 0 must be a whole number of at least 1",
        "image.size: [8, 9, 10] must be a number of pixels from 1 to 4096, or [height, width]",
        "image.batch: True must be a whole number of at least 1",
        'image.labels: [] must be a list of class ids or names, or "random"',
    ]
    second = changed(
        image={"labels": [1], "size": 32, "siez": 1, "xyz": 2, "init": "class_gaussian"},
        stages=[{"size": 64, "steps": 10**9, "start": "clean", "learning_rate": {"peak": 1}, "optimizer": {"nmae": "adam"}}],
    )  # fmt: skip
    known = "size, count, batch, labels, plan, init, init_reference, init_pool, chunk"
    assert problems(second) == [
        "unknown key 'image.siez' (did you mean 'image.size'?)",
        f"unknown key 'image.xyz' (known: {known})",
        "stages[0].steps: 1000000000 must be a whole number of at most 10000000",
        "stages[0].learning_rate.schedule: a schedule is a table with 'schedule', "
        'such as {schedule = "warmup_cosine", peak = 0.2}',
        "stages[0].optimizer.name: needed: a text",
        'image.init: "class_gaussian" and image.init_reference = FOLDER_OR_ZIP go together',
        "stages[0].size: [64, 64] is larger than image.size [32, 32]",
        "stages[0].start: 'clean' needs an earlier stage",
        "the first one starts from image.init",
    ]
    assert problems(changed(image=3, stages=[3], terms={"x": 3}, augment=3)) == [
        "image: 3 must be a table, [image]",
        "stages: must be a list of tables, [[stages]]",
        "augment: 3 must be a table, [augment]",
        "terms.x: 3 must be a table, [terms.x]",
    ]
    assert problems({}) == [
        "model: needed: the name or the file of a network, or a list of these",
        "the table [image] is missing",
        "stages: at least one [[stages]] table is needed",
        "terms: at least one term is needed in [terms], such as [terms.cross_entropy]",
    ]
    many = problems(TABLE | {f"unknown{i}": 0 for i in range(25)})
    assert len(many) == 11 and many[-1] == "and 15 more"


HOSTILE = {
    "int of 400 digits": ("weight = 1e-4", f"weight = {10**400}", "terms.tv.weight: a whole number of 401 digits"),
    "int of 5000 digits": ("weight = 1e-4", f"weight = {'9' * 5000}", "terms.tv.weight: a whole number of 5000 digits"),
    "hexadecimal": ("seed = 1", f"seed = 0x{'f' * 5000}", "seed: a whole number of 6021 digits"),
    "65 bits": ("seed = 1", f"seed = {2**63}", "seed: 9223372036854775808 is none of 64 bits"),
    "seed of 33 bits": ("seed = 1", f"seed = {2**32}", "seed: 4294967296 must be a whole number of at most 4294967295"),
    "steps": ("steps = 4", f"steps = {2**70}", f"stages[0].steps: {2**70} is none of 64 bits"),
    "size": ("size = 8", f"size = {2**70}", f"stages[0].size: {2**70} is none of 64 bits"),
    "count": ("labels = [1]", f"labels = [1]\ncount = {2**40}", "image.count: 1099511627776 must be a whole number of at most"),
    "label": ("labels = [1]", f"labels = [{2**40}]", "image.labels: [1099511627776] must be a list"),
    "arrays": ("seed = 1", f"seed = {'[' * 900}{']' * 900}", "seed: tables and lists are nested more than 32 deep"),
    "arrays within Python's limit": ("seed = 1", f"seed = {'[' * 90}{']' * 90}", "seed[0][0]"),
    "tables": ("weight = 1e-4", "a = " + "{a = " * 700 + "1" + "}" * 700, "terms.tv.a: tables and lists are nested"),
    "dotted": ("seed = 1", ".".join("s" * 3000) + " = 1", "s.s.s.s.s.s: tables and lists are nested"),
    "nan weight": ("weight = 1e-4", "weight = nan", "terms.tv.weight: nan must be a finite number"),
    "nan schedule": ("weight = 1e-4", 'weight = {schedule = "linear", start = nan}', "terms.tv.weight.start: nan must be a finite"),
    "inf rate": ("steps = 4", "steps = 4\nlearning_rate = inf", "stages[0].learning_rate: inf must be a finite number"),
    "nan size": ("size = 8", "size = nan", "stages[0].size: nan must be a number of pixels"),
    "nan hyperparameter": ("weight = 1e-4", "order = [1.0, -inf]", "terms.tv.order: [1.0, -inf] must be a finite number"),
    "nan bound": ("seed = 1", 'clip = "fixed"\nclip_bounds = [0.0, nan]', "clip_bounds: [0.0, nan] must be [low, high]"),
    "date": ("seed = 1", "seed = 1979-05-27", "seed: datetime.date(1979, 5, 27) must be a whole number"),
    "time": ("weight = 1e-4", "a = 07:32:00", "terms.tv.a: datetime.time(7, 32) must be a number, a text"),
    "twice": ("seed = 1", "seed = 1\nseed = 2", "Cannot overwrite a value (at line 3"),
    "a table twice": ("[terms.tv]", "[image]\n[terms.tv]", "Cannot declare ('image',) twice"),
    "NUL": ('"m"', r'"a\u0000/b"', r"model: 'a\x00/b' must be the name or the file of a network"),
    "a long text": ("seed = 1", f'seed = "{"x" * 10**5}"', "xxx...' must be a whole number"),
    "a long list": ("seed = 1", f"seed = {[*range(10**5)]}", "11, ... 100000 in all] must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("old, new, words", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_gets_one_line_with_its_key(old, new, words, tmp_path, capsys):
    text = 'model = "m"\nseed = 1\n[image]\nlabels = [1]\n[[stages]]\nsize = 8\nsteps = 4\n[terms.tv]\nweight = 1e-4\n'
    assert old in text
    (tmp_path / "c.toml").write_text(text.replace(old, new))
    assert main(["config", str(tmp_path / "c.toml")]) == 2
    error = capsys.readouterr().err
    assert words in error and "c.toml: " in error and error.count("\n") == 1 and len(error) < 1000


@pytest.mark.parametrize(
    "override, words",
    [
        (
            "evaluate.verifiers=[a.onnx]",
            """--set evaluate.verifiers: '[a.onnx]' is no list as TOML has them: texts inside need quotes""",
        ),
        ("mix={name=cutmix}", """such as --set 'mix={name = "a"}'"""),
        (f"terms.x.a={'[' * 900}{']' * 900}", "--set terms.x.a: value: tables and lists are nested more than 32 deep"),
        (f"seed={'9' * 5000}", "--set seed: value: a whole number of 5000 digits"),
        ("terms" + ".a" * 5000 + "=1", "5001 keys in one another, more than 32"),
        ("stages.²=1", "stages has entries 0 to 1, not '²'"),
        (f"stages.{'1' * 5000}=1", "stages has entries 0 to 1"),
        ("seed=1\nmodel='x'", """seed: "1\\nmodel='x'" must be a whole number"""),
        ("=1", "expected key.path=value"),
    ],
)
def test_a_hostile_override_gets_one_line(override, words, tmp_path, capsys):
    (tmp_path / "c.toml").write_text(
        'model = "m"\n[image]\nlabels = [1]\nsize = 8\n[[stages]]\nsteps = 4\n[[stages]]\nsteps = 4\n[terms.cross_entropy]\n'
    )
    assert main(["config", str(tmp_path / "c.toml"), "--set", override]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


class Loudness(ImageRecipe):
    """[image] with a key more."""

    loudness: int = key("how loud an image is", 3, ge=1, le=11)


class LoudRecipe(Recipe):
    """Declares one key at the top and one in a table; nothing else knows of them."""

    image: Loudness = key("the images")
    mood: Literal["calm", "wild"] = key("the mood", "calm")


def test_a_key_is_declared_in_one_place(monkeypatch):
    monkeypatch.setattr(jinv.recipe.read, "Recipe", LoudRecipe)
    monkeypatch.setattr(jinv.recipe.schema, "Recipe", LoudRecipe)
    image = TABLE["image"]
    plain = check_config(TABLE)
    assert (plain.mood, plain.image.loudness) == ("calm", 3)
    assert "mood" not in resolved_table(plain) and "loudness" not in resolved_table(plain).get("image", {})
    loud = check_config(changed(mood="wild", image=image | {"loudness": 11}))
    table = resolved_table(loud, [1, 2], (32, 32))
    assert (table["mood"], table["image"]["loudness"]) == ("wild", 11) and check_config(table) == loud
    assert problems(changed(mod="wild", image=image | {"loudness": 12})) == [
        "image.loudness: 12 must be a whole number of at most 11",
        "unknown key 'mod' (did you mean 'mood'?)",
    ]
    schema = json_schema()
    assert schema["properties"]["mood"] == {
        "default": "calm",
        "description": "the mood",
        "enum": ["calm", "wild"],
        "type": "string",
    }
    described = {"default": 3, "description": "how loud an image is", "minimum": 1, "maximum": 11, "type": "integer"}
    assert schema["$defs"]["Loudness"]["properties"]["loudness"] == described
    # A run from before these keys existed: no difference, but where they are set.
    before = resolved_table(plain, [1, 2], (32, 32))
    assert changes_between(before, plain, [1, 2], (32, 32)) == []
    assert changes_between(before, loud, [1, 2], (32, 32)) == [
        "image.loudness: 3 then, 11 now",
        "mood: 'calm' then, 'wild' now",
    ]


def test_what_differs_from_a_runs_config_is_told_by_key():
    recipe = check_config(changed(model="/nets/a.pt", augment={"roll": {"max_shift": 2}}))
    before = resolved_table(recipe, [1, 2], (32, 32))
    assert changes_between(before, recipe, [1, 2], (32, 32)) == []
    # What is said with other words is no difference.
    old = {name: value for name, value in before.items() if name not in ("keep", "clip")}
    old["augment"] = {"roll": {"max_shift": 2, "draw": "batch"}}
    old["terms"] = {"cross_entropy": {"weight": 1}}
    old["copies"] = 1
    assert changes_between(old, recipe, [1, 2], (32, 32)) == []
    other = check_config(
        changed(
            model="resnet20", seed=3, parameterization="fourier", augment={"flip": {}},
            stages=[{"size": 16, "steps": 4, "optimizer": {"name": "adam", "b1": 0.5}}],
        )
    )  # fmt: skip
    assert changes_between(before, other, [1, 3], (24, 32)) == [
        "model: '/nets/a.pt' then, 'resnet20' now",
        "seed: 0 then, 3 now",
        "image.size: [32, 32] then, [24, 32] now",
        "image.labels: [1, 2] then, [1, 3] now",
        "stages[0].optimizer: 'adam' then, not set now",
        "stages[0].parameterization: 'pixels' then, 'fourier' now",
        *(f"stages[1].{name}: {value} then, not set now" for name, value in {
            "size": "[32, 32]", "steps": 2, "learning_rate": 0.05, "optimizer": "'adam'", "upsample": "'pool'",
            "start": "'image'", "parameterization": "'pixels'"}.items()),
        "augment.roll.max_shift: 2 then, not set now",
        "augment.roll.draw: 'batch' then, not set now",
        "stages[0].optimizer.name: not set then, 'adam' now",
        "stages[0].optimizer.b1: not set then, 0.5 now",
        "stages[0].optimizer.eps_scaling: not set then, 'image' now",
        "augment.flip.draw: not set then, 'batch' now",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="config.toml: unknown key 'seeed'"):
        changes_between(before | {"seeed": 1}, recipe, [1, 2], (32, 32))


def test_the_resolved_table_has_what_a_runs_config_always_had():
    """As the runs of the first version recorded it, key by key."""
    recipe = check_config(
        changed(clip="fixed", precision="bf16", image={"labels": ["cat"], "count": 2, "size": 32}, stages=[{"size": 16, "steps": 4}], evaluate={"reference": "/real"}, checkpoint={"every_steps": 5})
    )  # fmt: skip
    stage = {"learning_rate": 0.05, "optimizer": "adam", "upsample": "pool"}
    with pytest.raises(UsageError, match=r"stages\[1\].size: needed where image.size is not given"):
        Recipe(**changed(image={"labels": [1]}))
    assert resolved_table(recipe, [3, 3], (32, 32)) == {
        "model": "resnet20", "seed": 0, "keep": "last", "clip": "fixed", "clip_bounds": [-2.0, 2.0], "precision": "bf16", "log_every": 10,
        "image": {"size": [32, 32], "count": 2, "batch": 2, "labels": [3, 3], "init": "noise"},
        "stages": [{"size": [16, 16], "steps": 4, **stage}],
        "augment": {}, "terms": {"cross_entropy": {"weight": 1.0}},
        "evaluate": {"verifiers": [], "reference": "/real"}, "checkpoint": {"every_steps": 5},
    }  # fmt: skip


def test_replaced_is_unchecked_but_knows_its_names():
    recipe = check_config(TABLE)
    marker = object()
    other = replaced(recipe, terms={"cross_entropy": {"weight": marker}}, stages=())
    assert other.terms["cross_entropy"]["weight"] is marker and recipe.terms["cross_entropy"]["weight"] == 1.0
    assert replaced(other, terms=recipe.terms, stages=recipe.stages) == recipe
    with pytest.raises(TypeError, match="Recipe has no term"):
        replaced(recipe, term={})
    with pytest.raises(AttributeError, match=r"Recipe.seed can't be set; make another Recipe: replaced\("):
        recipe.seed = 3


def test_sheets_without_settings_change_no_config(tmp_path):
    (tmp_path / "figure_1.toml").write_text(
        'model = "m"\n[image]\nlabels = [1]\n[[stages]]\nsize = 8\nsteps = 1\n[terms.cross_entropy]\n'
    )
    figure = '[networks.n]\npreset = "quick"\n[[figures]]\nid = "1"\ntitle = "t"\nnetworks = ["n"]\n'
    (tmp_path / "sheets.toml").write_bytes(b"\xef\xbb\xbf" + figure.encode())
    sheets = read_sheets(tmp_path)
    assert (sheets.folder, sheets.networks["n"].title, sheets.figures[0].variants[0].name) == (tmp_path, "n", "")
    (panel,) = plan(sheets, Choices())
    assert (panel.run, panel.changes) == ("1-n", ('evaluate.verifiers=["m"]',))
    (tmp_path / "sheets.toml").write_text(figure + f"classes = {'[' * 900}{']' * 900}\n")
    with pytest.raises(UsageError, match="sheets.toml: figures.classes: tables and lists are nested"):
        read_sheets(tmp_path)
