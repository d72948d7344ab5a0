"""What `benchmarks.robust_twins` and `benchmarks.robustness_curve` write down, a JSON file per network."""

import json
from pathlib import Path
from typing import Any, Literal

from jinv.errors import StorageError
from jinv.files import write_text
from jinv.record.entry import E, Entry, validated
from jinv.record.estimate import Estimate
from jinv.record.evaluation import Overlap


class Settings(Entry):
    """How a twin is trained, eps aside.

    `epochs` are passes over the images given, `attack_step` is a share of eps; `precision` is that of activations in training:
    weights, the optimizer and every measurement are float32.
    """

    epochs: int = 8
    batch: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    attack_step: float = 1.25
    precision: Literal["float32", "bf16"] = "bf16"
    seed: int = 0


class File(Entry):
    """A file by its name and its content."""

    file: str
    sha256: str


class Score(Entry):
    """Right on so many of `count` real images."""

    correct: int
    count: int


class AttackedScore(Score):
    """The same under an attack that moves a pixel by up to `eps_255` 255ths."""

    eps_255: float


class Twin(Entry):
    """eps<N>.json: a network that was trained against an attack of `eps_255` 255ths, and what it is worth.

    `images` were trained on; `sha256` is that of the state dict beside it.
    """

    eps_255: float
    settings: Settings
    start: File
    images: int
    epoch_losses: tuple[float, ...]
    training_seconds: float
    clean: Score
    pgd20: tuple[AttackedScore, ...]
    threads: int
    machine: dict[str, Any]
    sha256: str

    def under_attack(self, eps_255: float) -> AttackedScore:
        """The score at that strength.

        Raises:
          ValueError: it was not measured.
        """
        for score in self.pgd20:
            if score.eps_255 == eps_255:
                return score
        raise ValueError(f"eps {self.eps_255:g}/255: was not attacked at {eps_255:g}/255")


class Recognition(Entry):
    """How many of the images a judge takes for their class, and its mean probability of that class, with 95 % intervals."""

    judge: str
    sha256: str
    count: int
    top1: Estimate
    confidence: Estimate

    @property
    def right(self) -> int:
        """How many it takes for their class."""
        return round(self.top1.value * self.count)


class Point(Entry):
    """A twin's images, or real ones (`eps_255` None), as judges see them.

    `reference` real images stand for the classes: `overlap` (precision, recall, density, coverage) and `kernel_distance`
    are taken to them and `distance_within_class`, the mean distance between two images of a class, in the sibling's features.
    """

    eps_255: float | None = None
    count: int
    stranger: Recognition
    sibling: Recognition
    reference: int
    overlap: Overlap
    kernel_distance: Estimate
    distance_within_class: Estimate
    high_frequency_energy: Estimate
    twin: Twin | None = None

    @property
    def name(self) -> str:
        """What its file is called."""
        return "real" if self.eps_255 is None else f"eps{self.eps_255:g}"


def write_record(path: Path, record: Entry) -> None:
    """Write a record as JSON, whole or not at all."""
    write_text(path, json.dumps(record.to_json(), indent=1) + "\n")


def read_record(path: Path, kind: type[E]) -> E:
    """The record in `path`.

    Raises:
      StorageError: there is none, or it is damaged.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    return validated(kind, table, path, StorageError)
