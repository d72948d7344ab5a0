"""What becomes of a trained network: its file, what it is worth, its page, and the record that says all is there."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jinv.console import say
from jinv.core.draws import run_key
from jinv.errors import StorageError, UnsafeInputError
from jinv.images.folder import Watch
from jinv.judge.metrics import share_of
from jinv.record.config import CONFIG
from jinv.record.directory import RunDirectory
from jinv.record.entry import with_digest
from jinv.record.lock import held
from jinv.record.timing import TIMING
from jinv.record.training import EPOCHS, NETWORK, PAGE, RECORD, Tested, TrainingRecord
from jinv.record.unfinished import BEFORE, NEWEST
from jinv.record.verify_training import broken, check_training, seal_of
from jinv.report.training import write_training_page
from jinv.runs.progress import teller
from jinv.students.inputs import LEVELS, TrainingInputs
from jinv.training.accuracy import recognised
from jinv.training.adversary import Adversary
from jinv.weights.file import NetworkMetadata, save_converted
from jinv.weights.load import load
from jinv.weights.sealed import tensor_sha256

ATTACK_SEED = 0
"""Of the attacks that networks are tested under, so that all are tested alike."""

Variables = dict[str, Any]


def write_record(directory: Path, record: TrainingRecord) -> None:
    """Write training.json."""
    RunDirectory(directory).write_json(RECORD, with_digest(record))


def test_network(directory: Path, inputs: TrainingInputs, variables: Variables, watch: Watch) -> tuple[Tested, ...]:
    """What the network makes of the test images, as they are and under each attack."""
    if inputs.test is None:
        return ()
    classifier = inputs.method.classifier
    data = inputs.test.data

    def tell(what: str) -> Callable[[Sequence[int]], Iterable[int]]:
        return lambda batches: watch(batches, what, len(batches))

    right = recognised(classifier, variables, data, watch=tell("testing"))
    tested = [_test(right)]
    for adversary in _attacks(inputs):
        eps, steps, step = _in_levels(adversary)
        told = tell(f"testing under attack within {eps:g} of {LEVELS}")
        right = recognised(classifier, variables, data, adversary, run_key(ATTACK_SEED), watch=told)
        tested.append(_test(right, eps=eps, steps=steps, step=step))
    return tuple(tested)


def _attacks(inputs: TrainingInputs) -> list[Adversary]:
    """What `[attack]` says, in pixels where white is 1."""
    asked = inputs.recipe.attack
    step = None if asked.step is None else asked.step / LEVELS
    return [Adversary("pgd", eps / LEVELS, step, asked.steps) for eps in asked.eps]


def _in_levels(attack: Adversary) -> tuple[float, int, float]:
    """How far, steps, and of what length, in levels of 255."""
    return round(attack.eps * LEVELS, 9), attack.steps, round(attack.length * LEVELS, 9)


def _test(right: np.ndarray, **attack: Any) -> Tested:
    share = share_of(int(right.sum()), len(right))
    return Tested(right=int(right.sum()), count=len(right), low=share.low, high=share.high, **attack)


def finish(
    directory: Path, inputs: TrainingInputs, record: TrainingRecord, variables: Variables, tested: tuple[Tested, ...]
) -> TrainingRecord:
    """Write the network, its page and its record, which says last that all is there."""
    arrays = {
        "/".join(part.key for part in path): np.asarray(leaf, np.float32)
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]
    }
    digest = hashlib.sha256("".join(tensor_sha256(name, arrays[name]) for name in sorted(arrays)).encode()).hexdigest()
    save_converted(directory / NETWORK, arrays, metadata_of(inputs, digest))
    record = record.model_copy(
        update={
            "tested": tested,
            "network_sha256": digest,
            "outputs": seal_of(directory),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    return _seal(directory, record)


def finished(directory: Path, inputs: TrainingInputs, record: TrainingRecord, watch: Watch) -> TrainingRecord:
    """The record of a training that is there, whose network is tested again where that is asked for otherwise than it was.

    Raises:
      UnsafeInputError: its network, or what was logged, is another one. StorageError: it is not there.
    """
    check_training(directory, record)
    path = directory / NETWORK
    network = load(path, networks=inputs.vocabulary.networks)
    if network.source["source_sha256"] != record.network_sha256:
        raise UnsafeInputError(f"{path}: is not the network that was trained here; put it back, or train anew")
    before = [(test.eps, test.steps, test.step) for test in record.tested if test.eps is not None]
    asked = list(map(_in_levels, _attacks(inputs)))
    if inputs.test is not None and (inputs.test.sha256, asked) != (record.test_sha256, before):
        tested = test_network(directory, inputs, dict(network.variables), watch)
        record = record.model_copy(update={"tested": tested, "test_sha256": inputs.test.sha256})
    record = record.model_copy(update={"outputs": record.outputs or seal_of(directory)})  # an earlier jinv's has none
    return _seal(directory, record)


def begin_again(directory: Path, console: Console) -> None:
    """A training of which a file is lost or damaged that nothing makes again is removed: said, for it costs its time again.

    The caller has what it is made of, and asks for it once more.

    Raises:
      RunConflictError: somebody is at work there, or it is another version's. StorageError: a file cannot be read or removed.
    """
    if not RunDirectory(directory).entries():
        return
    with held(directory, teller(console)):
        found = broken(directory)
        if not found:
            return
        say(console, f"{directory / found[0].name}: is {found[0].kind}; it is trained again")
        # The record goes last: a part that was killed meanwhile is broken, and removed the next time.
        for name in (NETWORK, EPOCHS, TIMING, PAGE, NEWEST, BEFORE, CONFIG, RECORD):
            try:
                (directory / name).unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{directory / name}: cannot be removed: {error.strerror or error}") from error


def _seal(directory: Path, record: TrainingRecord) -> TrainingRecord:
    """Write the page and the record; what only an unfinished training needs goes."""
    write_training_page(directory, record)
    write_record(directory, record)
    for name in (NEWEST, BEFORE):
        (directory / name).unlink(missing_ok=True)
    return record


def metadata_of(inputs: TrainingInputs, digest: str) -> NetworkMetadata:
    """What the network's file says of it; `digest` is that of its tensors.

    Its `training` is that of the network that it began with, or that taught it, known or not: a judge out of the same is its
    sibling.
    """
    classifier = inputs.classifier
    ancestor = inputs.init or inputs.teacher
    return NetworkMetadata(
        architecture=classifier.architecture,
        mean=classifier.mean,
        std=classifier.std,
        input_size=classifier.input_size,
        num_classes=len(classifier.class_names),
        source={"file": "jinv train", "sha256": digest},
        class_names=classifier.class_names,
        clamp=classifier.clamp,
        training=ancestor.training if ancestor else f"jinv-{inputs.pictures.sha256[:12]}",
    )
