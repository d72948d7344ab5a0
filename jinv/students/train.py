"""Carries a `TrainingRecipe` out in a directory: the network, what it is worth, and how it came about."""

import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jinv.console import Waiting, make_console, say
from jinv.errors import NumericalError, RunConflictError, UnsafeInputError
from jinv.experiment.blame import blaming
from jinv.experiment.plugins import used_in_training
from jinv.experiment.vocabulary import Vocabulary
from jinv.files import make_directory, write_text
from jinv.recipe.resolved import table_of
from jinv.recipe.training import TrainingRecipe, changes_since
from jinv.record.begun import ANEW, begun_config, has_come, is_begun
from jinv.record.config import CONFIG, signed_text
from jinv.record.directory import RunDirectory
from jinv.record.kinds import not_a
from jinv.record.lock import held
from jinv.record.training import RECORD, EpochLine, TrainingRecord, read_training_record
from jinv.record.unfinished import (
    Checkpoint,
    environments_of,
    load_checkpoint,
    save_checkpoint,
)
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.progress import SynthesisProgress, teller
from jinv.runs.records import command_line, environment, own_commit
from jinv.runs.sinks import check_sinks
from jinv.runs.stopping import Saving, Stop, stoppable
from jinv.students.inputs import Given, TrainingInputs, load_training
from jinv.students.log import EpochLog, logging
from jinv.students.trained import Variables, finish, finished, test_network, write_record
from jinv.training.training import State

SHOWN_EVERY = 10
"""Steps between two looks of a waiting person's; each waits for the device."""


def train(
    recipe: TrainingRecipe,
    directory: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    vocabulary: Vocabulary | None = None,
    given: Given | None = None,
) -> TrainingRecord:
    """Train a network in `directory`; returns its record. SIGTERM and Ctrl-C stop it, see `jinv.runs.stopping`.

    Args:
      given: what several trainings share, and pictures that are in memory already.

    Raises:
      JinvError: anything a user can mend. NumericalError: the loss stopped being finite.
      Interrupted: it was stopped; a call with `resume` goes on.
    """
    console = console or make_console(stderr=True)
    check_sinks(recipe.log)
    keep_freed_memory()
    RunDirectory(directory).check_place()
    with held(directory, teller(console)):
        before = _there(directory, resume)
        with stoppable() as stop, Waiting(console) as waiting:
            inputs = load_training(
                recipe,
                vocabulary=vocabulary,
                watch=stop.watched(waiting.watch, directory),
                given=given,
            )
            if before is None:
                with blaming(inputs.vocabulary):
                    inputs.training.program.check_traces(inputs.classifier.variables)
            stop.check(directory, "before its first step")
        record = _begun(directory, inputs, before)
        with stoppable() as stop:
            if record.finished:
                say(console, f"{directory}: already finished")
                with Waiting(console) as waiting:
                    return finished(directory, inputs, record, stop.watched(waiting.watch, directory))
            return _carry_out(directory, inputs, record, console, stop)


def _there(directory: Path, resume: bool) -> TrainingRecord | None:
    """The record of a training that is there to be resumed; None of one that was killed before its config was there.

    Raises:
      RunConflictError: something is there and `resume` is false, or it is no training. UnsafeInputError: it is damaged.
      StorageError: its config is lost.
    """
    if not is_begun(directory, resume=resume):
        return None
    RunDirectory(directory).tidy()
    record = read_training_record(directory)
    if record is None and RunDirectory(directory).entries():
        raise RunConflictError(f"{not_a('training', directory)}; choose another --out")
    return record if record and has_come(directory, RECORD, is_done=record.is_done) else None


def _begun(directory: Path, inputs: TrainingInputs, before: TrainingRecord | None) -> TrainingRecord:
    """The record of the training that goes on here, or begins.

    Raises:
      RunConflictError: another config, other pictures or other networks than before.
    """
    record = new_record(inputs)
    config = directory / CONFIG
    if before is not None:
        changed = changes_since(begun_config(config), inputs.recipe, config)
        for name in ("data_sha256", "init_sha256", "teacher_sha256"):
            old, new = getattr(before, name), getattr(record, name)
            if old != new:
                changed.append(f"{name}: {old} then, {new} now")
        if [used.what for used in before.plugins or ()] != [used.what for used in record.plugins or ()]:
            then, now = (", ".join(map(str, one.plugins or ())) or "none" for one in (before, record))
            changed.append(f"plugins: {then} then, {now} now")
        if changed:
            raise RunConflictError(f"{directory}: was begun otherwise: {'; '.join(changed)}")
        # What it is tested on decides nothing of the network.
        said = {key: getattr(record, key) for key in ("test_sha256", "epochs", "updates", "diverged_at_step")}
        return before if before.finished else before.model_copy(update=said)
    make_directory(directory)
    write_record(directory, record)
    write_text(config, signed_text(table_of(inputs.recipe)))
    return record


def updates_of(inputs: TrainingInputs) -> int:
    """How many updates a training has."""
    return inputs.recipe.epochs * inputs.training.steps_per_epoch


def new_record(inputs: TrainingInputs) -> TrainingRecord:
    """The record of a training that starts now."""
    classifier = inputs.classifier
    return TrainingRecord(
        jinv=version("jinv"),
        architecture=classifier.architecture,
        class_names=classifier.class_names,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(classifier.variables["params"])),
        seed=inputs.recipe.seed,
        images=len(inputs.pictures.labels),
        data_sha256=inputs.pictures.sha256,
        init_sha256=None if inputs.init is None else inputs.init.source["source_sha256"],
        teacher_sha256=None if inputs.teacher is None else inputs.teacher.source["source_sha256"],
        test_sha256=None if inputs.test is None else inputs.test.sha256,
        plugins=used_in_training(inputs.recipe, inputs.vocabulary) or None,
        command=command_line(),
        host=platform.node() or None,
        commit=own_commit(),
        epochs=inputs.recipe.epochs,
        updates=updates_of(inputs),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _carry_out(
    directory: Path, inputs: TrainingInputs, record: TrainingRecord, console: Console, stop: Stop
) -> TrainingRecord:
    """What `train` does once nothing is found to be wrong, in a directory that is held."""
    state, lines, record = _start(directory, inputs, record, console)
    with logging(directory, inputs.recipe, record, lines, teller(console)) as log:
        record, variables = _update(directory, inputs, state, record, log, console, stop)
        with Waiting(console) as waiting:
            tested = test_network(directory, inputs, variables, stop.watched(waiting.watch, directory))
        log.tested(tested)
        log.write()
    return finish(directory, inputs, record, variables, tested)


def _update(
    directory: Path,
    inputs: TrainingInputs,
    state: State,
    record: TrainingRecord,
    log: EpochLog,
    console: Console,
    stop: Stop,
) -> tuple[TrainingRecord, Variables]:
    """All updates that are left; returns the record so far and the network."""
    saving, began, training = Saving(inputs.recipe.checkpoint, stop), time.monotonic(), inputs.training
    steps = updates_of(inputs)

    def save() -> TrainingRecord:
        seconds = round(record.wall_seconds + time.monotonic() - began, 1)
        so_far = record.model_copy(update={"wall_seconds": seconds, "saved": int(state.step)})
        _save(directory, state, log.lines, record)
        write_record(directory, so_far)
        return so_far

    with SynthesisProgress(console, steps) as progress:
        progress.note(f"compiling the training of {inputs.recipe.architecture} on {jax.default_backend()}")
        for step in range(int(state.step) + 1, steps + 1):
            state = training.update(state)
            log.clock.begin(step)
            ends = step % training.steps_per_epoch == 0
            if ends:
                line = _epoch_line(inputs, state, step)
                _check_finite(directory, line, training.result(state))
                log.add(line)
            if ends or step % SHOWN_EVERY == 0:
                _show(progress, inputs, state, step, steps)
            every = inputs.recipe.checkpoint.every_steps
            if saving.due() or (every is not None and step % every == 0):
                saving.last, stop.save = saving.clock(), False
                save()
                stop.check(directory, f"at step {step} of {steps}")
    return save(), training.result(state)


def _start(
    directory: Path, inputs: TrainingInputs, record: TrainingRecord, console: Console
) -> tuple[State, list[EpochLine], TrainingRecord]:
    """Where the training goes on: at its newest sound checkpoint, or before its first update.

    Raises:
      UnsafeInputError: the checkpoint is of another network or optimizer.
    """
    state = inputs.training.begin(inputs.classifier.variables)
    found = load_checkpoint(directory, teller(console), "the training")
    here = environments_of(found or Checkpoint(0, 0, 0, environments=record.environments), environment())
    record = record.model_copy(update={"environments": here})
    if found is None or found.leaves is None:
        return state, [], record.model_copy(update={"environments": (environment(),)})
    structure = jax.tree.structure(state)
    leaves = [jax.numpy.asarray(leaf) for leaf in found.leaves]
    if not _fit(leaves, jax.tree.leaves(state)) or found.step > updates_of(inputs):
        raise UnsafeInputError(f"{directory}: its checkpoint is another training's; {ANEW}")
    lines = [EpochLine.model_validate_json(text) for text in found.lines]
    say(console, f"{directory}: going on at step {found.step}")
    resumed: State = jax.tree.unflatten(structure, leaves)
    return resumed, lines, record


def _fit(leaves: Sequence[jax.Array], others: Sequence[jax.Array]) -> bool:
    """Whether one state's leaves may stand for the other's."""
    one, other = ([(leaf.shape, leaf.dtype) for leaf in some] for some in (leaves, others))
    return one == other


def _save(directory: Path, state: State, lines: Sequence[EpochLine], record: TrainingRecord) -> None:
    texts = tuple(line.model_dump_json() for line in lines)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    save_checkpoint(directory, Checkpoint(0, 0, int(state.step), leaves, lines=texts, environments=record.environments))


def _epoch_line(inputs: TrainingInputs, state: State, step: int) -> EpochLine:
    images = float(state.sums.images)
    return EpochLine(
        epoch=step // inputs.training.steps_per_epoch,
        step=step,
        learning_rate=float(inputs.method.learning_rate(step - 1)),
        loss=float(state.sums.loss) / images,
        accuracy=float(state.sums.right) / images,
    )


def _check_finite(directory: Path, line: EpochLine, variables: Any) -> None:
    """Raises NumericalError: the epoch's loss is not finite, or the network; the record then says so."""
    if not np.isfinite(line.loss):
        what = "loss"
    elif not all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(variables)):
        what = "network"  # whose loss may be finite: a ReLU makes zeros of its NaNs
    else:
        return
    if (record := read_training_record(directory)) is not None:
        write_record(directory, record.model_copy(update={"diverged_at_step": line.step}))
    raise NumericalError(
        f"{directory}: the {what} stopped being finite in epoch {line.epoch}; lower learning_rate, and begin anew in another --out"
    )


def _show(progress: SynthesisProgress, inputs: TrainingInputs, state: State, step: int, steps: int) -> None:
    images = max(float(state.sums.images), 1)
    epoch = min((step - 1) // inputs.training.steps_per_epoch + 1, inputs.recipe.epochs)
    where = f"epoch {epoch} of {inputs.recipe.epochs}, step {step} of {steps}"
    values = {"loss": float(state.sums.loss) / images, "right": float(state.sums.right) / images}
    progress.update(where, step, values)
