"""Classifiers in ONNX as judges, on small files made here: what they are given, what is said of them, what is refused."""

import hashlib
import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from jinv.cli import main  # noqa: E402
from jinv.errors import JinvError, ModelMismatchError, StorageError, UnsafeInputError, UsageError  # noqa: E402
from jinv.images.codec import png_bytes  # noqa: E402
from jinv.judge import judges  # noqa: E402
from jinv.judge import onnx_judge as module  # noqa: E402
from jinv.judge.evaluate import check_judges, evaluate_run, is_judged  # noqa: E402
from jinv.judge.judge import judge  # noqa: E402
from jinv.judge.onnx_judge import WITHOUT_FEATURES, load_onnx  # noqa: E402
from jinv.recipe.read import check_config  # noqa: E402
from jinv.recipe.resolved import resolved_table  # noqa: E402
from jinv.record.directory import RunDirectory  # noqa: E402
from jinv.record.evaluation import Withheld  # noqa: E402
from jinv.weights.labels import class_names  # noqa: E402
from tests.networks import CLASSES, tiny_classifier  # noqa: E402

MEAN, STD = np.array([10.0, 20.0, 30.0]), np.array([2.0, 4.0, 8.0])
TABLE = """
size = 6
white = 255
mean = [10, 20, 30]
std = [2.0, 4, 8]
layout = "{layout}"
channels = "{channels}"
class_names = {names}
outputs = "{outputs}"
"""
NAMES = ["red", "green", "blue"]


def table(layout="NCHW", channels="RGB", names=NAMES, outputs="logits", more=""):
    return TABLE.format(layout=layout, channels=channels, names=json.dumps(names), outputs=outputs) + more


def network(layout="NCHW", batch="n", softmax=False, classes=3, size=6, extra=()):
    """Logits are the mean of each channel as it comes in, tiled over the classes."""
    shape = [batch, 3, size, size] if layout == "NCHW" else [batch, size, size, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    matrix = np.tile(np.eye(3, dtype=np.float32), -(-classes // 3))[:, :classes]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["logits" if not softmax else "raw"]),
        *([helper.make_node("Softmax", ["raw"], ["logits"], axis=1)] if softmax else []),
        *extra,
    ]
    outputs = ["logits", *(name for node in extra for name in node.output)]
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, classes]) for name in outputs],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def save(tmp_path):
    """Writes a network and what is said of it; returns the file."""

    def save(model=None, text=None, name="net"):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes((model or network()).SerializeToString())
        if text != "":
            path.with_suffix(".toml").write_text(text or table())
        return path

    return save


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), np.uint8)


def refusal(path, error, tables=None):
    with pytest.raises(error) as caught:
        load_onnx(path, tables or {})
    assert "\n" not in str(caught.value) and str(path.stem) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_pictures_are_given_as_the_table_says(save, pictures, layout, channels, batch):
    judged = load_onnx(save(network(layout, batch), table(layout, channels)), {})
    expected = ((pictures.astype(np.float64) - MEAN) / STD).mean((1, 2))[:, :: -1 if channels == "BGR" else 1]
    judgement = judge(judged, pictures)
    np.testing.assert_allclose(judgement.logits, expected, rtol=1e-5, atol=1e-5)
    assert judgement.features is None and judgement.norm_stats == ()
    assert (judged.architecture, judged.input_size, judged.class_names) == ("net", 6, tuple(NAMES))


def test_white_can_be_one(save, pictures):
    text = table().replace("white = 255", "white = 1").replace("[10, 20, 30]", "[0.5, 0.25, 0.125]")
    expected = ((pictures / 255 - [0.5, 0.25, 0.125]) / STD).mean((1, 2))
    np.testing.assert_allclose(judge(load_onnx(save(text=text), {}), pictures).logits, expected, rtol=1e-5, atol=1e-5)


def test_probabilities_become_logits_whose_softmax_they_are(save, pictures):
    judged = load_onnx(save(network(softmax=True), table(outputs="probabilities")), {})
    values = ((pictures.astype(np.float64) - MEAN) / STD).mean((1, 2))
    expected = values - np.log(np.exp(values).sum(1, keepdims=True))
    np.testing.assert_allclose(judge(judged, pictures).logits, expected, rtol=1e-4, atol=1e-4)


def test_outputs_that_are_not_what_is_said_are_refused(save):
    said = refusal(save(network(softmax=True)), ModelMismatchError)
    assert 'they sum to 1: outputs = "probabilities"?' in said
    said = refusal(save(text=table(outputs="probabilities")), ModelMismatchError)
    assert 'they do not sum to 1: outputs = "logits"?' in said


def test_names_in_another_order_are_put_into_the_usual_one(save, pictures):
    shuffled = ["background", *reversed(CLASSES)]
    judged = load_onnx(save(network(classes=11), table(names=shuffled)), {})
    plain = load_onnx(save(network(classes=11), table(names=[f"c{i}" for i in range(11)]), "plain"), {})
    assert judged.class_names == CLASSES
    np.testing.assert_array_equal(judge(judged, pictures).logits, judge(plain, pictures).logits[:, :0:-1])


def test_a_hundred_classes_are_cifar_100s_by_name_or_list(save, pictures):
    names = class_names("cifar100")
    for given in ("cifar100", [*reversed(names)]):
        judged = load_onnx(save(network(classes=100), table(names=given)), {})
        assert judged.class_names == names and judge(judged, pictures).logits.shape == (5, 100)


def test_a_background_class_is_left_out(save, pictures):
    judged = load_onnx(save(network(classes=11), table(names="cifar10", more="first_class = 1\n")), {})
    assert judged.class_names == CLASSES and judge(judged, pictures).logits.shape == (5, 10)
    assert "10 outputs, but class_names has 10 behind first_class = 1" in refusal(
        save(network(classes=10), table(names="cifar10", more="first_class = 1\n")), ModelMismatchError
    )


def test_facts_and_digest_are_there_for_others(save):
    facts = 'family = "mobilenet"\ntraining = "TF-slim"\naccuracy = 0.88\naccuracy_on = "1,000 photographs"\n'
    path = save(text=table(more=facts))
    judged = load_onnx(path, {})
    assert judged.source["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (judged.family, judged.training, judged.table.accuracy) == ("mobilenet", "TF-slim", 0.88)
    assert "accuracy_on" in refusal(save(text=table(more="accuracy = 0.88\n")), UsageError)
    plain = load_onnx(save(text=table()), {})
    assert plain.family is None and plain.training is None


def test_where_nothing_is_said_the_line_says_what_to_write(save):
    said = refusal(save(text=""), UsageError)
    assert "write net.toml beside it, or [evaluate.onnx.net] in the config" in said
    assert "with size, white, mean, std, layout, channels, class_names, outputs" in said
    said = refusal(save(text='size = 6\nlayout = "NCWH"\nmeen = [1, 2, 3]\nstd = [0, 1, 1]\nwhite = 2\n'), UsageError)
    for part in ("did you mean 'mean'", "one of 'NCHW', 'NHWC'", "three numbers above 0", "1 or 255", "class_names"):
        assert part in said


def test_the_config_says_it_before_the_file_beside(save):
    path = save(text="nothing = 1\n")
    facts = check_config(RECIPE | {"evaluate": {"verifiers": [str(path)], "onnx": {"net": SAID}}}).evaluate.onnx
    assert load_onnx(path, facts).class_names == tuple(NAMES)


SAID = {
    "size": 6, "white": 255, "mean": [10, 20, 30], "std": [2.0, 4, 8], "layout": "NCHW", "channels": "RGB",
    "class_names": NAMES, "outputs": "logits",
}  # fmt: skip
RECIPE = {
    "model": "resnet20", "image": {"size": 8, "labels": [1]}, "stages": [{"steps": 1}], "terms": {"cross_entropy": {}},
}  # fmt: skip


def test_a_config_keeps_what_it_says_of_onnx_files(tmp_path):
    table = RECIPE | {"evaluate": {"verifiers": ["net.onnx"], "onnx": {"net": SAID}}}
    recipe = check_config(table, folder=tmp_path)
    assert recipe.evaluate.verifiers == (str(tmp_path / "net.onnx"),)
    written = resolved_table(recipe)
    assert written["evaluate"]["onnx"]["net"]["class_names"] == NAMES
    assert resolved_table(check_config(written)) == written
    assert "onnx" not in resolved_table(check_config(RECIPE)).get("evaluate", {})
    with pytest.raises(UsageError, match=r"evaluate.onnx.net.*layuot"):
        check_config(RECIPE | {"evaluate": {"onnx": {"net": {**SAID, "layuot": 1}}}})


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        (network(size=7), table(), "its input is n x 3 x 7 x 7, but layout NCHW and size 6 make it N x 3 x 6 x 6"),
        (network("NHWC"), table(), "its input is n x 6 x 6 x 3"),
        (network(classes=4), table(), "4 outputs, but class_names has 3"),
    ],
)
def test_a_network_of_other_shapes_is_refused(save, model, text, words):
    assert words in refusal(save(model, text), ModelMismatchError)


def test_of_several_outputs_one_has_to_be_named(save, pictures):
    model = network(extra=[helper.make_node("Neg", ["logits"], ["minus"])])
    assert "write which is the classes': output = one of 'logits', 'minus'" in refusal(save(model), UsageError)
    assert "no output 'plus' (known: 'logits', 'minus')" in refusal(
        save(model, table(more='output = "plus"\n')), UsageError
    )
    plus, minus = (load_onnx(save(model, table(more=f'output = "{o}"\n')), {}) for o in ("logits", "minus"))
    np.testing.assert_array_equal(judge(plus, pictures).logits, -judge(minus, pictures).logits)


def test_damaged_files_foreign_operators_and_missing_ones_are_one_line(save, tmp_path):
    path = save()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "onnxruntime cannot load it" in refusal(path, UnsafeInputError)
    path.write_bytes(b"")
    refusal(path, UnsafeInputError)
    custom = network(extra=[helper.make_node("Own", ["logits"], ["own"], domain="com.example")])
    custom.opset_import.append(helper.make_opsetid("com.example", 1))
    assert "Own" in refusal(save(custom, table(more='output = "logits"\n')), UnsafeInputError)
    path.unlink()
    assert "no such file" in refusal(path, StorageError)


@pytest.mark.parametrize("where", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_weights_in_other_files_are_refused(save, tmp_path, where, monkeypatch):
    """Inside the folder as outside: the digest of a judge covers all that judges. The working folder is no way either."""
    model = network()
    weights = np.eye(3, dtype=np.float32).tobytes()
    (tmp_path / "inside").mkdir()
    for folder in (tmp_path, tmp_path / "inside"):
        (folder / "weights.bin").write_bytes(weights)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": where, "offset": "0", "length": str(len(weights))}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path = save(model, name="inside/net")
    monkeypatch.chdir(tmp_path / "inside")
    assert "its weights lie in other files" in refusal(path, UnsafeInputError)


def test_without_onnxruntime_the_extra_is_named(save, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r'pip install "jinv\[onnx\]"'):
        module.load_onnx(save(), {})


def test_an_onnx_file_is_no_network_to_invert(save):
    from jinv.weights.load import load

    with pytest.raises(UsageError, match="can judge .* but not be inverted"):
        load(str(save()))


@pytest.fixture
def run(tmp_path):
    """Three images; the last is red but labelled blue."""
    folder = tmp_path / "run"
    (folder / "images").mkdir(parents=True)
    manifest = {"schema": 1, "labels": [0, 1, 2], "class_names": NAMES, "model": {"sha256": "inverted"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for i, channel in enumerate([0, 1, 0]):
        image = np.full((12, 12, 3), 20, np.uint8)
        image[..., channel] = 250
        (folder / "images" / f"{i:06d}_{NAMES[i]}.png").write_bytes(png_bytes(image))
    return folder


EVEN = table().replace("[10, 20, 30]", "[0, 0, 0]").replace("[2.0, 4, 8]", "[1, 1, 1]")


@pytest.fixture
def real(tmp_path):
    """A real image of every class, in its folder."""
    real = tmp_path / "real"
    for channel, name in enumerate(NAMES):
        (real / name).mkdir(parents=True)
        image = np.full((9, 9, 3), 20, np.uint8)
        image[..., channel] = 250
        (real / name / "0.png").write_bytes(png_bytes(image))
    return real


def test_a_run_is_judged_and_what_needs_features_is_withheld(run, save, real, monkeypatch):
    monkeypatch.setattr(judges, "load", lambda name: tiny_classifier())
    path = save(text=EVEN)
    result = evaluate_run(run, [str(path)], real)
    verdict = result.verifiers["net"]
    assert [opinion.correct for opinion in verdict.per_image] == [True, True, False]
    assert verdict.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and verdict.independent
    withheld = Withheld(withheld=WITHOUT_FEATURES)
    assert verdict.diversity == withheld and verdict.norm_distances == ()
    beside = verdict.reference
    assert beside.kernel_distance == beside.overlap == beside.frechet_distance == beside.diversity == withheld
    assert (beside.count, beside.nearest, beside.top1.value) == (3, (), 1.0)
    assert not (run / "nearest").exists()
    from jinv.record.evaluation import read_evaluation

    assert read_evaluation(run / "evaluation.json") == result


def test_what_is_said_of_it_makes_it_a_stranger_and_photographs_are_judged_too(run, save, real, capsys):
    manifest = json.loads((run / "manifest.json").read_text())
    members = [
        {"sha256": s, "family": f, "training": t, "share": 0.5} for s, f, t in (("a", "A", "x"), ("b", "B", "y"))
    ]
    (run / "manifest.json").write_text(json.dumps(manifest | {"model": members[0], "committee": members}))
    facts = 'family = "{}"\ntraining = "{}"\naccuracy = 0.88\naccuracy_on = "1,000 photographs"\n'
    sibling = save(text=EVEN + facts.format("b", "z"), name="sibling")
    stranger = save(text=EVEN + facts.format("C", "z"), name="stranger")
    result = evaluate_run(run, [str(sibling), str(stranger)], photographs=real)
    assert [(name, v.relation) for name, v in result.verifiers.items()] == [
        ("stranger", "stranger"),
        ("sibling", "sibling"),
    ]
    verdict = result.verifiers["stranger"]
    assert (verdict.family, verdict.training, verdict.accuracy) == ("C", "z", 0.88)
    assert (verdict.photographs.count, verdict.photographs.top1.value) == (3, 1.0)
    out = real.parent / "found.json"
    assert main(["evaluate", str(real), "--verifier", str(stranger), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["verifiers"]["stranger"]["top1"] == 1.0


def test_a_judge_is_tried_before_the_first_step(save):
    """Of a network with the run's classes nothing is said; of one with others its first differing class."""
    path = save(network(classes=10), table(names="cifar10"))
    recipe = check_config(RECIPE | {"evaluate": {"verifiers": [str(path)]}})
    check_judges(recipe, tiny_classifier(), [1])
    for model, text in ((network(classes=9), table(names="cifar10")), (network(), table())):
        save(model, text)
        with pytest.raises(JinvError) as error:
            check_judges(recipe, tiny_classifier(), [1])
        assert error.value.exit_code == 4


def test_another_preprocessing_is_another_judge(run, save):
    """The file stays as it is; a run that is resumed has to be judged again."""
    path = save(text=EVEN)
    recipe = check_config(RECIPE | {"evaluate": {"verifiers": [str(path)]}})
    assert not is_judged(RunDirectory(run), recipe, {})
    evaluate_run(run, [str(path)])
    assert is_judged(RunDirectory(run), recipe, {})
    path.with_suffix(".toml").write_text(EVEN.replace('"RGB"', '"BGR"'))
    assert not is_judged(RunDirectory(run), recipe, {})
