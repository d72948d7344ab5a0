"""What a directory holds, by the record that lies in it: a run, or what jinv makes besides runs."""

from pathlib import Path
from typing import Literal

Kind = Literal["run", "training", "distillation", "search", "sweep"]

RECORDS: dict[Kind, str] = {
    "run": "manifest.json",
    "training": "training.json",
    "distillation": "distillation.json",
    "search": "search.json",
    "sweep": "sweep.json",
}
"""The file of each that is there from its beginning; a sweep's comes at its end."""

_INSTEAD: dict[Kind, str] = {
    "training": "a training, whose network is its model.safetensors",
    "distillation": "a distillation, whose runs are the folders of its images/",
    "search": "a search, whose runs are its folders",
    "sweep": "a sweep, whose runs are its folders",
}


def kind_of(path: Path) -> Kind | None:
    """What the directory holds; None where it is none, or holds nothing of jinv's."""
    return next((kind for kind, name in RECORDS.items() if (path / name).is_file()), None)


def not_a_run(path: Path) -> str:
    """That a directory is no run's, and what it is instead, in words."""
    kind = kind_of(path)
    instead = f"; {_INSTEAD[kind]}" if kind in _INSTEAD else ""
    return f"{path}: not a run directory (no {RECORDS['run']}){instead}"
