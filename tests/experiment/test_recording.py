"""`jinv record-stats`: its numbers from all values at once in float64, its file, and runs that compare with it."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.core.objective import TERMS, term_fields
from jinv.experiment.recording import Wish, chosen_layers, record_statistics
from jinv.images.folder import open_image_folder
from jinv.models.registry import ARCHITECTURES
from jinv.models.squeezenet import SqueezeNet
from jinv.models.taps import listening
from jinv.record.manifest import read_manifest
from jinv.weights.load import load
from jinv.weights.statistics import read_statistics
from tests.networks import CLASSES
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")
CLASSED = ("cat", "cat", "cat", "ship", "ship")


@pytest.fixture(scope="module")
def squeezed():
    """The name of a narrow SqueezeNet, which has no batch norm, known to this process."""
    entry = ARCHITECTURES["squeezenet1_1"]
    make = partial(SqueezeNet, width=8)
    with pytest.MonkeyPatch.context() as patch:
        name = "squeezed"
        patch.setitem(ARCHITECTURES, name, replace(entry, name=name, make=make, input_size=32, class_names="cifar10"))
        yield name


@pytest.fixture(scope="module")
def place(tmp_path_factory, one_block, squeezed):
    """Two networks, five pictures in two classes' folders, and what was recorded of each network."""
    path = tmp_path_factory.mktemp("recording")
    random = np.random.default_rng(0)
    for index, name in enumerate(CLASSED):
        (path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path / "images" / name / f"{index}.png")
    for seed, name in enumerate((one_block, squeezed)):
        save_tiny(path / f"{name}.safetensors", seed, name=name)
    common = [str(path / "images"), "--per-class", "--quantiles", "8", "--batch", "2", "--out"]
    for name in (one_block, squeezed):
        arguments = ["record-stats", str(path / f"{name}.safetensors"), *common, str(path / f"{name}.statistics")]
        assert main([*arguments, "--layers", *LAYERS[name]] if name in LAYERS else arguments) == 0
    return path


LAYERS = {"squeezed": ("image", "features_0", "features_1?/expand*")}


def everything(path, name):
    """(classifier, images in its units, labels, the file's content, all values of each of its layers in float64)."""
    classifier = load(path / f"{name}.safetensors")
    folder = open_image_folder(path / "images")
    images = classifier.preprocess(np.stack([pixels for _, pixels in folder.read()]))
    labels = np.array([CLASSES.index(name.split("/")[0]) for name in folder.names])
    statistics = read_statistics(path / f"{name}.statistics")
    with listening() as heard:
        classifier.forward(classifier.variables, images)
    heard.layers["image"] = images
    return classifier, images, labels, statistics, {n: np.float64(heard.layers[n]) for n in statistics.layers}


@pytest.mark.parametrize("name", ["one_block", "squeezed"])
def test_what_is_recorded_is_what_all_values_at_once_give(place, name):
    _, _, labels, statistics, values = everything(place, name)
    assert list(statistics.layers) == list(statistics.record.layers)
    assert statistics.record.class_counts == tuple(int((labels == c).sum()) for c in range(10))
    for layer, stats in statistics.layers.items():
        x = values[layer]
        scale = x.std()
        for label in (None, 3, 8):
            own = x if label is None else x[labels == label]
            flat = own.reshape(-1, x.shape[-1])
            mean, var = (stats.mean, stats.var) if label is None else (stats.class_mean[label], stats.class_var[label])
            np.testing.assert_allclose(mean, flat.mean(0), atol=2e-6 * scale, rtol=2e-5)
            np.testing.assert_allclose(var, flat.var(0), atol=2e-6 * scale**2, rtol=2e-5)
        places = (np.arange(8) + 0.5) / 8
        each = np.quantile(x.reshape(5, -1, x.shape[-1]), places, axis=1, method="hazen")
        np.testing.assert_allclose(stats.quantiles, each.mean(1), atol=1e-5 * scale)
        np.testing.assert_allclose(stats.class_quantiles[8], each[:, labels == 8].mean(1), atol=1e-5 * scale)
        assert not np.any(stats.class_mean[0]) and stats.cell_mean.shape == (min(4, x.shape[1]) * min(4, x.shape[2]),)
        np.testing.assert_allclose(stats.cell_mean.mean(), x.mean(), atol=1e-5 * scale)


def test_layers_are_batch_norms_or_else_convolutions_but_the_last(place):
    norms = read_statistics(place / "one_block.statistics").record.layers
    assert norms[:2] == ("bn1", "layer1_0/bn1") and all("bn" in name for name in norms) and len(norms) == 7
    classifier = load(place / "squeezed.safetensors")
    convolutions = chosen_layers(classifier, ())
    assert len(convolutions) == 25 and convolutions[0] == "features_0" and "classifier_1" not in convolutions
    assert chosen_layers(classifier, ("image", "classifier_1")) == ("image", "classifier_1")


def test_how_many_images_are_measured_at_once_does_not_matter(place):
    classifier, folder = load(place / "one_block.safetensors"), open_image_folder(place / "images")
    layers = chosen_layers(classifier, ("bn1", "layer3_0/bn2"))
    one, five = (record_statistics(classifier, folder, Wish(layers, (32, 32), 4, False, n)) for n in (1, 5))
    assert one[0] == five[0]
    for layer in layers:
        for a, b in zip(one[1][layer], five[1][layer], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(a).max())


@pytest.mark.parametrize("name", ["one_block", "squeezed"])
def test_the_recorded_images_themselves_are_at_distance_zero(place, name):
    classifier, images, labels, statistics, _ = everything(place, name)
    classifier = classifier.with_statistics(statistics.layers, statistics.sha256, statistics.record.class_counts)
    result = jax.jit(classifier.forward)(classifier.variables, images, labels)
    biased = {"feature_statistics": {"variance": "biased"}}
    for term in ("feature_statistics", "class_statistics", "patch_statistics"):
        for distance in ("norm", "gaussian_kl", "wasserstein"):
            hyperparameters = {"distance": distance, **biased.get(term, {})}

            def value(result, term=term, hyperparameters=hyperparameters):
                return float(TERMS[term](*(getattr(result, f) for f in term_fields(TERMS[term])), **hyperparameters))

            moved = result._replace(
                norm_stats=tuple(s._replace(batch_mean=s.batch_mean + 1) for s in result.norm_stats),
                layers=tuple(s._replace(mean=s.mean + 1, cell_mean=s.cell_mean + 1) for s in result.layers),
            )
            assert value(result) < 1e-3 * value(moved), (term, distance)


CONFIG = """
model = "squeezed.safetensors"
statistics = "squeezed.statistics"
statistics_momentum = 0.5
[image]
labels = ["cat", "ship"]
batch = 2
size = 32
[[stages]]
steps = 2
parameterization = {name = "resolutions", ratio = 4.0}
[terms.cross_entropy]
[terms.feature_statistics]
distance = "gaussian_kl"
[terms.class_statistics]
distance = "wasserstein"
[terms.sorted_features]
target = "class"
[terms.patch_statistics]
[terms.class_similarity]
"""


def test_a_run_of_a_network_without_batch_norm_compares_with_the_file(place, capsys):
    config, run = place / "config.toml", place / "run"
    config.write_text(CONFIG)
    assert main(["synthesize", str(config), "--out", str(run)]) == 0
    digest = read_statistics(place / "squeezed.statistics").sha256
    assert read_manifest(run / "manifest.json").statistics_sha256 == (digest,)
    terms = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["terms"]
    assert terms.keys() == {"cross_entropy", *(n for n in terms if n != "cross_entropy")} and len(terms) == 6
    assert f'statistics = "{place}/squeezed.statistics"' in (run / "config.toml").read_text()
    capsys.readouterr()


def test_going_on_with_other_statistics_is_refused(place, capsys):
    config, run, other = place / "other.toml", place / "other_run", place / "other.statistics"
    config.write_text(CONFIG)
    network = str(place / "squeezed.safetensors")
    assert (
        main(["record-stats", network, str(place / "images" / "ship"), "--out", str(other), "--layers", "image"]) == 0
    )
    plain = ["--set", "terms={cross_entropy={},feature_statistics={}}"]
    assert main(["synthesize", str(config), "--out", str(run), *plain]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["finished"] is not None
    from jinv.errors import RunConflictError
    from jinv.experiment.experiment import load_experiment
    from jinv.recipe.read import read_config
    from jinv.record.directory import RunDirectory
    from jinv.runs.checks import check_same

    recipe = read_config(config, [*plain[1:], f"statistics={other}"])
    with pytest.raises(RunConflictError, match="other recorded statistics"):
        check_same(RunDirectory(run), read_manifest(run / "manifest.json"), load_experiment(recipe))
    capsys.readouterr()


WRONG = [
    (["--set", "model=one_block.safetensors"], 4, "was recorded of squeezed"),
    (["--set", "statistics=missing.statistics"], 5, "missing.statistics: no such file"),
    (["--set", "statistics=squeezed.safetensors"], 2, "not recorded statistics; jinv record-stats MODEL IMAGES"),
    (["--set", "statistics=damaged.statistics"], 3, "differs from the recorded one; record it again"),
    (["--set", 'statistics=["squeezed.statistics","squeezed2.statistics"]'], 4, "is a second file of squeezed"),
    (["--set", 'image.labels=["dog"]'], 2, "statistics has no images of class 5 ('dog')"),
    (["--set", "statistics=one_class.statistics"], 2, "class_statistics: no classes were recorded"),
    (["--set", "statistics_momentum=1.0"], 2, "statistics_momentum: 1.0 must be a number of at least 0 and below 1"),
    (["--set", 'stages=[{steps=1,parameterization={name="resolutions",ratio=1}}]'], 2, "ratio 1.0 must be above 1"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG)
def test_what_is_wrong_with_statistics_is_said_in_one_line(place, capsys, arguments, code, said):
    data = bytearray((place / "squeezed.statistics").read_bytes())
    (place / "squeezed2.statistics").write_bytes(data)
    data[-3] ^= 1
    (place / "damaged.statistics").write_bytes(data)
    if "one_class" in arguments[1] and not (place / "one_class.statistics").exists():
        network, out = str(place / "squeezed.safetensors"), str(place / "one_class.statistics")
        assert main(["record-stats", network, str(place / "images"), "--out", out, "--layers", "image"]) == 0
    capsys.readouterr()
    config = place / "wrong.toml"
    config.write_text(CONFIG)
    assert main(["synthesize", str(config), "--out", str(place / "wrong"), *arguments]) == code
    error = capsys.readouterr().err
    assert said in error and error.startswith("jinv: error: ") and error.count("\n") == 1
    assert not (place / "wrong").exists()


MISUSED = [
    (["MODEL", "nowhere"], 5, "nowhere: no such folder or zip of images"),
    (["resnet21", "IMAGES"], 2, "'resnet21' is no embedded model"),
    (["MODEL", "IMAGES", "--layers", "features_O"], 2, "did you mean 'features_0'?"),
    (["MODEL", "IMAGES", "--quantiles", "many"], 2, "--quantiles many: must be a whole number from 0 to 4096"),
    (["MODEL", "IMAGES", "--batch", "0"], 2, "--batch 0: must be a whole number from 1 to 4096"),
    (["MODEL", "IMAGES", "--size", "8"], 2, "--size 8: squeezed needs at least 32 pixels"),
    (["MODEL", "IMAGES/cat", "--per-class"], 2, "lies in no folder of a class"),
    (["MODEL", "IMAGES", "--out", "nowhere/x"], 5, "the directory nowhere does not exist"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISUSED)
def test_misuse_of_the_command_is_said_in_one_line(place, capsys, monkeypatch, tmp_path, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    replaced = {"MODEL": str(place / "squeezed.safetensors"), "IMAGES": str(place / "images")}
    words = [replaced.get(word, word.replace("IMAGES/", f"{place}/images/")) for word in arguments]
    assert main(["record-stats", *words]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
