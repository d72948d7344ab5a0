"""Labels: ids, names and draws become class ids, and whatever is unclear is refused."""

import json

import pytest

from jinv.errors import StorageError, UsageError
from jinv.weights.labels import (
    COUNTS,
    class_folders,
    class_names,
    folder_class,
    read_label_file,
    resolve_labels,
    usual_ids,
)

IMAGENET = class_names("imagenet")
CIFAR = class_names("cifar10")


def test_class_names_have_the_networks_order():
    assert {kind: len(class_names(kind)) for kind in COUNTS} == COUNTS
    assert IMAGENET[207] == "golden retriever" and IMAGENET[130] == "flamingo" and IMAGENET[999] == "toilet tissue"
    assert CIFAR == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert class_names("cifar100")[0] == "apple" and class_names("cifar100")[99] == "worm"
    assert class_names("cifar100")[47] == "maple tree" and list(class_names("cifar100")) == sorted(
        class_names("cifar100")
    )


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


@pytest.mark.parametrize(
    "text",
    [
        "# comment\ntench\ngold fish\n",
        "\ufefftench, Tinca tinca\r\ngold fish, Carassius auratus\r\n",
        "n01440764 tench\nn01443537: gold fish\n\n",
        '["tench", "gold fish"]',
        '{"1": ["n01443537", "gold fish"], "0": ["n01440764", "tench"]}',
    ],
)
def test_label_files_are_lines_or_json(tmp_path, text):
    path = tmp_path / "labels"
    path.write_bytes(text.encode())
    assert read_label_file(path) == ("tench", "gold fish")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no names"),
        (b"tench\n\ngoldfish\n", "name 1 is empty"),
        ("épagneul".encode("latin-1"), "byte 0 is not"),
        (b'{"0": "tench", "2": "shark"}', "table from output number"),
        (b'{"tench": 0}', "table from output number"),
        (b"[1, 2]", "list of names"),
        (b'["tench"', "list of names"),
        (b"[[]]", "list of names"),
    ],
)
def test_label_files_of_another_form_are_refused(tmp_path, data, words):
    path = tmp_path / "labels"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=words) as error:
        read_label_file(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_label_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        read_label_file(tmp_path / "none")


def test_usual_ids_place_names_of_two_classes_by_where_they_stand(shared_data):
    assert usual_ids(IMAGENET, "imagenet") == list(range(1000))
    assert usual_ids(["goldfish", "crane", "no such class"], "imagenet") == [1, None, None]
    # The same classes from a file that was not written for jinv.
    classes = json.loads((shared_data / "imagenet_classes.json").read_text(encoding="utf-8"))
    found = usual_ids([entry["names"][0] for entry in sorted(classes, key=lambda entry: entry["index"])], "imagenet")
    assert found == list(range(1000))


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("dog/1.png", 5), ("train/dog/1.png", 5), ("dog/2012/1.png", 5), ("5/1.png", 5), ("val/005/1.png", 5),
        ("train\\dog\\1.png", 5), ("1.png", None), ("wolf/1.png", None), ("10/1.png", None), ("dog.png", None),
    ],
)  # fmt: skip
def test_an_image_is_of_the_class_of_a_folder_that_it_lies_in(path, label):
    assert folder_class(path, class_names("cifar10")) == label


def test_accents_are_the_same_however_they_are_written():
    assert folder_class("cafe\u0301/1.png", ("tea", "caf\u00e9")) == 1


@pytest.mark.parametrize("kind", COUNTS)
def test_folders_of_known_classes_are_in_the_order_of_their_labels(kind):
    names = class_names(kind)
    folders = class_folders({5: names[5]})
    assert folders == class_folders(dict(enumerate(names))) and len(folders) == COUNTS[kind]
    assert list(folders) == sorted(folders) and len(set(folders)) == len(folders) and not any(" " in f for f in folders)
    assert [folder_class(f"{folder}/1.png", names) for folder in folders] == list(range(len(folders)))
    assert kind != "imagenet" or folders[:2] == ("n01440764", "n01443537")


def test_folders_of_other_classes_begin_with_the_label():
    assert class_folders({3: "A b", 1: "../..", 2: "A b"}) == ("0000", "0001_class", "0002_a-b", "0003_a-b")
    assert class_folders({3: "cat", 4: "cat"})[4] == "0004_cat"  # of CIFAR-10 it would be a deer
    folders = class_folders({12345: "last", 9: "early"})
    assert list(folders) == sorted(folders) and folders[9] == "00009_early" and class_folders({}) == ()
    names = ("one", "two words", "one")
    assert [folder_class(f"{f}/x.png", names) for f in class_folders(dict(enumerate(names)))] == [0, 1, 2]
