"""What a training leaves on disk, beside its config.toml and its network:

training.json      what it was made of and on, and what the network is worth; from its start, `finished` null until its end; it
                   ends with its own digest
metrics.jsonl      a line per epoch; timing.jsonl beside it when each was logged (`jinv.record.timing`), of no seal
"""

import json
from collections.abc import Iterable
from pathlib import Path

from jinv.errors import StorageError
from jinv.record.entry import Entry, Whole, parsed, read_record, validated
from jinv.record.estimate import Estimate
from jinv.record.kinds import RECORDS
from jinv.record.manifest import PluginUse
from jinv.record.metrics import Number
from jinv.record.units import Environment

RECORD, EPOCHS, NETWORK, PAGE = RECORDS["training"], "metrics.jsonl", "model.safetensors", "training.html"
SCHEMA = 1

SEALED = (NETWORK, EPOCHS)
"""What of a finished training nothing makes again, and whose digests are in its record; its config ends with its own."""


class EpochLine(Entry):
    """What was logged of an epoch: means over its images as they were shown; accuracy against the targets' largest class.

    step counts updates up to its end; learning_rate is that of the last one.
    """

    epoch: Whole
    step: Whole
    learning_rate: Number
    loss: Number
    accuracy: Number


class Tested(Entry):
    """How many of `count` test images a network recognises; under attack within `eps` levels of 255 where that is given.

    low, high: the ends of the share's 95 % interval. The attack is projected gradient descent of `steps` steps of `step` levels from a random start.
    """

    right: Whole
    count: Whole
    low: float
    high: float
    eps: float | None = None
    steps: Whole | None = None
    step: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The share, with its interval."""
        return Estimate(self.right / self.count, self.low, self.high, self.count)


class TrainingRecord(Entry):
    """All of training.json.

    data_sha256: of the pixels and labels that were shown. init_sha256, teacher_sha256: of those networks' sources.
    command, host, commit: as a run's manifest has them. epochs, updates: all that are asked for; saved: updates at the last
    checkpoint; diverged_at_step: where the loss or the network stopped being finite, and the training with it. tested: as it is, then under attack. wall_seconds: of the updates, of all attempts. network_sha256: of the
    network's tensors; outputs: sha256 by file, once it is finished.
    """

    NULLS = ("finished",)

    schema_version: int = SCHEMA
    jinv: str | None = None
    architecture: str
    class_names: tuple[str, ...]
    parameters: Whole
    seed: Whole
    images: Whole
    data_sha256: str
    init_sha256: str | None = None
    teacher_sha256: str | None = None
    test_sha256: str | None = None
    plugins: tuple[PluginUse, ...] | None = None
    environments: tuple[Environment, ...] = ()
    command: str | None = None
    host: str | None = None
    commit: str | None = None
    epochs: Whole | None = None
    updates: Whole | None = None
    saved: Whole | None = None
    diverged_at_step: Whole | None = None
    started: str | None = None
    finished: str | None = None
    wall_seconds: float = 0.0
    tested: tuple[Tested, ...] = ()
    network_sha256: str | None = None
    outputs: dict[str, str] | None = None

    @property
    def is_done(self) -> bool:
        """Whether anything of it was done."""
        return any(value is not None for value in (self.finished, self.saved, self.diverged_at_step))


def read_training_record(directory: Path) -> TrainingRecord | None:
    """The record of the training in `directory`, None where there is none.

    Raises:
      RunConflictError: of another version. UnsafeInputError: it is damaged. StorageError: it cannot be read.
    """
    return read_record(TrainingRecord, directory / RECORD, SCHEMA, "training")


def epochs_text(lines: Iterable[EpochLine]) -> str:
    """The lines as the file has them."""
    return "".join(json.dumps(line.to_json(), allow_nan=False) + "\n" for line in lines)


def read_epochs(path: Path) -> list[EpochLine]:
    """The lines of a training's metrics.jsonl; what was being written when it was killed is left out.

    Raises:
      UnsafeInputError: a line is damaged. StorageError: the file cannot be read.
    """
    try:
        texts = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    return [
        validated(EpochLine, parsed(text, where := f"{path}, line {number}"), where)
        for number, text in enumerate(texts[:-1], 1)
    ]
