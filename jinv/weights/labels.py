"""Class names and labels: ids, names and synonyms become the class ids that a network's outputs are numbered by."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Literal

from jinv.core.choices import Plan
from jinv.errors import StorageError, UsageError, nearest

Kind = Literal["imagenet", "cifar10", "cifar100"]
MAXIMUM_BYTES = 8_000_000
"""Of a label file; one of ImageNet-22k with all synonyms has two."""

COUNTS: dict[str, int] = {"imagenet": 1000, "cifar10": 10, "cifar100": 100}


def class_names(kind: str) -> tuple[str, ...]:
    """Each class's usual name, in the order of the networks' outputs. Names may repeat: ImageNet has two cranes."""
    return tuple(names[0] for _, names in _classes(kind))


def resolve_labels(
    labels: Sequence[object],
    class_names: Sequence[str],
    count: int,
    seed: int = 0,
    *,
    plan: Plan = "cycle",
    batch: int | None = None,
) -> list[int]:
    """`count` class ids from a list of ids and names, or `"random"`, drawn with `seed`, for batches of `batch` by a `plan`.

    A name is any synonym or WordNet synset, in any case, and must be unique. `"random"` draws classes without
    replacement until all are used, then again; the first n of a draw are the same whatever `count` is.

    Raises:
      UsageError: an unknown or ambiguous name, an id out of range, something that is neither, an empty list.
    """
    number, batch = len(class_names), batch or count
    if isinstance(labels, str):
        if labels != "random":
            raise UsageError.of("image.labels", f'{labels!r} must be a list of class ids or names, or "random"')
        drawn = (
            -(-count // batch) if plan == "one_class_per_batch" else min(count, number) if plan == "blocks" else count
        )
        return planned(plan, _draw(number, drawn, seed), count, batch)
    if not labels:
        raise UsageError.of("image.labels", 'an empty list; give class ids or names, or "random"')
    index = _index(tuple(class_names))
    ids = [_resolve(label, index, class_names) for label in labels]
    return planned(plan, ids, count, batch)


def planned(plan: Plan, labels: Sequence[int], count: int, batch: int) -> list[int]:
    """The class of each of `count` images in batches of `batch`.

    "cycle": the labels in turn, so that a batch has as many classes as it can (SRe2L). "one_class_per_batch": every batch
    has the next label alone (LPLD). "blocks": all images of a label side by side, `count` shared out evenly, so that a batch
    has a block of each of its few classes (WMDD).
    """
    number = len(labels)
    if plan == "one_class_per_batch":
        return [labels[i // batch % number] for i in range(count)]
    if plan == "blocks":
        return [labels[i * number // count] for i in range(count)] if number <= count else list(labels[:count])
    return [labels[i % number] for i in range(count)]


def find_class(name: str, class_names: Sequence[str]) -> int | None:
    """The id of the one class called `name` (any synonym or synset, any case), None where there is none or several."""
    found = _index(tuple(class_names)).get(_normal(name), [])
    return found[0] if len(found) == 1 else None


def folder_class(path: str, class_names: Sequence[str]) -> int | None:
    """The class of an image by the folders that it lies in, outermost first: one of a class' name, else one of an id.

    `train/dog/1.png`, `dog/1.png`, `5/1.png` and `005/1.png` are dogs of CIFAR-10. Of a zip also with backslashes. Last
    come the folders that `jinv export` makes, see `class_folders`.
    """
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    for folder in folders:
        if (found := find_class(folder, class_names)) is not None:
            return found
    for folder in reversed(folders):
        if folder.isascii() and folder.isdigit() and int(folder) < len(class_names):
            return int(folder)
    exported = _exported(tuple(class_names))
    return next((exported[folder] for folder in folders if folder in exported), None)


def slug(name: str) -> str:
    """A class' name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "class"


def class_folders(names: Mapping[int, str]) -> tuple[str, ...]:
    """A folder's name for every class up to the last, in alphabetical order too, from the names of some of them by id.

    Where those are ImageNet's it is the WordNet id, where they are CIFAR's the name, which are in order; elsewhere
    "0003_name", and "0003" of a class whose name is not known.
    """
    for kind, count in COUNTS.items():
        known = class_names(kind)
        if names and all(0 <= i < count and known[i] == name for i, name in names.items()):
            return tuple(usual[0].replace(" ", "_") if synset == "-" else synset for synset, usual in _classes(kind))
    count = max(names, default=-1) + 1
    width = max(4, len(str(count - 1)))
    return tuple(f"{i:0{width}d}" + (f"_{slug(names[i])}" if i in names else "") for i in range(count))


def read_label_file(path: str | Path) -> tuple[str, ...]:
    """A network's class names in the order of its outputs, from a file: of several names of a class, the first.

    Text has a class per line ("tench", "tench, Tinca tinca" or "n01440764 tench"; `#` begins a comment line); JSON is a
    list of names, or a table from output number to a name or a list of them, as Keras' `imagenet_class_index.json`.

    Raises:
      UsageError: not UTF-8, an empty name, numbers with a gap, JSON of another form. StorageError: unreadable.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAXIMUM_BYTES + 1)
        if len(data) > MAXIMUM_BYTES:
            raise UsageError(f"{path}: more than {MAXIMUM_BYTES} bytes, the limit of a label file")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: labels are UTF-8 text; byte {error.start} is not") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    names = _names_in_json(text, path) if text.lstrip()[:1] in ("[", "{") else _names_in_lines(text)
    if not names or not all(names):
        where = f"name {names.index('')} is empty" if names else "no names in it"
        raise UsageError(f"{path}: {where}; a label file has a name for every output of the network")
    return tuple(names)


def usual_ids(names: Sequence[str], kind: Kind) -> list[int | None]:
    """For every name the id that its class usually has (a name of two classes: its own place, if it is one of them)."""
    index = _index(class_names(kind))
    found = [index.get(_normal(name), []) for name in names]
    return [i if i in ids else ids[0] if len(ids) == 1 else None for i, ids in enumerate(found)]


def _names_in_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.rstrip().splitlines() if not line.startswith("#")]
    return [re.sub(r"^n\d{8}[\s,:]+", "", line).partition(", ")[0] for line in lines]


def _names_in_json(text: str, path: str | Path) -> list[str]:
    wrong = UsageError(f"{path}: labels as JSON are a list of names, or a table from output number to name")
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            found = [found[str(i)] for i in range(len(found))]
    except (ValueError, KeyError, RecursionError):
        raise wrong from None
    # Keras writes ["n01440764", "tench"].
    rows = [row if isinstance(row, list) else [row] for row in found]
    if not all(row and all(isinstance(name, str) for name in row) for row in rows):
        raise wrong
    return [next((name for name in row if not re.fullmatch(r"n\d{8}", name)), row[0]).strip() for row in rows]


def _resolve(label: object, index: dict[str, list[int]], class_names: Sequence[str]) -> int:
    last = len(class_names) - 1
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise UsageError.of("image.labels", f"{label!r} must be a class id from 0 to {last} or a class name")
    if isinstance(label, int):
        if not 0 <= label <= last:
            raise UsageError.of("image.labels", f"class id {label} is out of range, 0 to {last}")
        return label
    found = index.get(_normal(label), [])
    if len(found) == 1:
        return found[0]
    if found:
        # The usual names alone would not tell two cranes apart; what else the classes are called does.
        candidates = ", ".join(f"{i} ({_described(i, class_names)})" for i in found)
        raise UsageError.of("image.labels", f"{label!r} is ambiguous: {candidates}; give the id")
    if re.fullmatch(r"\s*[-+]?[\d.]+(e[-+]?\d+)?\s*", label, re.IGNORECASE):
        hint = f"class ids are whole numbers from 0 to {last}, without quotes"
        raise UsageError.of("image.labels", f"{label!r} is not a class name; {hint}")
    raise UsageError.of("image.labels", f"no class is called {label!r}{nearest(_normal(label), index)}")


def _draw(number: int, count: int, seed: int) -> list[int]:
    # Ordered by digest, not by a generator: the same draw on every machine and with every version of NumPy.
    ids: list[int] = []
    while len(ids) < count:
        turn = len(ids) // number
        ids += sorted(range(number), key=lambda i: hashlib.sha256(f"{seed}/{turn}/{i}".encode()).digest())
    return ids[:count]


@lru_cache(maxsize=8)
def _index(class_names: tuple[str, ...]) -> dict[str, list[int]]:
    """Normalised name -> ids, synonyms included where the names are packaged ones."""
    index: dict[str, list[int]] = {}
    for i, names in enumerate(_synonyms(class_names)):
        for name in {_normal(n) for n in names}:
            index.setdefault(name, []).append(i)
    return index


@lru_cache(maxsize=8)
def _exported(class_names: tuple[str, ...]) -> dict[str, int]:
    return {folder: i for i, folder in enumerate(class_folders(dict(enumerate(class_names))))}


def _synonyms(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    for kind in COUNTS:
        if names == tuple(known[0] for _, known in _classes(kind)):
            return [known if synset == "-" else (*known, synset) for synset, known in _classes(kind)]
    return [(name,) for name in names]


def _described(i: int, class_names: Sequence[str]) -> str:
    return ", ".join(_synonyms(tuple(class_names))[i])


def _normal(name: str) -> str:
    # A Mac writes folders' names with their accents apart.
    return " ".join(re.split(r"[\s_]+", unicodedata.normalize("NFC", name).strip().lower()))


@cache
def _classes(kind: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(synset, names) of every class, from the packaged text."""
    if kind not in COUNTS:
        raise UsageError(f"class names {kind!r}: not known{nearest(kind, COUNTS)} (known: {', '.join(COUNTS)})")
    text = (resources.files("jinv.weights.data") / f"{kind}_classes.txt").read_text(encoding="utf-8")
    lines = [line.partition(" ") for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == COUNTS[kind], f"{kind}_classes.txt has {len(lines)} classes"
    return tuple((synset, tuple(names.split(", "))) for synset, _, names in lines)
