"""Configs: what is read, what is refused, with which words."""

import numpy as np
import pytest

from jinv.errors import StorageError, UsageError
from jinv.experiment.bind import bind_augmentations, bind_stage, check_recipe
from jinv.recipe.read import check_config, read_config
from jinv.recipe.resolved import resolved_table

GOOD = """
model = "efficientnet_lite0"
[image]
size = 64
labels = [1, "goldfish", 3]
[[stages]]
size = 32
steps = 4
learning_rate = { schedule = "warmup_cosine", peak = 0.2 }
[[stages]]
steps = 2
optimizer = { name = "sgd", momentum = 0.9 }
[augment.roll]
[terms.cross_entropy]
[terms.total_variation]
weight = 1e-4
form = "l1"
"""


def read(tmp_path, text, overrides=()):
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    recipe = read_config(path, overrides)
    check_recipe(recipe)
    return recipe


def test_a_good_config_is_read_with_its_defaults(tmp_path):
    recipe = read(tmp_path, GOOD)
    assert (recipe.image.count, recipe.image.batch, recipe.seed, recipe.clip, recipe.keep) == (
        3,
        3,
        0,
        "variable",
        "last",
    )
    assert [stage.size for stage in recipe.stages] == [(32, 32), (64, 64)]
    assert recipe.terms["cross_entropy"]["weight"] == 1.0
    assert bind_augmentations(recipe, (32, 32), 4)[0].hyperparameters == {"max_shift": 4}


def test_memory_and_precision_are_recorded_only_where_they_are_set(tmp_path):
    plain = resolved_table(read(tmp_path, GOOD), [1, 2, 3], (64, 64))
    assert not {"precision", "remat"} & {*plain} and "chunk" not in plain["image"]
    recipe = read(tmp_path, GOOD, ["precision=bf16", "remat=true", "image.chunk=2"])
    assert (recipe.precision, recipe.remat, recipe.image.chunk) == ("bf16", True, 2)
    table = resolved_table(recipe, [1, 2, 3], (64, 64))
    assert (table["precision"], table["remat"], table["image"]["chunk"]) == ("bf16", True, 2)


def test_shares_schedules_and_parameterizations_are_bound(tmp_path):
    text = GOOD.replace("[augment.roll]", "[augment.roll]\nmax_shift = 0.134\n[augment.resized_crop]\n"
                        "min_scale = { schedule = \"linear\", start = 1, end = 0.5 }\nmax_scale = 1")  # fmt: skip
    recipe = read(tmp_path, 'parameterization = { name = "maco", spectrum = "pictures" }\n' + text)
    roll, crop = bind_augmentations(recipe, (32, 32), 4)
    assert roll.hyperparameters == {"max_shift": 4} and isinstance(crop.hyperparameters["max_scale"], float)
    assert [float(crop.hyperparameters["min_scale"](t)) for t in (0, 3)] == [1.0, 0.5]
    assert recipe.stages[0].parameterization == {"name": "maco", "spectrum": str(tmp_path / "pictures")}


def test_crlf_and_a_model_file_relative_to_the_config(tmp_path):
    text = GOOD.replace("efficientnet_lite0", "nets/mine.safetensors").replace("\n", "\r\n")
    assert read(tmp_path, text).model == str(tmp_path / "nets/mine.safetensors")


def test_a_typed_path_is_where_the_user_stands(tmp_path, monkeypatch):
    here, folder = tmp_path / "here", tmp_path / "configs"
    here.mkdir(), folder.mkdir()
    (here / "mine.safetensors").touch(), (here / "efficientnet_lite1").touch()
    monkeypatch.chdir(here)
    recipe = read(
        folder, GOOD, ["model=mine.safetensors", 'evaluate.verifiers=["./mine.safetensors", "efficientnet_lite1"]']
    )
    assert recipe.model == str(here / "mine.safetensors")
    assert recipe.evaluate.verifiers == (recipe.model, "efficientnet_lite1")
    assert read(folder, GOOD, ["model=other.safetensors"]).model == str(folder / "other.safetensors")


def test_overrides_reach_tables_lists_and_new_keys(tmp_path):
    overrides = ["image.count=7", "stages.1.steps=9", "terms.image_norm.weight=1e-5", "model=efficientnet_lite1"]
    recipe = read(tmp_path, GOOD, overrides)
    assert (recipe.image.count, recipe.stages[1].steps, recipe.model) == (7, 9, "efficientnet_lite1")
    assert recipe.terms["image_norm"]["weight"] == 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("weight = 1e-4", "wieght = 1e-4"), "wieght"),
        (("model =", "remat = 1\nmodel ="), "remat: 1 must be true or false"),
        (("model =", "precision = 'fp16'\nmodel ="), "precision: 'fp16' must be one of 'float32', 'tf32', 'bf16'"),
        (("size = 64", "size = 64\nchunk = 0"), "image.chunk: 0 must be a whole number of at least 1"),
        (("[terms.cross_entropy]", "[terms.cross_entrpy]"), "did you mean 'cross_entropy'"),
        (("[augment.roll]", "[augment.rol]"), "did you mean 'roll'"),
        (("weight = 1e-4", "weight = -1e-4"), "-0.0001"),
        (("weight = 1e-4", "weight = nan"), "nan"),
        (("weight = 1e-4", 'weight = "big"'), "'big'"),
        (('form = "l1"', 'form = "l3"'), "'norm'"),
        (("steps = 4", "steps = -4"), "stages[0].steps"),
        (("steps = 4", "steps = 4.5"), "stages[0].steps"),
        (("size = 64", "size = 0"), "image.size"),
        (("size = 64", "size = true"), "image.size"),
        (("size = 64", "size = 1979-05-27"), "image.size"),
        (("size = 32", "size = 128"), "larger than image.size"),
        (("size = 64", "size = 64\nbatch = 0"), "image.batch"),
        (("size = 64", "size = 64\ncount = 0"), "image.count"),
        (("size = 64", "siez = 64"), "did you mean 'image.size'"),
        (('"goldfish"', "1.5"), "image.labels"),
        (("peak = 0.2", "peek = 0.2"), "did you mean 'peak'"),
        (("warmup_cosine", "warmup_cosin"), "did you mean 'warmup_cosine'"),
        (
            ('"warmup_cosine"', '"triangular", rise = 2'),
            "learning_rate: triangular: rise: 2.0 must be a share from 0 to 1",
        ),
        (('"warmup_cosine"', '"warmup_cosine", portion = 2'), "portion: 2.0 must be above 0 and at most 1"),
        (("momentum = 0.9", "momentum = 1.9"), "momentum"),
        (('"sgd"', '"sdg"'), "did you mean 'sgd'"),
        (("steps = 4", 'steps = 4\nstart = "clean"'), "stages[0].start"),
        (("steps = 4", "steps = 4\nlow_pass = -0.1"), "stages[0].low_pass"),
        (("steps = 2", 'steps = 2\nstart = "clear"'), "'clean'"),
        (("steps = 2", 'steps = 2\nparameterization = "forier"'), "did you mean 'fourier'"),
        (("steps = 2", 'steps = 2\nparameterization = { name = "maco", dekay = 1.0 }'), "did you mean 'decay'"),
        (("steps = 2", 'steps = 2\nparameterization = { name = "maco", spectrum = 3 }'), "spectrum"),
        (("steps = 2", "steps = 2\nparameterization = 7"), "stages[1].parameterization"),
        (("[image]", "copies = 0\n[image]"), "copies"),
        (("[image]", "log_gradients = 1\n[image]"), "true or false"),
        (("size = 64", 'size = 64\ninit = "class_gaussian"'), "init_reference"),
        (("size = 64", 'size = 64\ninit_reference = "x"'), "class_gaussian"),
        (("[augment.roll]", "[augment.roll]\nmax_shift = 0.5"), "max_shift"),
        (("[augment.roll]", "[augment.roll]\nmax_shift = 64\none_sided = true"), "less than the stage's size"),
        (("[augment.roll]", "[augment.resized_crop]\nmin_scale = 0.9\nmax_scale = 0.5"), "0.9 is more than max_scale"),
        (("[augment.roll]", "[augment.resized_crop]\nmin_scale = 1.5"), "between 0 and 1"),
        (("[augment.roll]", "[augment.resized_crop]\nmax_ratio = 0.5"), "at least 1"),
        (("[augment.roll]", "[augment.zoom]\nmin_factor = 0"), "above 0"),
        (("[augment.roll]", '[augment.roll]\nmax_shift = { schedule = "linear", start = 1, end = 2 }'), "whole number"),
        (
            ("[augment.roll]", '[augment.zoom]\nmin_factor = { schedule = "linea", start = 1, end = 2 }'),
            "did you mean 'linear'",
        ),
        (("[augment.roll]", "[augment.zoom]\nmin_factor = { start = 1 }"), "schedule"),
        (('{ name = "sgd", momentum = 0.9 }', '{ name = "normalized_gradient", radius = 0 }'), "radius"),
        (("weight = 1e-4", "weight = 1e-4\n[terms.competition]"), "set student"),
        (("momentum", "momentun"), "did you mean 'momentum'"),
        (("[augment.roll]", "[augment.roll]\nmax_shift = 16"), "less than half"),
        (("[augment.roll]", '[augment.roll]\ndraw = "pixel"'), "'batch', 'image'"),
        (('model = "', 'clip = "fxied"\nmodel = "'), "clip"),
        (('model = "', 'seed = -1\nmodel = "'), "seed"),
        (('model = "', 'seed = 1.5\nmodel = "'), "seed"),
        (('model = "', 'modle = "'), "did you mean 'model'"),
        (('[terms.cross_entropy]\n[terms.total_variation]\nweight = 1e-4\nform = "l1"', ""), "[terms]"),
        (("[image]", "[image"), "not valid TOML"),
        (("[image]", "[image]\nsize = 1"), "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, change, words):
    assert change[0] in GOOD
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD.replace(*change, 1))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path):
    with pytest.raises(UsageError, match=r"image.batch.*stages\[0\].steps"):
        read(tmp_path, GOOD.replace("steps = 4", "steps = -4").replace("size = 64", "size = 64\nbatch = 0"))


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(), b"# " + b"x" * 2_000_000])
def test_bytes_that_are_no_config_are_refused(tmp_path, data):
    with pytest.raises(UsageError, match="config.toml"):
        read(tmp_path, data)


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_config(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()) == read(tmp_path, GOOD)


def test_a_missing_file_is_an_io_error(tmp_path):
    with pytest.raises(StorageError, match="nowhere.toml"):
        read_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("override", ["image.count", "=4", "image..count=4", "stages.7.steps=1", "model.name=x"])
def test_overrides_that_cannot_be_applied_are_refused(tmp_path, override):
    with pytest.raises(UsageError, match="--set"):
        read(tmp_path, GOOD, [override])


def stepping(optimizer):
    """A recipe with this optimizer."""
    return check_config(
        {
            "model": "m",
            "image": {"labels": [1]},
            "stages": [{"size": 8, "steps": 1, "optimizer": optimizer}],
            "terms": {"cross_entropy": {}},
        }
    )


@pytest.mark.parametrize(
    ("optimizer", "share"),
    [
        ("adam", (1, 1)),
        ({"name": "adam", "eps_scaling": "image"}, (1, 1)),
        ({"name": "adam", "eps_scaling": "none"}, (1, 4)),
    ],
)
def test_adam_eps_is_per_image_or_as_published(optimizer, share):
    gradient = np.full(1, 1e-8, np.float32)
    for batch, eps in zip((1, 4), share, strict=True):
        update = bind_stage(stepping(optimizer), 0, batch).optimizer
        moved, _ = update.update(gradient / batch, update.init(gradient))
        # The first step is rate g / (|g| + eps); of a batch's mean g is a share, and eps is one, or is not.
        assert float(moved[0]) == pytest.approx(-0.05 * (1 / batch) / (1 / batch + eps / batch), rel=1e-5)


def test_eps_scaling_is_checked():
    with pytest.raises(UsageError, match=r"stages\[0\].optimizer.eps_scaling: 'batch'"):
        stepping({"name": "adam", "eps_scaling": "batch"})
    with pytest.raises(UsageError, match=r"stages\[0\].optimizer.eps_scaling: sgd has no eps to scale"):
        bind_stage(stepping({"name": "sgd", "eps_scaling": "none"}), 0, 1)
