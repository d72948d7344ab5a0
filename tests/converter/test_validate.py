"""`jinv validate` on files: right ones, damaged ones, wrong ones; its JSON, its page and its exit code."""

import io
import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from jinv.cli import main
from jinv.errors import ModelMismatchError, UsageError
from jinv.weights.file import NetworkMetadata, read_converted, save_converted
from jinv_convert.commands import run_validate
from jinv_convert.parity import compare
from jinv_convert.parity.flax_side import FlaxNetwork
from jinv_convert.parity.inputs import make_inputs, natural_noise
from jinv_convert.parity.page import page
from jinv_convert.parity.report import LARGEST, Agreement, LayerErrors, ValidationReport, relative_error, to_json
from jinv_convert.parity.summary import summarize
from jinv_convert.parity.table import print_report
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.reference import make_reference
from jinv_convert.validate import _doubts_of_order, make_original, validate
from tests.converter.checkpoint_files import random_reference, save

COMPILED: dict[tuple[str, ...], FlaxNetwork] = {}
NETWORK = random_reference("resnet20")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(converted file, checkpoint) of one network."""
    folder = tmp_path_factory.mktemp("pair")
    checkpoint = save({"state_dict": NETWORK.state_dict()}, folder / "in.pth")
    convert_checkpoint(checkpoint, folder / "out.safetensors")
    return folder / "out.safetensors", checkpoint


@pytest.fixture(autouse=True)
def small_inputs(monkeypatch):
    """One small batch: what is tested here is what surrounds the comparison."""
    from jinv_convert import validate as module

    def compiled_once(network, variables, layers):
        key = (repr(network), *layers)
        if key not in COMPILED:
            COMPILED[key] = FlaxNetwork(network, variables, layers)
        return COMPILED[key].with_variables(variables)

    monkeypatch.setattr(module, "FlaxNetwork", compiled_once)
    monkeypatch.setattr(module, "make_inputs", lambda *args: make_inputs(16, 8, *args[2:])[1:2])


def damaged(pair, tmp_path, change):
    path = tmp_path / "damaged.safetensors"
    data = bytearray(pair[0].read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def altered(pair, tmp_path, **changes):
    """A file whose digests are right but whose contents are not the checkpoint's: a wrong conversion."""
    arrays, metadata = read_converted(pair[0])
    keep = {
        k: metadata[k] for k in ("architecture", "mean", "std", "input_size", "class_names", "num_classes", "source")
    }
    variables = {k: v for k, v in (arrays | changes.pop("variables", {})).items() if v is not None}
    save_converted(tmp_path / "altered.safetensors", variables, NetworkMetadata(**(keep | changes)))
    return tmp_path / "altered.safetensors"


def test_a_right_conversion_passes_with_every_layer_and_term_reported(pair):
    report = validate(*pair)
    assert report.passed and report.digests_match and report.numerically_equal
    names = [layer.name for layer in report.layers]
    assert names[:3] == ["conv1", "bn1", "layer1.0.conv1"] and names[-2:] == ["linear", "logits"] and len(names) == 40
    assert {"cross_entropy", "feature_statistics", "total_variation", "image_norm"} <= {
        g.name for g in report.gradients
    }
    assert 0 < max(layer.float64 for layer in report.layers) < 1e-13
    assert 1e-9 < max(layer.float32 for layer in report.layers) < 1e-5
    assert report.read_by.startswith("torch")


def test_a_flipped_weight_fails_both_digests_and_numbers(pair, tmp_path):
    def flip(data):
        data[-2] ^= 0x40  # the exponent of a weight of layer3_2

    report = validate(damaged(pair, tmp_path, flip), pair[1])
    assert not report.digests_match and not report.numerically_equal and not report.passed
    assert report.first_wrong_layer == "linear"
    assert to_json(report)["digests_match"] is False


def test_damaged_metadata_fails_the_digests_alone(pair, tmp_path):
    report = validate(
        damaged(pair, tmp_path, lambda data: data.__setitem__(data.index(b'"in.pth') + 1, ord("x"))), pair[1]
    )
    assert not report.digests_match and report.numerically_equal and not report.passed


def test_a_wrong_tensor_with_right_digests_fails_the_numbers_alone(pair, tmp_path):
    arrays, _ = read_converted(pair[0])
    path = altered(pair, tmp_path, variables={"params/bn1/bias": arrays["params/bn1/scale"]})
    report = validate(path, pair[1])
    assert report.digests_match and not report.numerically_equal
    assert report.first_wrong_layer == "bn1" and report.worst_layers[0].passed is False


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"params/linear/bias": None}, "params/linear/bias is missing"),
        ({"params/extra/bias": np.zeros(3, np.float32)}, "params/extra/bias does not belong"),
        ({"params/linear/kernel": np.zeros((10, 64), np.float32)}, "has shape (10, 64), not (64, 10)"),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(pair, tmp_path, variables, words):
    report = validate(altered(pair, tmp_path, variables=variables), pair[1])
    assert not report.numerically_equal
    assert any(words in problem for problem in report.problems)


def test_a_wrong_preprocessing_is_caught(tmp_path):
    tree = {f"module.model.{name}": tensor for name, tensor in NETWORK.state_dict().items()}
    tree["module.normalizer.new_mean"] = torch.tensor([0.4914, 0.4822, 0.4465]).reshape(3, 1, 1)
    tree["module.normalizer.new_std"] = torch.tensor([0.2023, 0.1994, 0.2010]).reshape(3, 1, 1)
    checkpoint = save({"model": tree}, tmp_path / "in.pt", "legacy")
    convert_checkpoint(checkpoint, tmp_path / "out.safetensors")
    pair = tmp_path / "out.safetensors", checkpoint
    assert validate(*pair).passed
    assert any(
        "mean" in problem
        for problem in validate(altered(pair, tmp_path, mean=(0.485, 0.456, 0.406)), checkpoint).problems
    )


def test_another_checkpoint_is_noticed(pair, tmp_path):
    other = save(random_reference("resnet20", seed=1).state_dict(), tmp_path / "other.pth")
    report = validate(pair[0], other)
    assert report.digests_match and not report.numerically_equal and "not byte for byte" in report.notes[0]
    more = {**NETWORK.state_dict(), "auxiliary.weight": torch.ones(3, 3)}
    assert "1 tensors of the checkpoint were left out" in " ".join(
        validate(pair[0], save(more, tmp_path / "more.pth")).problems
    )
    with pytest.raises(ModelMismatchError):
        validate(pair[0], save(random_reference("resnet18").state_dict(), tmp_path / "other.pth"))


def test_a_deeper_sister_that_holds_every_tensor_is_told_at_once(pair, tmp_path):
    """A ResNet-32 has all of a ResNet-20's names and shapes."""
    deeper = save(random_reference("resnet32").state_dict(), tmp_path / "deeper.pth", "zip")
    with pytest.raises(
        ModelMismatchError, match=r"deeper\.pth: not a resnet20, as the converted file says, but resnet32"
    ):
        validate(pair[0], deeper)
    options = ConversionOptions(architecture="resnet20", ignore_extra=True)
    convert_checkpoint(deeper, tmp_path / "part.safetensors", options)
    assert validate(tmp_path / "part.safetensors", deeper).passed


def test_top1_agreement_counts_images_and_classes(pair, tmp_path):
    random = np.random.default_rng(0)
    for number in range(5):
        folder = tmp_path / "images" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 33, 3), np.uint8)).save(folder / f"{number}.png")
    agreement = validate(*pair, images=tmp_path / "images").agreement
    assert agreement.count == 5 and agreement.different == 0 and agreement.passed
    assert agreement.correct[0] == agreement.correct[1]
    assert agreement.largest_logit_difference < 1e-3


def test_the_command_line_writes_json_and_a_page_and_returns_4_for_a_wrong_file(pair, tmp_path, capsys):
    out = ["--json", str(tmp_path / "v.json"), "--html", str(tmp_path / "v.html")]
    assert main(["validate", *map(str, pair), *out]) == 0
    written = json.loads((tmp_path / "v.json").read_text())
    assert written["digests_match"] is True and written["numerically_equal"] is True
    assert {"name", "max_relative_error_float64", "max_relative_error_float32"} <= written["layers"][0].keys()
    text = (tmp_path / "v.html").read_text()
    assert "tensors, bit by bit" in text and ">layer2</text>" in text
    assert text.count("<circle") >= 80 and "layer3.2.conv2" in text and "http" not in text
    assert "numerically equal" in " ".join(capsys.readouterr().out.split())

    def flip(data):
        data[-100] ^= 0x80

    assert main(["validate", str(damaged(pair, tmp_path, flip)), str(pair[1]), *out]) == 4
    written = json.loads((tmp_path / "v.json").read_text())
    assert written["digests_match"] is False and written["numerically_equal"] is False
    assert "NOT EQUAL" in capsys.readouterr().out and "not equal" in (tmp_path / "v.html").read_text()


def test_what_only_rounding_excuses_is_said_everywhere(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LayerErrors, "limits", (1e-10, 6e-7))  # rounding itself is up to 1e-6 here
    out = ["--json", str(tmp_path / "v.json"), "--html", str(tmp_path / "v.html")]
    assert main(["validate", *map(str, pair), *out]) == 0
    written = json.loads((tmp_path / "v.json").read_text())
    assert len(written["excuses"]) >= 3 and written["numerically_equal"]
    layer = written["excuses"][0].partition(":")[0]
    assert "more than 6e-07; PyTorch's float32 differs from its own float64 by" in written["excuses"][0]
    assert f"excused by rounding: {layer}" in capsys.readouterr().out
    assert f"Excused by rounding:</span> {layer}" in (tmp_path / "v.html").read_text()
    report = validate(*pair)
    assert any(check.excused for check in summarize(report)) and all(check.passed for check in summarize(report))


def test_a_right_conversion_needs_no_excuse(pair):
    assert validate(*pair).excuses == []


@pytest.mark.parametrize(
    ("error", "rounding", "passed", "excused"),
    [(1e-5, None, True, False), (1e-4, 3e-5, True, True), (1e-4, 2e-5, False, False), (LARGEST, 1.0, False, False)],
)
def test_errors_above_the_limit_pass_up_to_four_times_pytorchs_own(error, rounding, passed, excused):
    layer = LayerErrors("layer")
    # Rounding is asked only where it is needed: None cannot be called.
    layer.add("float32", error, "x", None if rounding is None else lambda: rounding)
    assert layer.passed is passed and bool(layer.excuse) is excused
    layer.add("float32", 1e-3, "y", lambda: 1e-6)  # what excuses one input excuses no other
    assert not layer.passed


def test_a_flip_that_few_draws_see_is_looked_for(monkeypatch):
    """A ReLU near its corner flips in some draws alone: the search goes on until it is seen, and not beyond."""
    draws = []

    def gradients(network, image):
        draws.append(image)
        return {"cross_entropy": np.ones(4) + (len(draws) == 5)}

    monkeypatch.setattr(compare, "TorchNetwork", lambda *arguments, **options: None)
    monkeypatch.setattr(compare, "_torch_gradients", gradients)
    kinks = compare._Kinks(None, np.ones((1, 2, 2, 3), np.float32), [], {"cross_entropy": np.ones(4)})
    assert kinks.of("cross_entropy", 0.2) == 1.0 and len(draws) == 5
    assert kinks.of("cross_entropy", 0.9) == 1.0 and len(draws) == 5
    kinks.of("cross_entropy", 2.0)
    assert len(draws) == compare.KINK_DRAWS
    assert 0 < np.abs(draws[0] - draws[1]).max() < 1e-4


def test_logits_beyond_the_limits_need_an_excuse():
    def judged(actual, expected, exact):
        report = ValidationReport("", "", "", "", "", ())
        report.add_logits(*(np.array([values]) for values in (actual, expected, exact)), "x")
        return report.logits_close, bool(report.logits_excuse)

    assert judged([1.0, 0.0], [1.0009, 0.00009], [1.0, 0.0]) == (True, False)
    assert judged([900.0, 0.0], [900.0, 0.0003], [900.0, 0.0002]) == (True, True)
    assert judged([900.0, 0.0], [900.0, 0.0003], [900.0, 0.0003]) == (False, False)
    assert judged([np.nan, 0.0], [900.0, 0.0], [900.0, 0.0]) == (False, False)


def test_classes_that_are_right_no_more_often_than_by_chance_are_doubted():
    assert _doubts_of_order(Agreement(10_000, 0, 0.0, (8103, 8103)), 10) == []
    assert _doubts_of_order(Agreement(10, 0, 0.0, (0, 0)), 10) == []
    assert "--labels" in _doubts_of_order(Agreement(10_000, 0, 0.0, (12, 12)), 1000)[0]


def test_without_torch_the_command_says_what_to_install(monkeypatch, pair):
    monkeypatch.delitem(sys.modules, "jinv_convert.validate")
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, name, None)
    arguments = types.SimpleNamespace(converted=pair[0], checkpoint=str(pair[1]))
    with pytest.raises(UsageError, match=r'pip install "jinv\[torch\]"'):
        run_validate(arguments)


def test_torchvisions_definition_is_used_where_it_is_installed(monkeypatch):
    models = types.ModuleType("torchvision.models")
    models.list_models = lambda: ["resnet18"]
    models.get_model = lambda name, weights, num_classes: make_reference(name, num_classes)
    package = types.ModuleType("torchvision")
    package.models, package.__version__ = models, "1.2"
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert make_original("resnet18", 10)[1] == "torchvision 1.2"
    assert "jinv" in make_original("resnet20", 10)[1]


def test_relative_errors_are_per_image_and_never_infinite():
    reference = np.array([[1.0, -2.0], [100.0, 0.0]])
    assert relative_error(reference + [[0, 0.5], [0, 0.5]], reference) == 0.25
    assert relative_error(reference[:1] * 0, reference[:1] * 0) == 0
    assert relative_error(reference, reference * 0) == LARGEST
    assert relative_error(reference * np.nan, reference) == LARGEST
    assert relative_error(reference[:, :1], reference) == LARGEST


def test_a_report_of_the_worst_kind_can_still_be_printed_and_shown():
    layer = LayerErrors("layer[red]", LARGEST, LARGEST, tensors_differ=2, worst_input="<b>")
    report = ValidationReport("out", "in", "resnet20", "x", "y", ("digest",), ["<script>"], [layer], [layer])
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    assert "not a number" in text and text.count("layer[red]") == 3
    assert "<script>" not in page(report) and json.dumps(to_json(report), allow_nan=False)


def test_inputs_have_batches_of_1_2_and_7_odd_sizes_and_the_networks_own():
    inputs = make_inputs(224, 32, [], (0.5,) * 3, (0.5,) * 3)
    assert {len(batch.image) for batch in inputs} == {1, 2, 7}
    assert inputs[-1].image.shape == (1, 224, 224, 3)
    assert any(size % 2 for batch in inputs for size in batch.image.shape[1:3])
    assert sum(batch.differentiate for batch in inputs) == 2
    seven = next(batch.image for batch in inputs if len(batch.image) == 7)
    assert sum(image.min() == image.max() for image in seven) == 3 and np.abs(seven).max() > 100
    assert abs(natural_noise(np.random.default_rng(0), (20, 30)).std() - 1) < 1e-9
