"""Every config in configs/ is read, bound and carried out for two steps per stage, on a tiny network with tiny images."""

import json
import math
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from jinv.experiment import shared
from jinv.experiment.bind import check_recipe
from jinv.images.codec import png_bytes
from jinv.models.architecture import EMBEDDED
from jinv.models.registry import ARCHITECTURES
from jinv.recipe.packaged import packaged_names
from jinv.recipe.read import check_config, read_config
from jinv.runs import synthesize
from jinv.weights.cache import embedded_checkpoint
from jinv.weights.packaged import PACKAGED
from tests.networks import CLASSES, tiny_classifier

ROOT = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = [ROOT / f"{name}.toml" for name in packaged_names()]
SIDE = 16


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three real-looking images of every class, for class-Gaussian starts and measured spectra."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir()
        for i in range(3):
            pixels = random.integers(0, 256, size=(SIDE, SIDE, 3)).astype(np.uint8)
            (folder / name / f"{i}.png").write_bytes(png_bytes(pixels))
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Configs share many programs: what one has compiled the next one finds."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def shrunk(table, pictures):
    """The same experiment on another scale: at most two stages of two steps, two images, sides of 8 to 16."""
    table = {key: value for key, value in table.items() if key not in ("evaluate", "checkpoint")}
    image = dict(table["image"])
    largest = max(np.ravel(image.get("size", 0)).max(), *(np.ravel(s.get("size", 0)).max() for s in table["stages"]), 1)

    def small(size):
        return [max(8, math.ceil(side * SIDE / largest)) for side in np.broadcast_to(size, 2).tolist()]

    image |= {"size": small(image.get("size", largest)), "count": 2, "batch": 2, "labels": [3, 8]}
    if "init_reference" in image:
        image |= {"init_reference": pictures, "init_pool": 1}
    stages = [table["stages"][0], *table["stages"][1:][-1:]]
    stages = [{**s, "steps": min(s["steps"], 2), "size": small(s.get("size", largest))} for s in stages]
    terms = {name: dict(entry) for name, entry in table["terms"].items()}
    if "layer_activation" in terms:
        terms["layer_activation"]["layer"] = 0
    augment = {name: dict(entry) for name, entry in table.get("augment", {}).items()}
    if isinstance(augment.get("roll", {}).get("max_shift"), int):
        augment["roll"]["max_shift"] = min(augment["roll"]["max_shift"], 3)  # less than half of the smallest side
    chosen = {"model": "tiny", "image": image, "stages": stages, "augment": augment, "terms": terms, "log_every": 1}
    return table | chosen | {"copies": min(table.get("copies", 1), 2)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_runs(path, pictures, tmp_path, monkeypatch):
    check_recipe(read_config(path))
    table = tomllib.loads(path.read_text())
    seeds = {"tiny": 0, table.get("student"): 1}
    monkeypatch.setattr(shared, "load", lambda name, **_: tiny_classifier(seeds[name], blocks=0))
    run = synthesize.run(check_config(shrunk(table, pictures), folder=path.parent), tmp_path / "run")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines and all(np.isfinite(line["total"]) for line in lines)
    assert set(lines[-1]["terms"]) == set(table["terms"])
    assert (run.path / "report.html").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_says_how_to_run_it_and_names_networks_that_there_are(path):
    text = path.read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert any(f"configs/{path.relative_to(ROOT)}" in line for line in header), "the command is in the header"
    table = tomllib.loads(text)
    models = table["model"] if isinstance(table["model"], list) else [table["model"]]
    for name in [*models, table.get("student"), *table.get("evaluate", {}).get("verifiers", [])]:
        described = name is not None and Path(name).stem in table.get("evaluate", {}).get("onnx", {})
        assert name is None or name in {**ARCHITECTURES, **PACKAGED} or name.endswith(".safetensors") or described
        if name in EMBEDDED:
            embedded_checkpoint(name)
