"""Runs side by side are the runs alone: same draws, same paths to rounding, whatever number differs."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS
from jinv.core.loop import Pace
from jinv.core.objective import TERMS, hyperparameters_of, term_fields
from jinv.core.schedules import SCHEDULES
from jinv.core.step import Method
from jinv.core.sweep import snapshot_of, sweep_of, synthesize_sweep
from jinv.core.types import Number
from jinv.experiment.bind import bind_stage
from jinv.experiment.numbers import groups, replace_numbers, varied_numbers
from jinv.experiment.vocabulary import standard_vocabulary
from jinv.models import ops
from jinv.recipe.read import check_config
from jinv.recipe.variations import read_variations
from tests.networks import tiny_classifier
from tests.small_runs import CONFIG, save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")
CLASSIFIER = tiny_classifier(blocks=0)
STANDARD = standard_vocabulary()
BOUNDS = synthesis.clip_bounds(CLASSIFIER.mean, CLASSIFIER.std)
TABLE = {
    "model": "tiny",
    "image": {"size": 16, "labels": [1, 2, 3]},
    "augment": {"roll": {"max_shift": 2}, "flip": {"draw": "image", "probability": 0.5}},
    "terms": {
        "cross_entropy": {},
        "total_variation": {"weight": 1e-2},
        "feature_statistics": {"weight": {"schedule": "linear", "start": 0.1, "end": 0.2}, "first_layer_weight": 1.0},
    },
    "stages": [
        {"size": 8, "steps": 3, "learning_rate": {"schedule": "warmup_cosine", "peak": 0.1, "warmup": 1}},
        {"steps": 4, "learning_rate": 0.05, "optimizer": {"name": "adam", "b1": 0.9, "b2": 0.999}},
    ],
}
CHANGES = [
    {},
    {"flip": 1.0, "weight": 1.0, "first": 10.0, "peak": 0.02, "rate": 0.2, "b1": 0.0, "b2": 0.9},
    {"start": 1.0, "b1": 0.5},
]


def recipe(seed, *, flip=0.5, weight=1e-2, first=1.0, start=0.1, peak=0.1, rate=0.05, b1=0.9, b2=0.999):
    table = json.loads(json.dumps(TABLE)) | {"seed": seed}
    table["augment"]["flip"]["probability"] = flip
    table["terms"]["total_variation"]["weight"] = weight
    table["terms"]["feature_statistics"] |= {"first_layer_weight": first}
    table["terms"]["feature_statistics"]["weight"]["start"] = start
    table["stages"][0]["learning_rate"]["peak"] = peak
    table["stages"][1]["learning_rate"] = rate
    table["stages"][1]["optimizer"] |= {"b1": b1, "b2": b2}
    return check_config(table)


def alone(chosen, keep, gradients):
    taken = synthesis.synthesize(
        CLASSIFIER.forward,
        CLASSIFIER.variables,
        jnp.asarray(chosen.image.labels),
        stages=[bind_stage(chosen, index, 3) for index in range(2)],
        image_size=(16, 16),
        seed=chosen.seed,
        options=synthesis.Options(bounds=BOUNDS, keep=keep, log_every=2, log_gradients=gradients),
    )
    return [(s.step, np.asarray(s.image), float(s.metrics.total), s.learning_rate, s.gradient_norms) for s in taken]


@pytest.mark.parametrize(("keep", "scan"), [("last", False), ("best", False), ("last", True)])
def test_runs_side_by_side_take_the_paths_they_take_alone(keep, scan):
    recipes = [recipe(seed, **change) for seed, change in enumerate(CHANGES)]
    places = {}
    for one in recipes:
        replace_numbers(one, lambda place, value: places.setdefault(place, []).append(value), STANDARD)
    settings = {str(place): jnp.asarray(values) for place, values in places.items() if len(set(values)) > 1}
    assert len(settings) == 8, settings.keys()

    def bind(index, setting):
        return bind_stage(
            replace_numbers(recipes[0], lambda place, value: setting.get(str(place), value), STANDARD), index, 3
        )

    plain = [{place: values[k] for place, values in settings.items()} for k in range(3)]
    method = Method((16, 16), BOUNDS, keep)
    stages = sweep_of(CLASSIFIER.forward, [partial(bind, index) for index in range(2)], method, plain)
    labels, pace = jnp.tile(jnp.array([1, 2, 3]), (3, 1)), Pace(2, log_gradients=scan, scan=scan)
    together = list(
        synthesize_sweep(stages, CLASSIFIER.variables, labels, settings=settings, seeds=[0, 1, 2], pace=pace)
    )
    for run, one in enumerate(recipes):
        expected = alone(one, keep, scan)
        assert [s.step for s in together] == [step for step, *_ in expected] == [2, 3, 5, 7]
        for snapshot, (_, image, total, rate, norms) in zip(together, expected, strict=True):
            mine = snapshot_of(snapshot, run)
            assert mine.learning_rate == pytest.approx(rate, rel=1e-6)
            assert float(mine.metrics.total) == pytest.approx(total, rel=1e-4)
            for name, norm in (norms or {}).items():
                assert float(mine.gradient_norms[name]) == pytest.approx(float(norm), rel=1e-2)
            # One step moves a pixel by about the learning rate, 0.02 at least; another draw would move all of them.
            np.testing.assert_allclose(mine.image, image, atol=5e-4)


def test_every_number_of_a_term_an_augmentation_or_a_schedule_may_be_traced():
    image = jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
    result = CLASSIFIER.forward(CLASSIFIER.variables, image, jnp.array([1, 2, 3]))._replace(
        student_logits=jax.random.normal(jax.random.key(1), (3, 10))
    )
    calls = {name: (f, [getattr(result, field) for field in term_fields(f)]) for name, f in TERMS.items()}
    calls |= {name: (f, [jax.random.key(2), image[0]]) for name, f in AUGMENTATIONS.items()}
    calls |= {name: (lambda f=f, **given: f(7, **given)(3), []) for name, f in SCHEDULES.items()}
    known = {name: hyperparameters_of(f) for name, f in {**TERMS, **AUGMENTATIONS, **SCHEDULES}.items()}
    tried = []
    for name, (function, arguments) in calls.items():
        numbers = {key for key, p in known[name].items() if p.annotation == Number}
        needed = {key: 0.2 for key, p in known[name].items() if p.default is p.empty and p.annotation == Number}
        needed |= {key: 2 for key, p in known[name].items() if p.default is p.empty and p.annotation is int}
        for key in numbers:
            default = known[name][key].default
            value = default if isinstance(default, float) and default else 0.3
            traced = jax.jit(lambda x, f=function, k=key, a=arguments, n=needed: f(*a, **(n | {k: x})))(value)
            expected = function(*arguments, **(needed | {key: value}))
            np.testing.assert_allclose(traced, expected, rtol=1e-4, atol=1e-5, err_msg=f"{name}.{key}")
            tried.append(f"{name}.{key}")
    assert {"feature_statistics.first_layer_weight", "flip.probability", "linear.end", "warmup_cosine.peak"} <= {*tried}


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_statistics_under_vmap_are_those_alone_where_one_of_them_needs_the_exact_way(offset):
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 4, 5)).astype(np.float32)
    x[1] += offset  # its squared mean swamps its variance
    means, variances = jax.jit(jax.vmap(ops.moments))(jnp.asarray(x))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(means, wide.mean((1, 2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variances, wide.var((1, 2, 3)), rtol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_block):
    path = tmp_path_factory.mktemp("sweep")
    save_tiny(path / "tiny.safetensors", 1, name=one_block)
    save_tiny(path / "other.safetensors", 2, name=one_block)
    (path / "small.toml").write_text(CONFIG)
    one_stage = CONFIG.replace("[[stages]]\nsize = 8\nsteps = 4\n", "").replace('"ship", 1', '"ship"')
    (path / "short.toml").write_text(one_stage)
    return path


def test_settings_are_a_grid_or_pairs_and_share_programs_where_numbers_alone_differ(folder):
    config = folder / "small.toml"
    weights = "terms.feature_statistics.weight=[0.1,1.0,2.0]"
    grid = read_variations(config, [weights, "stages.1.steps=[4,5]"], overrides=["seed=7"])
    assert [v.changes for v in grid][:2] == [
        {"terms.feature_statistics.weight": 0.1, "stages.1.steps": 4},
        {"terms.feature_statistics.weight": 0.1, "stages.1.steps": 5},
    ]
    assert [v.name for v in grid][-1] == "5_weight=2.0_steps=5" and {v.recipe.seed for v in grid} == {7}
    parts = groups(grid, STANDARD)
    assert [[v.index for v in part] for part in parts] == [[0, 2, 4], [1, 3, 5]]
    assert varied_numbers(parts[0], STANDARD) == {("terms", "feature_statistics", "weight"): [0.1, 1.0, 2.0]}
    paired = read_variations(config, [weights, "seed=[1,2,3]"], zipped=True)
    assert [tuple(v.changes.values()) for v in paired] == [(0.1, 1), (1.0, 2), (2.0, 3)] and len(
        groups(paired, STANDARD)
    ) == 1
    labels = read_variations(config, ["image.labels=[[0,1],[2,3]]", "augment.flip.probability=[0.0,1.0]"])
    assert len(groups(labels, STANDARD)) == 1
    shifts = read_variations(config, ["augment.roll.max_shift=[0,1]"])
    assert len(groups(shifts, STANDARD)) == 2  # a whole number is no argument
    variance = read_variations(config, ['terms.feature_statistics.variance=["biased","unbiased"]'])
    assert len(groups(variance, STANDARD)) == 2


def test_a_sweep_leaves_a_run_per_setting_that_equals_the_run_alone(folder, capsys):
    out = folder / "out"
    vary = [
        "--vary",
        "seed=[0,1]",
        "stages.0.learning_rate=[0.05,1e30]",
        "--set",
        "stages.0.optimizer=sgd",
        "clip=none",
    ]
    assert (
        main(["synthesize", str(folder / "short.toml"), "--out", str(folder / "one"), "--set", "seed=1", *vary[-2:]])
        == 0
    )
    assert main(["sweep", str(folder / "short.toml"), *vary, "--at-once", "3", "--out", str(out)]) == 0
    table = capsys.readouterr().out
    assert "diverged" in table and str(out / "comparison.html") in table
    names = [f"{i}_seed={i // 2}_learning_rate={rate}" for i, rate in enumerate(["0.05", "1e+30"] * 2)]
    assert {p.name for p in out.iterdir()} == {*names, "sweep.json", "comparison.html"}
    single, one = out / names[2], folder / "one"
    files = sorted(str(p.relative_to(one)) for p in one.rglob("*"))
    assert sorted(str(p.relative_to(single)) for p in single.rglob("*")) == files
    np.testing.assert_allclose(np.load(single / "images.npy"), np.load(one / "images.npy"), atol=1e-3)
    assert (single / "config.toml").read_bytes() == (one / "config.toml").read_bytes()
    lines, expected = ((p / "metrics.jsonl").read_text().splitlines() for p in (single, one))
    assert [json.loads(x)["step"] for x in lines] == [json.loads(x)["step"] for x in expected]
    summary = json.loads((out / "sweep.json").read_text())
    assert summary["programs"] == [names[:3], names[3:]]
    rows = summary["settings"]
    assert [row["diverged_at_step"] is None for row in rows] == [True, True, False, False]
    assert {rows[0]["run"], rows[1]["run"]} == {names[0], names[2]}
    key = (-rows[0]["verifiers"]["other"], rows[0]["terms"]["cross_entropy"])
    assert key <= (-rows[1]["verifiers"]["other"], rows[1]["terms"]["cross_entropy"])
    assert json.loads((out / names[1] / "manifest.json").read_text())["finished"] is None
    page = (out / "comparison.html").read_bytes()
    (out / "comparison.html").unlink()
    assert main(["report", str(out)]) == 0 and (out / "comparison.html").read_bytes() == page
    assert main(["sweep", str(folder / "short.toml"), *vary, "--out", str(out)]) == 6
    error = capsys.readouterr().err
    assert "already exists" in error and error.count("\n") == 1


def test_every_setting_starts_from_its_own_images(folder, tmp_path):
    for i, value in enumerate((40, 220)):
        (tmp_path / "real" / "cat").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(tmp_path / "real" / "cat" / f"{i}.png")
    common = ["image.labels=['cat']", "image.init=class_gaussian", f"image.init_reference={tmp_path / 'real'}",
              "stages.0.learning_rate=1e-6", "evaluate.verifiers=[]"]  # fmt: skip
    config = str(folder / "short.toml")
    assert main(["sweep", config, "--vary", "seed=[0,1]", "--set", *common, "--out", str(tmp_path / "sweep")]) == 0
    assert main(["synthesize", config, "--set", "seed=1", *common, "--out", str(tmp_path / "alone")]) == 0
    first, second = (np.load(tmp_path / "sweep" / f"{i}_seed={i}" / "images.npy") for i in range(2))
    np.testing.assert_allclose(second, np.load(tmp_path / "alone" / "images.npy"), atol=1e-3)
    assert abs(first - second).max() > 0.5


def test_an_evaluation_that_fails_leaves_every_settings_images(folder, tmp_path, capsys):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"no picture")
    arguments = [
        "--vary",
        "seed=[0,1]",
        "--set",
        f"evaluate.reference={tmp_path / 'real'}",
        "--out",
        str(tmp_path / "s"),
    ]
    assert main(["sweep", str(folder / "short.toml"), *arguments]) == 3
    assert "a.png" in capsys.readouterr().err
    assert all((tmp_path / "s" / f"{i}_seed={i}" / "report.html").exists() for i in range(2))
    assert (tmp_path / "s" / "sweep.json").exists() and (tmp_path / "s" / "comparison.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--vary", "seed=[1,2]", "--set", "devices=7"], 2, "devices: 7, but JAX sees 1"),
        ([], 2, "what is varied"),
        (["--vary", "seed=3"], 2, "must be a list"),
        (["--vary", "seed=[1]"], 2, "from 2 to 1000"),
        (["--vary", "seed=[1,1]"], 2, "appears twice"),
        (["--vary", "seed=[1,2]", "seed=[3,4]"], 2, "given twice"),
        (["--vary", "sede=[1,2]"], 2, "did you mean 'seed'"),
        (["--vary", "seed=[1,-2]"], 2, "seed=-2"),
        (["--vary", "terms.feature_statistic.weight=[1,2]"], 2, "did you mean 'feature_statistics'"),
        (["--vary", "seed=[1,2]", "log_every=[1,2,3]", "--zip"], 2, "log_every has 3"),
        (["--vary", "seed=[1,2]", "--at-once", "0"], 2, "--at-once"),
        (["--vary", "image.labels=[[1],[99]]"], 2, "99"),
        (["--vary", "model=['tiny.safetensors','no.safetensors']"], 5, "no.safetensors"),
    ],
)
def test_mistakes_in_a_sweep_get_one_line_and_leave_nothing(folder, arguments, code, words, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["sweep", str(folder / "small.toml"), *arguments, "--out", str(out)]) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert not out.exists()
