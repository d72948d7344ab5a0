"""Labels: ids, names and draws become class ids, and whatever is unclear is refused."""

import pytest

from jinv.errors import UsageError
from jinv.labels import COUNTS, class_names, resolve_labels

IMAGENET = class_names("imagenet")
CIFAR = class_names("cifar10")


def test_class_names_have_the_networks_order():
    assert {kind: len(class_names(kind)) for kind in COUNTS} == COUNTS
    assert IMAGENET[207] == "golden retriever" and IMAGENET[130] == "flamingo" and IMAGENET[999] == "toilet tissue"
    assert CIFAR == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_class_names_of_an_unknown_set_are_refused():
    with pytest.raises(UsageError, match="did you mean 'imagenet'"):
        class_names("imagenets")


@pytest.mark.parametrize("label", [207, "golden retriever", "Golden  Retriever", "golden_retriever", "n02099601"])
def test_ids_names_and_synsets_resolve(label):
    assert resolve_labels([label], IMAGENET, 1) == [207]


def test_synonyms_resolve():
    assert resolve_labels(["Carassius auratus", "man-eater"], IMAGENET, 2) == [1, 2]
    assert resolve_labels(["car", "plane"], CIFAR, 2) == [1, 0]


def test_labels_are_cycled_to_the_count():
    assert resolve_labels([3, 7], IMAGENET, 5) == [3, 7, 3, 7, 3]
    assert resolve_labels([3, 7, 9], IMAGENET, 2) == [3, 7]


@pytest.mark.parametrize("name, ids", [("crane", (134, 517)), ("maillot", (638, 639)), ("Cardigan", (264, 474))])
def test_ambiguous_names_list_their_candidates(name, ids):
    with pytest.raises(UsageError) as error:
        resolve_labels([name], IMAGENET, 1)
    assert all(f"{i} (" in str(error.value) for i in ids) and "ambiguous" in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("label", [-1, 1000, 12.5, True, None, "12.5", "207", "1e3", "-1", ["tench"]])
def test_what_is_no_class_is_refused_with_the_range(label):
    with pytest.raises(UsageError, match="0 to 999"):
        resolve_labels([label], IMAGENET, 1)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'golden retriever'"):
        resolve_labels(["golden retreiver"], IMAGENET, 1)


@pytest.mark.parametrize("labels", [[], "tench"])
def test_neither_a_list_nor_random_is_refused(labels):
    with pytest.raises(UsageError, match="image.labels"):
        resolve_labels(labels, IMAGENET, 1)


def test_random_draws_every_class_once_and_is_a_prefix_of_longer_draws():
    long = resolve_labels("random", CIFAR, 25, seed=3)
    assert sorted(long[:10]) == sorted(long[10:20]) == list(range(10))
    assert long[:10] != long[10:20]
    assert resolve_labels("random", CIFAR, 7, seed=3) == long[:7]
    assert resolve_labels("random", IMAGENET, 30, seed=0) != resolve_labels("random", IMAGENET, 30, seed=1)


def test_random_draws_are_the_same_on_every_machine():
    assert resolve_labels("random", IMAGENET, 5, seed=0) == [211, 50, 313, 74, 339]
