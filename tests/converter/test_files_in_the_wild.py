"""Good files with odd things beside the weights convert; small files that ask for much are refused in time, in one line."""

import contextlib
import itertools
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import jinv
from jinv.errors import JinvError, ModelMismatchError, UnsafeInputError, UsageError
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.reader import Opaque, TensorRef, UnreadTensor, read_checkpoint
from jinv_convert.reader.globals import _KNOWN, dangerous
from jinv_convert.reader.rebuild import Known, Malformed, StorageView, set_item
from jinv_convert.reader.types import Storage
from jinv_convert.reference import make_reference
from jinv_convert.state_dict import select_state_dict
from tests.converter.reader_audit import cpu_seconds_below

GOOD = (
    "complex_beside_weights", "keys_that_are_paths", "layout_beside_weights", "log_of_numpy_floats", "one_prefix",
    "optimizer_object", "parameter_of_torch_0_3", "python2_text_integer", "scalar_beside_weights", "weights_in_a_list",
)  # fmt: skip
BAD = {
    "a_tensor_alone": (ModelMismatchError, "only a tensor of shape (3,), without a name"),
    "build_walks_keys": (UnsafeInputError, ""),
    "copies_by_counter": (UnsafeInputError, "copy more than"),
    "copies_by_size": (UnsafeInputError, "copy more than"),
    "dtype_of_a_list": (UnsafeInputError, ""),
    "lookup_of_a_dotted_word": (UnsafeInputError, "looks up a name"),
    "many_weight_sets": (ModelMismatchError, "more"),
    "module_under_a_key": (ModelMismatchError, "'net' is a pickled object"),
}


@pytest.fixture
def cases(shared_data):
    return shared_data.parent / "cases" / "checkpoints"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make_reference("resnet20", 10).state_dict()


@pytest.fixture
def converted(tmp_path):
    """Converts what torch saves of a value; the tensors, and the report."""

    def convert(value, **options):
        torch.save(value, tmp_path / "a.pth")
        report = convert_checkpoint(tmp_path / "a.pth", tmp_path / "a.safetensors", ConversionOptions(**options))
        return load_file(tmp_path / "a.safetensors"), report

    return convert


def same(a, b):
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.mark.parametrize("name", GOOD)
def test_real_cases_convert_to_the_bits_of_the_plain_state_dict(name, cases, converted, tmp_path):
    plain = torch.load(cases / "scalar_beside_weights.pth", weights_only=True)["state"]
    expected, _ = converted(plain)
    report = convert_checkpoint(cases / f"{name}.pth", tmp_path / "out.safetensors")
    assert same(load_file(tmp_path / "out.safetensors"), expected) and report.architecture == "resnet20"


def test_the_real_case_with_projections_converts_to_pytorchs_numbers(cases, tmp_path):
    path = cases / "cifar_resnet_with_projections.pth"
    report = convert_checkpoint(path, tmp_path / "out.safetensors")
    assert (report.architecture, report.num_classes, report.warnings) == ("resnet20_fc", 10, ())
    network = make_reference("resnet20_fc", 10)
    network.load_state_dict(torch.load(path, weights_only=True))
    classifier = jinv.load(tmp_path / "out.safetensors")
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(
        classifier.forward(classifier.variables, image).logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", BAD)
def test_real_cases_are_refused_in_time_and_in_one_line(name, cases, tmp_path):
    error, words = BAD[name]
    with cpu_seconds_below(2), pytest.raises(error) as caught:
        convert_checkpoint(cases / f"{name}.pth", tmp_path / "out.safetensors")
    message = str(caught.value)
    assert words in message and "\n" not in message and len(message) < 1000
    assert not any(internal in message for internal in ("TensorRef", "Opaque(", "StorageView"))


class Anything:
    """An object of somebody's own."""

    def __init__(self):
        self.tensors = [torch.ones(2)]


BESIDE = {
    "metrics": lambda: {"acc": torch.tensor(84.2), "top5": torch.tensor([97.0]), "epoch": 3},
    "sparse": lambda: {"adjacency": torch.eye(3).to_sparse()},
    "complex": lambda: {"spectrum": torch.ones(3, dtype=torch.complex64)},
    "meta": lambda: {"shape": torch.empty(2, device="meta")},
    "quantised": lambda: {"q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
    "a storage": lambda: {"storage": torch.ones(3).untyped_storage()},
    "a layout, a device, a dtype": lambda: {"layout": torch.strided, "device": torch.device("cpu"), "type": torch.half},
    "objects": lambda: {"object": Anything(), "loss": torch.nn.CrossEntropyLoss(torch.ones(3))},
    "an optimizer": lambda: {"optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2, 2))])},
    "keys": lambda: {"table": {Path("a"): 1, Path("b"): {"x": 1}, frozenset([1]): 2, ((1, 2), ("a", (3,))): 3}},
    "a long log": lambda: {"log": [np.float64(i) for i in range(40_000)], "pairs": [(i, 0.5) for i in range(100_000)]},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.filterwarnings("ignore")
def test_what_lies_beside_the_weights_changes_no_bit(beside, network, converted):
    expected, _ = converted(network)
    found, report = converted({"state": network, **BESIDE[beside]()})
    assert same(found, expected) and report.location == "state / no prefix"


def test_scalars_beside_the_weights_are_named(network, converted):
    _, report = converted({"state": network, "acc": torch.tensor(84.2)})
    assert "left alone, beside the weights: 'acc'" in report.notes


@pytest.mark.parametrize(
    ("wrap", "location"),
    [
        (lambda w: {"state_dict": [w]}, "state_dict.0"),
        (lambda w: (12, w), "1"),
        (lambda w: {"checkpoint": {"model": {"state_dict": w}}}, "checkpoint.model.state_dict"),
    ],
)
def test_weights_in_lists_and_deeper_are_found_and_said(wrap, location, network, converted):
    found, report = converted(wrap(network))
    assert same(found, converted(network)[0]) and report.location == f"{location} / no prefix"


@pytest.mark.parametrize("prefix", ["net.", "network.", "encoder.", "student.", "1.", "a.b.c.", "module.net."])
def test_one_prefix_of_all_names_is_left_out_and_said(prefix, network, converted):
    found, report = converted({prefix + name: value for name, value in network.items()})
    assert same(found, converted(network)[0])
    assert any("prefix" in note for note in report.notes) or prefix in report.location


def test_wrappers_inside_names_are_left_out(network, converted):
    wrapped = {
        f"_fsdp_wrapped_module.{n.replace('layer1.', 'layer1._fsdp_wrapped_module.')}": v for n, v in network.items()
    }
    assert same(converted(wrapped)[0], converted(network)[0])


def test_a_normalizer_in_front_of_the_network_is_taken(network, converted):
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.1])
    for front, rest in (("0", "1"), ("norm", "net"), ("normalization", "model")):
        tree = {f"{front}.mean": mean.view(1, 3, 1, 1), f"{front}.std": std.view(1, 3, 1, 1)}
        found, report = converted(tree | {f"{rest}.{name}": value for name, value in network.items()})
        assert same(found, converted(network)[0]) and report.mean == (0.5, 0.4, 0.3) and report.std == (0.2, 0.2, 0.1)


def test_metrics_and_losses_among_the_names_are_ignored_and_said(network, converted):
    beside = {"criterion.weight": torch.ones(10), "train_acc.tp": torch.tensor(3), "metrics.auroc.preds": torch.ones(4)}
    found, report = converted({"state_dict": network | beside})
    assert same(found, converted(network)[0])
    assert any(
        note.startswith("ignored 3 tensors of metrics or losses, such as 'criterion.weight'") for note in report.notes
    )


def test_strip_takes_what_begins_so(network, converted):
    other = {f"teacher.{name}": value + 1 for name, value in network.items()}
    both = {f"student.{name}": value for name, value in network.items()} | other
    with pytest.raises(ModelMismatchError):
        converted(both)
    found, report = converted(both, strip="student.")
    assert same(found, converted(network)[0])
    assert any("'student.'" in note and f"left out {len(network)} other" in note for note in report.notes)
    with pytest.raises(UsageError, match=r"--strip 'studnt.'.*did you mean 'student.'"):
        converted(both, strip="studnt.")


def test_other_weights_of_the_same_network_are_asked_about_and_can_be_had(network, converted):
    best = {name: value + 1 for name, value in network.items()}
    with pytest.raises(
        ModelMismatchError, match="several sets of weights.*'model / no prefix'.*'best_model / no prefix'"
    ):
        converted({"model": network, "best_model": best})
    assert same(converted({"model": network, "best_model": best}, select="best_model")[0], converted(best)[0])
    assert same(converted({"model": network, "best_model": network})[0], converted(network)[0])


def test_pruned_networks_are_doubted_and_empty_ones_refused(network, converted):
    torch.manual_seed(1)
    pruned = {n: v * (torch.rand(v.shape) > 0.8) if v.ndim == 4 else v for n, v in network.items()}
    found, report = converted(pruned)
    assert any("pruned" in warning for warning in report.warnings)
    empty = {n: torch.zeros_like(v) if v.ndim == 4 else v for n, v in network.items()}
    with pytest.raises(ModelMismatchError, match="zeros alone"):
        converted(empty)


def test_thousands_of_sets_are_compared_once_each(tmp_path):
    sets = {f"run{i}": {"w": torch.full((2, 2), float(i))} for i in range(3_000)}
    torch.save(sets, tmp_path / "a.pth")
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    with cpu_seconds_below(2), pytest.raises(ModelMismatchError, match="and 2992 more") as caught:
        select_state_dict(checkpoint)
    assert len(str(caught.value)) < 1000


def test_a_deflated_storage_is_inflated_twice_however_many_tensors_it_has(tmp_path, monkeypatch):
    from jinv_convert.reader.zip_archive import DeflatedBlob

    whole = torch.rand(100, 100)
    torch.save({f"w{i}": whole[i] for i in range(100)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as stored,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in stored.namelist():
            out.writestr(name, stored.read(name))
    checkpoint = read_checkpoint(tmp_path / "b.pth")
    inflated, whole_stream = [], DeflatedBlob.pieces
    monkeypatch.setattr(DeflatedBlob, "pieces", lambda self: inflated.append(self.name) or whole_stream(self))
    for i in range(100):
        assert checkpoint.tree[f"w{i}"].numpy().tobytes() == whole[i].numpy().tobytes()
    assert len(inflated) == 2


def _kinds():
    storage = Storage("0", 64)
    view = StorageView(storage, "float32", (0, 64))
    tensor = TensorRef((2,), "float32", storage, 0, (1,), (0, 64))
    return [
        None, True, 3, -1, 1 << 70, 2.5, "x", "latin1", b"x", [], [1], {}, {"a": 1}, (), (1, 2), ((1, 2), 3), view, tensor,
        UnreadTensor("a sparse tensor"), Opaque("a.b"), *list(_KNOWN.values())[:3], _KNOWN["torch", "float32"],
    ]  # fmt: skip


@pytest.mark.parametrize("known", [value for value in _KNOWN.values() if isinstance(value, Known) and value.call])
def test_every_known_function_refuses_or_answers_whatever_it_is_given(known):
    generator, kinds = random.Random(known.name), _kinds()
    calls = [(kind,) * count for kind in kinds for count in range(9)]
    calls += [tuple(generator.choices(kinds, k=generator.randrange(9))) for _ in range(2_000)]
    for args in calls:
        with contextlib.suppress(Malformed, ModelMismatchError):
            known.call(args)


def test_keys_are_bounded_however_they_are_nested():
    key = ()
    for _ in range(100_000):
        key = (key,)
    with pytest.raises(Malformed, match="parts"):
        set_item({}, key, 1)
    doubled = (1,)
    for _ in range(60):
        doubled = (doubled, doubled)
    with pytest.raises(Malformed, match="parts"):
        set_item({}, doubled, 1)


@pytest.mark.parametrize(
    "name",
    [
        "pydoc.locate", "uuid._get_command_stdout", "_osx_support._read_output", "_aix_support._read_cmd_output",
        "_pyrepl.pager.pipe_pager", "test.support.run_in_subinterp", "mailcap.findmatch", "_interpreters.run_string",
        "joblib.numpy_pickle.load", "pandas.io.pickle.read_pickle", "yaml.unsafe_load", "numpy.fromfile",
    ],
)  # fmt: skip
def test_more_ways_to_code_and_files_are_dangerous(name):
    module, _, attribute = name.rpartition(".")
    assert dangerous(module, attribute)


def test_messages_are_short_and_printable_whatever_the_names(tmp_path):
    for tree in ({"k" * 1000: 1}, {"state_dict": {"n" * 1000: Anything(), "w": torch.ones(2, 2)}}, {"a\x1b[2K\n": 3}):
        torch.save(tree, tmp_path / "a.pth")
        with pytest.raises(JinvError) as caught:
            select_state_dict(read_checkpoint(tmp_path / "a.pth"))
        assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_itertools_of_tables_are_bounded():
    """A tree of a million lists is not searched to its end."""
    from jinv_convert.tables import MAX_VISITED, _search

    deep = [[[[1] for _ in range(32)] for _ in range(32)] for _ in range(32)]
    with cpu_seconds_below(2):
        assert list(itertools.islice(_search([deep] * 32), MAX_VISITED)) == []
