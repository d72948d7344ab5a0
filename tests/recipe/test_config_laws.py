"""Laws of configs, on tables that nobody wrote: anything anywhere is refused in one line; what is read reads the same again."""

import copy
import datetime
import math
import tomllib

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from jinv.errors import UsageError
from jinv.recipe.declaration import checked
from jinv.recipe.read import check_config
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import changes_between, resolved_table
from jinv.reproduce.plan import Sheets

CONFIG = {
    "model": "resnet20",
    "student": "nets/b.pt",
    "seed": 1,
    "keep": "last",
    "clip": "fixed",
    "clip_bounds": [-1.0, 1],
    "devices": "all",
    "parameterization": {"name": "maco", "spectrum": "real"},
    "image": {"size": [8, 9], "count": 3, "batch": 2, "labels": [1, "cat"], "init": "noise", "chunk": 1},
    "stages": [
        {"size": 8, "steps": 3, "learning_rate": {"schedule": "linear", "start": 1, "end": 0.5}},
        {"steps": 0, "optimizer": {"name": "sgd", "momentum": 0.9}, "parameterization": "pixels", "start": "clean"},
    ],
    "augment": {"roll": {"max_shift": 2, "draw": "image"}},
    "terms": {"cross_entropy": {}, "total_variation": {"weight": 1e-4, "form": "l1"}},
    "evaluate": {"verifiers": ["vgg16"], "reference": "real", "photographs": "real"},
    "checkpoint": {"every_steps": 5, "every_seconds": 60},
}
SHEETS = {
    "title": "t",
    "settings": {"a": ["seed=1"], "b": []},
    "networks": {"n": {"title": "N", "preset": "quick", "settings": "b", "twin": "m", "required": True}, "m": {}},
    "figures": [
        {"id": "1", "title": "t", "networks": ["n"], "set": {"a": ["seed=2"]}, "variants": [{"name": "x", "set": ["seed=3"]}]},
        {"id": "2", "title": "t", "networks": ["m", "n"], "classes": [1, 2], "chart": "confidence"},
    ],
}  # fmt: skip

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=4), st.binary(max_size=2),
    st.sampled_from(["noise", "random", "all", "pixels", "image"]), st.just(datetime.date(1979, 5, 27)),
)  # fmt: skip
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from places(inner, (*path, name))


def with_junk(table, path, how, junk):
    """The table with the value at `path` replaced or removed, or with a key beside it."""
    changed = copy.deepcopy(table)
    target = changed
    for name in path[:-1]:
        target = target[name]
    if how == "remove":
        del target[path[-1]]
    elif how == "add" and isinstance(target, dict):
        target[f"{path[-1]}_"] = junk
    else:
        target[path[-1]] = junk
    return changed


def outcome(model, table, tmp_path):
    try:
        return checked(model, table, where="here", folder=tmp_path)
    except UsageError as error:
        text = str(error)
        assert text.startswith("here: ") and "pydantic" not in text and "Input should" not in text and "://" not in text
        assert len(text) < 20000
        return None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_anything_anywhere_in_a_config_is_read_or_refused_in_one_line(tmp_path_factory, data):
    path = data.draw(st.sampled_from([place for place in places(CONFIG) if place]))
    table = with_junk(CONFIG, path, data.draw(st.sampled_from(["replace", "remove", "add"])), data.draw(JUNK))
    recipe = outcome(Recipe, table, tmp_path_factory.getbasetemp())
    if recipe is not None:
        assert len(recipe.stages) == len(table["stages"]) and recipe.image.batch <= recipe.image.count


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_anything_anywhere_in_sheets_is_read_or_refused_in_one_line(tmp_path_factory, data):
    path = data.draw(st.sampled_from([place for place in places(SHEETS) if place]))
    table = with_junk(SHEETS, path, data.draw(st.sampled_from(["replace", "remove", "add"])), data.draw(JUNK))
    outcome(Sheets, table, tmp_path_factory.getbasetemp())


NUMBERS = st.floats(0, 1e6) | st.integers(0, 10**6)
SIZES = st.integers(1, 64) | st.tuples(st.integers(1, 64), st.integers(1, 64)).map(list)
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
FILES = (
    NAMES.map(lambda name: f"nets/{name}") | NAMES.map(lambda name: f"{name}.pt") | NAMES.map(lambda name: f"./{name}")
)


@st.composite
def configs(draw):
    def perhaps(table, **keys):
        for name, values in keys.items():
            if draw(st.booleans()):
                table[name] = draw(values)
        return table

    schedule = st.fixed_dictionaries({"schedule": NAMES, "peak": NUMBERS})
    entries = st.dictionaries(NAMES, NUMBERS | st.booleans() | NAMES, max_size=2)
    optimizers = NAMES | entries.map(lambda entry: entry | {"name": "adam"})
    ways = NAMES | FILES.map(lambda file: {"name": "maco", "spectrum": file})
    counts = st.integers(1, 9)
    stages = [
        perhaps({"size": draw(SIZES), "steps": draw(counts)}, learning_rate=NUMBERS | schedule, optimizer=optimizers,
                upsample=st.sampled_from(["pool", "resize"]), parameterization=ways)
        for _ in range(draw(st.integers(1, 3)))
    ]  # fmt: skip
    labels = st.lists(st.integers(0, 9), min_size=1, max_size=3)
    image = perhaps({"labels": draw(labels), "size": 64}, count=counts, batch=counts, chunk=counts, init=FILES)
    evaluate = perhaps({}, verifiers=st.lists(NAMES | FILES, max_size=2), reference=FILES)
    table = {"model": draw(NAMES | FILES), "image": image, "stages": stages, "evaluate": evaluate}
    table["terms"] = draw(st.dictionaries(NAMES, entries, min_size=1, max_size=2))
    return perhaps(
        table, seed=st.integers(0, 2**32 - 1), keep=st.sampled_from(["last", "best"]), copies=counts, remat=st.booleans(),
        clip=st.sampled_from(["variable", "fixed"]), clip_bounds=st.just([-1.0, 2.0]), devices=counts | st.just("all"),
        parameterization=ways, augment=st.dictionaries(NAMES, entries, max_size=2), student=NAMES | FILES,
    )  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(configs())
def test_the_resolved_config_reads_as_the_same_experiment_from_anywhere(tmp_path_factory, table):
    folder, elsewhere = (tmp_path_factory.getbasetemp() / name for name in ("one", "two"))
    recipe = check_config(table, folder=folder)
    labels = [recipe.image.labels[i % len(recipe.image.labels)] for i in range(recipe.image.count)]
    written = resolved_table(recipe, labels, (64, 64))
    read = tomllib.loads(tomli_w.dumps(written))
    again = check_config(read, folder=elsewhere)
    assert resolved_table(again, labels, (64, 64)) == written == read
    assert changes_between(read, recipe, labels, (64, 64)) == []
    assert [stage.steps for stage in again.stages] == [stage["steps"] for stage in table["stages"]]
    for name, entry in table["terms"].items():
        assert again.terms[name] == {"weight": 1.0} | entry
        assert list(written["terms"][name]) == list(dict.fromkeys([*entry, "weight"]))  # in the order of the config
    rate = table["stages"][0].get("learning_rate", 0.05)
    assert again.stages[0].learning_rate == rate and (isinstance(rate, dict) or math.isfinite(rate))
