"""What a directory holds, by the record that lies in it: a run, or what jinv makes besides runs; and what to do with it instead."""

from pathlib import Path
from typing import Literal, NamedTuple

from jinv.images.folder import MANIFEST

Kind = Literal["run", "training", "distillation", "search", "sweep"]

RECORDS: dict[Kind, str] = {
    "run": MANIFEST,
    "training": "training.json",
    "distillation": "distillation.json",
    "search": "search.json",
    "sweep": "sweep.json",
}
"""The file of each that is there from its beginning; a sweep's comes at its end."""

COMPARISON, JOURNAL = "comparison.html", "study.jsonl"
"""The page of a search or a sweep, and a search's own file of Optuna's."""

_MARKS: dict[Kind, frozenset[str]] = {
    "training": frozenset({"training.html", "checkpoint.npz", "checkpoint_before.npz"}),
    "distillation": frozenset({"distillation.html", "students"}),
    "search": frozenset({JOURNAL}),
}
"""Where the record is lost: what no other kind has, as far as its name tells."""


class Instead(NamedTuple):
    """Of what is no run, where a run is wanted: where its runs are; of it as a whole, what mends it and what judges it.

    network: behind its kind, where a network is wanted. `{path}` stands for the directory.
    """

    runs: str
    mends: str
    judges: str
    network: str


_ONE_OF = "of its runs name one, {path}/NAME"
_NO_NETWORK = ", whose runs have no networks of their own; give the model of its config"

INSTEAD: dict[Kind, Instead] = {
    "training": Instead(
        "whose network is its model.safetensors",
        "jinv train CONFIG --out {path} --resume makes again what an unfinished one lacks",
        "jinv train CONFIG --out {path} --resume --set test=FOLDER_OR_ZIP tests its network again",
        "; its network is {path}/model.safetensors",
    ),
    "distillation": Instead(
        "whose runs are the folders of its images/",
        "jinv distill CONFIG --out {path} --resume trains students again; of its runs name one, {path}/images/NAME",
        "its students are tested; of its runs name one, {path}/images/NAME",
        "; its students' networks are {path}/students/SOURCE/seed_N/model.safetensors",
    ),
    "search": Instead("whose runs are its folders", _ONE_OF, _ONE_OF, _NO_NETWORK),
    "sweep": Instead("whose runs are its folders", _ONE_OF, _ONE_OF, _NO_NETWORK),
}


def kind_of(path: Path) -> Kind | None:
    """What the directory holds; None where it is none, or holds nothing of jinv's."""
    return next((kind for kind, name in RECORDS.items() if (path / name).is_file()), None)


def not_a(kind: Kind, path: Path) -> str:
    """That a directory is none of that kind, and what it is instead, or was, in words."""
    said = f"{path}: not a {'run directory' if kind == 'run' else kind} (no {RECORDS[kind]})"
    if (other := kind_of(path)) is not None:
        return f"{said}; a {other}" + (f", {INSTEAD[other].runs}" if other in INSTEAD else "")
    for lost, marks in _MARKS.items():
        if any((path / name).exists() for name in marks):
            return f"{said}; what is left is a {lost}'s, whose {RECORDS[lost]} is lost"
    return said
