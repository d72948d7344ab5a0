"""Which tensors of a checkpoint are the network: containers, prefixes, normalizers, and what must be asked."""

import numpy as np
import pytest

from jinv.errors import ModelMismatchError
from jinv_convert.reader.types import Checkpoint, Opaque, Storage, TensorRef
from jinv_convert.state_dict import select_state_dict


class Memory:
    def __init__(self, data):
        self.data, self.size = np.frombuffer(data, np.uint8), len(data)

    def read(self, start, size):
        return self.data[start : start + size].copy()


def tensor(*values, shape=None):
    array = np.array(values, np.float32)
    storage = Storage("0", array.nbytes, blob=Memory(array.tobytes()))
    shape = shape or array.shape
    strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    return TensorRef(shape, "float32", storage, 0, strides, (0, array.nbytes))


def select(tree, choice=None):
    return select_state_dict(Checkpoint("file.pth", "00", "zip", tree), choice)


def weights(prefix="", shift=0.0):
    return {f"{prefix}conv1.weight": tensor(1 + shift, 2), f"{prefix}fc.bias": tensor(3 + shift)}


def values(state):
    return {name: ref.numpy().tolist() for name, ref in state.tensors.items()}


EXPECTED = {"conv1.weight": [1, 2], "fc.bias": [3]}


@pytest.mark.parametrize("container", ["", "state_dict", "model", "model_state_dict", "net", "my_network"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "backbone.", "module.model.", "_orig_mod.module."]
)
def test_every_container_and_prefix_gives_the_same_tensors(container, prefix):
    table = weights(prefix)
    tree = {container: table, "epoch": 3, "optimizer": {"state": {0: {"momentum": tensor(9)}}}} if container else table
    state = select(tree)
    assert values(state) == EXPECTED
    assert state.location == " / ".join(p for p in (container, prefix or "no prefix") if p)
    assert not state.averaged and state.normalizer is None


def test_a_container_inside_a_container_is_found():
    assert values(select({"model": {"state_dict": weights(), "epoch": 1}})) == EXPECTED


def test_a_head_beside_a_backbone_is_one_network():
    tree = {"backbone.conv1.weight": tensor(1, 2), "fc.bias": tensor(3)}
    assert values(select(tree)) == EXPECTED


def robustness(aliased=True):
    model = weights("module.model.")
    copies = {name.replace("module.", "module.attacker.", 1): ref for name, ref in model.items()}
    if not aliased:
        copies["module.attacker.model.fc.bias"] = tensor(4)
    normalizers = {
        f"module.{owner}.new_{which}": tensor(*numbers, shape=(3, 1, 1))
        for owner in ("normalizer", "attacker.normalize")
        for which, numbers in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225)))
    }
    return {"model": normalizers | model | copies, "optimizer": {}, "schedule": Opaque("dill.function"), "epoch": 1}


def test_the_robustness_layout_drops_aliases_and_harvests_the_normalizer_once():
    state = select(robustness())
    assert values(state) == EXPECTED
    assert state.location == "model / module.model."
    assert state.normalizer == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert any("2 aliases" in note for note in state.notes)


def test_attacker_copies_that_are_other_weights_are_refused():
    with pytest.raises(ModelMismatchError, match="attacker.model.fc.bias.*not the same"):
        select(robustness(aliased=False))


def test_equal_copies_in_other_storages_are_aliases_too():
    tree = weights("model.") | weights("attacker.model.")
    assert values(select(tree)) == EXPECTED


def test_only_attacker_weights_are_weights():
    assert values(select(weights("attacker.model."))) == EXPECTED


@pytest.mark.parametrize(
    ("mean", "std"), [("normalize.mean", "normalize.std"), ("mu", "sigma"), ("module.mean", "module.std")]
)
def test_robustbench_normalizers_are_harvested(mean, std):
    tree = weights("model.") | {mean: tensor(0.5, 0.4, 0.3, shape=(1, 3, 1, 1)), std: tensor(0.2, 0.2, 0.1)}
    state = select({"state_dict": tree})
    assert state.normalizer == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1)) and values(state) == EXPECTED


@pytest.mark.parametrize(
    "extra",
    [
        {"normalize.mean": tensor(0.5, 0.5, 0.5)},
        {"normalize.mean": tensor(0.5, 0.5, 0.5), "normalize.std": tensor(0.5, 0, 0.5)},
        {"normalize.mean": tensor(0.5, np.nan, 0.5), "normalize.std": tensor(0.5, 0.5, 0.5)},
        {
            "normalize.mean": tensor(0.5, 0.5, 0.5),
            "normalizer.new_mean": tensor(0.4, 0.5, 0.5),
            "normalize.std": tensor(0.5, 0.5, 0.5),
        },
    ],
    ids=["no std", "zero std", "nan", "two that disagree"],
)
def test_half_double_or_impossible_normalizers_are_refused(extra):
    with pytest.raises(ModelMismatchError, match="normalizer"):
        select(weights("model.") | extra)


def test_two_keys_that_are_equal_without_prefixes_are_refused():
    with pytest.raises(ModelMismatchError, match="'module.fc.bias' and 'fc.bias'"):
        select({"module.fc.bias": tensor(1), "fc.bias": tensor(1)})


def test_raw_and_averaged_weights_are_asked_about():
    tree = {"state_dict": weights(), "state_dict_ema": weights(shift=1)}
    with pytest.raises(ModelMismatchError, match="--select.*state_dict.*state_dict_ema"):
        select(tree)
    assert values(select(tree, "state_dict")) == EXPECTED
    averaged = select(tree, "state_dict_ema")
    assert averaged.averaged and averaged.tensors["fc.bias"].numpy().tolist() == [4]
    assert select(tree, "ema").averaged and not select(tree, "raw").averaged


def test_averaged_weights_under_a_prefix_are_asked_about_too():
    tree = {"state_dict": weights("model.") | weights("model_ema.module.", shift=1)}
    with pytest.raises(ModelMismatchError, match="model_ema.module."):
        select(tree)
    assert select(tree, "model_ema.module.").averaged
    assert values(select(tree, "model.")) == EXPECTED


def test_averaged_weights_alone_are_taken_and_said():
    state = select({"model_ema": weights("module.")})
    assert state.averaged and any("average" in note for note in state.notes)
    assert select({**weights("module."), "n_averaged": tensor(5)}).averaged


def test_two_containers_of_the_same_tensors_are_one():
    table = weights()
    assert values(select({"state_dict": table, "model": dict(table)})) == EXPECTED


def test_two_containers_of_different_tensors_are_asked_about():
    with pytest.raises(ModelMismatchError, match="several sets"):
        select({"state_dict": weights(), "net": weights(shift=1)})
    with pytest.raises(ModelMismatchError, match="--select 'nothing' is none of: "):
        select({"state_dict": weights(), "net": weights(shift=1)}, "nothing")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Opaque("torchvision.models.resnet.ResNet"), "torchvision.models.resnet.ResNet.*state_dict"),
        ({}, "no state dict"),
        ({"epoch": 3, "arch": "resnet"}, "'epoch', 'arch'"),
        ([tensor(1)], "a list"),
        ({"state_dict": {"fc.bias": tensor(1), "fc.weight": Opaque("my.Tensor")}}, "fc.weight.*my.Tensor"),
        ({"state_dict": {"fc.bias": tensor(1), 3: tensor(2)}}, "'3'"),
    ],
)
def test_files_without_one_readable_state_dict_are_refused(tree, message):
    with pytest.raises(ModelMismatchError, match=message):
        select(tree)


def test_entries_that_are_no_tensors_are_left_out_and_noted():
    state = select({"state_dict": weights() | {"version": 3}})
    assert values(state) == EXPECTED and any("'version'" in note for note in state.notes)
