"""Colours of one's own images: recorded as NumPy float64 has them of all pixels at once, and what compares with them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jinv.cli import main
from jinv.core.colors import OPPONENT_AXES, natural_colors, natural_variation
from jinv.core.decorrelation import color_matrix
from jinv.core.parameterization import PARAMETERIZATIONS
from jinv.core.types import RecordedColors
from jinv.experiment.color_moments import ColorMoments
from jinv.experiment.experiment import load_experiment
from jinv.images.folder import open_image_folder
from jinv.recipe.read import read_config
from jinv.weights.load import load
from jinv.weights.sealed import compact_json, tensor_sha256, write_sealed
from jinv.weights.statistics import COLORS, read_statistics
from tests.core.test_colors import descriptors, pictures
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")


def of_all_at_once(images):
    """Everything that is recorded of (N, H, W, 3), from its definition."""
    images = np.asarray(images, np.float64)
    flat, six = images.reshape(-1, 3), descriptors(images)
    edges = []
    for weights in ([1, 1, 1], [1, 0, -1], [1, -2, 1]):
        axis = images @ (np.array(weights) / np.linalg.norm(weights))
        down, right = (axis[:, 1:] - axis[:, :-1]) ** 2, (axis[:, :, 1:] - axis[:, :, :-1]) ** 2
        edges.append(np.sqrt((down.mean() + right.mean()) / 2))
    return RecordedColors(flat.mean(0), np.cov(flat.T, bias=True), six.mean(0), np.cov(six.T), np.array(edges))


def assert_close(found, expected, rtol):
    for field in COLORS:
        a, b = getattr(found, field), getattr(expected, field)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=field)


def test_taken_one_by_one_the_moments_are_those_of_all_pixels_at_once():
    images, moments = np.float64(pictures(9)), ColorMoments()
    for image in images:
        moments.add(image)
    assert_close(moments.recorded(), of_all_at_once(images), 1e-12)


def test_ten_thousand_photographs_have_the_published_colours(shared_data):
    folder, moments = open_image_folder(shared_data / "cifar10" / "train.zip"), ColorMoments()
    for _, pixels in folder.read(folder.names[::25]):
        moments.add(pixels / 255)
    colors = moments.recorded()
    # What everybody normalises CIFAR-10 with.
    np.testing.assert_allclose(colors.mean, [0.4914, 0.4822, 0.4465], atol=0.02)
    np.testing.assert_allclose(np.sqrt(np.diag(colors.covariance)), [0.2470, 0.2435, 0.2616], atol=0.015)


def own_colors(n=9, seed=3):
    return of_all_at_once(pictures(n, seed))


def test_the_prior_is_the_density_of_the_recorded_descriptors():
    colors, images = own_colors(), pictures(5, seed=0)
    offset = descriptors(images) - colors.descriptor_mean
    expected = np.mean([d @ np.linalg.solve(colors.descriptor_covariance, d) / 2 for d in offset])
    np.testing.assert_allclose(natural_colors(images, colors=colors), expected, rtol=1e-3)
    z = np.linalg.solve(np.linalg.cholesky(colors.descriptor_covariance), offset.T)
    mean, var = z.mean(axis=1), z.var(axis=1) + 1e-3
    expected = 0.5 * (var + mean**2 - 1 - np.log(var)).sum()
    np.testing.assert_allclose(natural_colors(images, colors=colors, reduction="batch"), expected, rtol=1e-3)


def test_an_edge_weighs_as_rare_as_it_is_in_the_recorded_images():
    colors, step = own_colors(), jnp.zeros((1, 4, 4, 3)).at[:, :, 2:].set(0.1)
    brightness = natural_variation(step, colors=colors)
    for axis, rarer in zip(OPPONENT_AXES[1:], colors.edges[0] / colors.edges[1:], strict=True):
        edge = step * jnp.asarray(axis * np.sqrt(3), jnp.float32)[None, None, None]
        np.testing.assert_allclose(natural_variation(edge, colors=colors), rarer * brightness, rtol=1e-5)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_uncorrelated_noise_comes_out_with_the_recorded_covariance(name):
    colors = own_colors()
    matrix = color_matrix(colors)
    largest = np.linalg.eigvalsh(colors.covariance)[-1]
    np.testing.assert_allclose(matrix @ matrix.T, colors.covariance / largest, atol=1e-12)
    own = PARAMETERIZATIONS[name]((9, 8), decorrelate=colors)
    plain = PARAMETERIZATIONS[name]((9, 8), decorrelate=False)
    params = plain.init(pictures(2))
    rendered = np.einsum("nhwd,cd->nhwc", np.float64(plain.render(params)), matrix)
    np.testing.assert_allclose(own.render(params), rendered, atol=1e-5)
    if name != "maco":  # whose magnitude is its own
        np.testing.assert_allclose(own.render(own.init(pictures(2))), pictures(2), atol=1e-4)


@pytest.fixture(scope="module")
def place(tmp_path_factory, one_block):
    """A network, pictures, and files of what was recorded of them."""
    path = tmp_path_factory.mktemp("colors")
    save_tiny(path / "network.safetensors", 0, name=one_block)
    random = np.random.default_rng(0)
    for folder, count in (("images", 9), ("others", 9), ("few", 3), ("grey", 9)):
        (path / folder).mkdir()
        for index in range(count):
            picture = random.normal(random.uniform(60, 200, 3), random.uniform(10, 60, 3), (32, 32, 3))
            picture = picture[:, :, :1] if folder == "grey" else picture
            pixels = np.broadcast_to(np.clip(picture, 0, 255).astype(np.uint8), (32, 32, 3))
            Image.fromarray(np.ascontiguousarray(pixels)).save(path / folder / f"{index}.png")
        arguments = [str(path / "network.safetensors"), str(path / folder), "--out", str(path / f"{folder}.statistics")]
        assert main(["record-stats", *arguments, "--batch", "4", *(["--colors"] if folder != "images" else [])]) == 0
    old_format(path / "images.statistics", path / "old.statistics")
    return path


def old_format(source, target):
    """The same file as it was before there were colours in it."""
    statistics = read_statistics(source)
    arrays = {
        f"layers/{layer}/{field}": np.asarray(value)
        for layer, stats in statistics.layers.items()
        for field, value in stats._asdict().items()
        if value is not None
    }
    digests = {name: tensor_sha256(name, array) for name, array in arrays.items()}
    texts = {"jinv_statistics": "1", "record": compact_json(statistics.record.model_dump(mode="json"))}
    write_sealed(target, arrays, texts | {"sha256_of_tensors": compact_json(digests)})


def test_the_file_has_the_colours_beside_the_layers_or_alone(place):
    read = [pixels / 255 for _, pixels in open_image_folder(place / "images").read()]
    statistics = read_statistics(place / "images.statistics")
    assert_close(statistics.colors, of_all_at_once(read), 1e-6)
    assert len(statistics.layers) == 7 and read_statistics(place / "others.statistics").layers == {}


def test_a_file_of_before_there_were_colours_is_read(place):
    old, new = read_statistics(place / "old.statistics"), read_statistics(place / "images.statistics")
    assert old.colors is None and old.record == new.record and old.layers.keys() == new.layers.keys()


CONFIG = """
model = "network.safetensors"
statistics = "others.statistics"
[image]
labels = ["cat", "ship"]
batch = 2
size = 32
[[stages]]
steps = 2
parameterization = {name = "fourier", decorrelate = "recorded"}
[terms.cross_entropy]
[terms.natural_colors]
colors = "recorded"
[terms.natural_variation]
colors = "recorded"
[terms.feature_statistics]
"""


def experiment(place, *changes):
    config = place / "config.toml"
    config.write_text(CONFIG)
    return load_experiment(read_config(config, list(changes)))


def test_terms_and_parameterization_are_given_the_colours_of_the_file(place):
    bound, colors = experiment(place), read_statistics(place / "others.statistics").colors
    stage = bound.stages(2)[0]
    given = {term.name: term.hyperparameters.get("colors") for term in stage.terms}
    assert_close(given["natural_colors"], colors, 0)
    assert given["natural_variation"] is given["natural_colors"] and given["feature_statistics"] is None
    params = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 17, 3, 2)), jnp.float32)
    own = stage.parameterization((32, 32), (32, 32))
    expected = PARAMETERIZATIONS["fourier"]((32, 32), decorrelate=colors)
    np.testing.assert_array_equal(own.render(params), expected.render(params))


def test_a_sweep_compares_with_the_colours_of_the_file(place, capsys):
    experiment(place)
    only = 'terms={natural_colors={colors="recorded"}}', "stages=[{steps=1,learning_rate=1e-6}]", "clip=none"
    words = [word for change in only for word in ("--set", change)]
    command = ["sweep", str(place / "config.toml"), "--out", str(place / "swept"), "--vary", "seed=[0,1]"]
    assert main([*command, *words]) == 0
    line = json.loads((place / "swept" / "0_seed=0" / "metrics.jsonl").read_text().splitlines()[0])
    classifier, images = load(place / "network.safetensors"), np.load(place / "swept" / "0_seed=0" / "images.npy")
    pixels = images * np.array(classifier.std) + np.array(classifier.mean)
    colors = read_statistics(place / "others.statistics").colors
    expected = natural_colors(jnp.float32(pixels), colors=colors)
    np.testing.assert_allclose(line["terms"]["natural_colors"]["value"], expected, rtol=1e-3)
    capsys.readouterr()


def test_with_a_file_of_colours_alone_a_network_says_what_it_says_without_a_file(place):
    told, plain = experiment(place, *PLAIN).classifier, load(place / "network.safetensors").prepared()
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    one, other = (jax.jit(network.forward)(network.variables, image) for network in (plain, told))
    assert told.taps.sha256 and not one.layers and not other.layers
    jax.tree.map(np.testing.assert_array_equal, one, other)


NO_FILE = (
    "terms.natural_colors.colors: 'recorded' needs the colours of images (jinv record-stats); set statistics = FILE"
)
PLAIN = ["stages=[{steps=2}]", "terms={cross_entropy={},feature_statistics={}}"]
PLAIN_PIXELS = 'stages=[{steps=2,parameterization="pixels"}]'
WRONG = [
    (["statistics=old.statistics"], 2, "old.statistics has no colours, an earlier jinv recorded it; jinv record-stats"),
    (["statistics=few.statistics", PLAIN_PIXELS], 2, "natural_colors: the recorded images are fewer than seven"),
    (["statistics=grey.statistics"], 2, "stages[0].parameterization: decorrelate: the recorded colours vary in fewer"),
    (["statistics=grey.statistics", PLAIN_PIXELS], 2, "natural_colors: the recorded images are fewer than seven, or"),
    (["terms.natural_colors.colors=recordd"], 2, "'recordd' must be one of 'photographs', 'recorded'"),
    (['stages=[{steps=1,parameterization={name="fourier",decorrelate="yes"}}]'], 2, "one of true, false, 'recorded'"),
    (['stages=[{steps=1,parameterization={name="fourier",decorrelate=1}}]'], 2, "1 must be one of true, false, 'rec"),
    (["terms.class_statistics={}"], 2, "class_statistics: no statistics were recorded"),
]


@pytest.mark.parametrize(("changes", "code", "said"), WRONG)
def test_what_is_wrong_with_colours_is_said_in_one_line(place, capsys, changes, code, said):
    config, words = place / "wrong.toml", [word for change in changes for word in ("--set", change)]
    config.write_text(CONFIG)
    assert main(["synthesize", str(config), "--out", str(place / "wrong"), *words]) == code
    error = capsys.readouterr().err
    assert said in error and error.startswith("jinv: error: ") and error.count("\n") == 1
    assert not (place / "wrong").exists()


def test_recorded_colours_without_a_file_are_refused_before_a_network_is_read(place, capsys):
    config = place / "no_file.toml"
    config.write_text(CONFIG.replace('statistics = "others.statistics"\n', "").replace("network.", "missing."))
    assert main(["synthesize", str(config), "--out", str(place / "wrong")]) == 2
    assert NO_FILE in capsys.readouterr().err


def test_two_networks_files_must_be_of_the_same_images(place, capsys, one_block):
    save_tiny(place / "second.safetensors", 1, name=one_block)
    config, out = place / "committee.toml", place / "second.statistics"
    record = ["record-stats", str(place / "second.safetensors"), "--colors", "--out", str(out), "--replace"]
    config.write_text(CONFIG.replace('"network.safetensors"', '["network.safetensors", "second.safetensors"]'))
    both = ["--set", 'statistics=["others.statistics","second.statistics"]', "--set", "stages=[{steps=1}]"]
    assert main([*record, str(place / "images")]) == 0
    assert main(["synthesize", str(config), "--out", str(place / "wrong"), *both]) == 2
    assert "are of other images, or of another size; whose colours are it?" in capsys.readouterr().err
    assert main([*record, str(place / "others")]) == 0
    colors = load_experiment(read_config(config, both[1::2])).measured.colors
    assert_close(colors, read_statistics(place / "others.statistics").colors, 0)
