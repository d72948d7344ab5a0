"""One batch over several processes (`jinv.runs.job`): process 0 carries the run out, the others compute what it computes.

Process 0 goes the way of every run, and alone has a run directory. Its experiment says before each batch which one it is
and from where, and after each moment that it goes on; the others follow. Arrays stay where they were computed: a moment's
image and state come to process 0 when somebody there asks for them.
"""

import hashlib
import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import numpy as np

from jinv.core.devices import whole
from jinv.core.loop import Resume, Snapshot
from jinv.errors import JinvError
from jinv.experiment.experiment import Experiment, load_experiment
from jinv.experiment.plugins import load_plugins, used_plugins
from jinv.recipe.recipe import Recipe
from jinv.recipe.resolved import resolved_table
from jinv.runs.checks import DRAWN, START
from jinv.runs.job import Job, Word, error_of
from jinv.runs.records import start_digest, statistics_digests
from jinv.runs.stopping import Stop, stoppable

KEPT = 3
"""Moments whose images can be asked for."""


@contextmanager
def leading(job: Job | None, experiment: Experiment, stop: Stop) -> Iterator[Experiment]:
    """The experiment as all processes of a job compute it, this one leading; the others go at the end. None changes nothing."""
    if job is None:
        yield experiment
        return
    job.stop = stop
    parts = {part.name: getattr(experiment, part.name) for part in fields(Experiment)}
    yield JointExperiment(**parts, leader=Leader(job))
    job.end()


@dataclass(frozen=True, eq=False)
class JointExperiment(Experiment):
    """An experiment whose batches are computed by all processes of a job, for the one that leads."""

    leader: "Leader" = field(kw_only=True)

    def snapshots(
        self, number: int, *, resume: Resume | None = None, due: Callable[[], bool] | None = None
    ) -> Iterator[Snapshot]:
        """As `Experiment.snapshots`; images and states are `Distant`."""
        self.leader.begin(number, resume, self.rate_scale)
        joint_due = self.leader.due(due)
        for snapshot in super().snapshots(number, resume=resume, due=joint_due):
            yield self.leader.near(snapshot)
            self.leader.tell(Word("next"))


class Leader:
    """What process 0 tells the others."""

    def __init__(self, job: Job) -> None:
        self.job, self.moments = job, 0

    def tell(self, word: Word) -> None:
        """Say what comes next."""
        self.job.exchange(word)

    def begin(self, number: int, resume: Resume | None, rate_scale: float) -> None:
        """A batch begins, or goes on."""
        data = _packed(resume)
        self.tell(Word("batch", number, resume.stage if resume else 0, len(data), rate_scale=rate_scale))
        self.job.share(data, len(data))

    def due(self, own: Callable[[], bool] | None) -> Callable[[], bool]:
        """`Pace.due` of all processes."""
        return lambda: self.job.due(own is not None and own())

    def near(self, snapshot: Snapshot) -> Snapshot:
        """A moment with its numbers here, and with its image and state to be asked for."""
        self.moments += 1
        snapshot = _with_numbers(snapshot)
        image: Any = Distant(snapshot.image, self, Word("image", self.moments))
        leaves, structure = jax.tree.flatten(snapshot.state)
        state = [Distant(leaf, self, Word("state", number)) for number, leaf in enumerate(leaves)]
        return snapshot._replace(image=image, state=jax.tree.unflatten(structure, state))


class Distant:
    """An array whose shares other processes have; as a NumPy array it is all of it. For the thread that leads alone.

    A state's leaf can be had until the next moment, an image until `KEPT` later ones.
    """

    def __init__(self, array: jax.Array, leader: Leader, word: Word) -> None:
        self.array, self.leader, self.word = array, leader, word
        self.here: np.ndarray | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.here is None:
            self.leader.tell(self.word)
            self.here = whole(self.array)
        return np.array(self.here, dtype=dtype, copy=copy)


def follow(job: Job, recipe: Recipe, plugins: Sequence[str] = ()) -> None:
    """Compute what process 0 says, until it says that the run is over. Nothing is written.

    Raises:
      JinvError: this process cannot; or process 0 ended with one, which has its exit code.
    """
    with stoppable() as stop:
        job.stop = stop
        try:
            experiment = load_experiment(recipe, vocabulary=load_plugins(*plugins))
        except JinvError as error:
            job.end(error.exit_code)
            raise
        job.begin(digest(experiment))
        with experiment.precision():
            Follower(job, experiment).follow()


class Follower:
    """A process that does as it is told."""

    def __init__(self, job: Job, experiment: Experiment) -> None:
        self.job, self.experiment = job, experiment
        self.moments = 0
        self.images: deque[tuple[int, Any]] = deque(maxlen=KEPT)
        self.state: list[Any] = []
        self.snapshots: Iterator[Snapshot] = iter(())

    def follow(self) -> None:
        """Until the end.

        Raises:
          JinvError: process 0 ended with it.
        """
        while True:
            word = self.job.exchange(Word())[0]
            if word.do == "end":
                self.job.leave()
                if word.code:
                    raise error_of(word.code, f"process 0 ended the job (exit {word.code}); it says why")
                return
            if word.do == "batch":
                self._begin(word)
            elif word.do == "next":
                self._advance()
            elif word.do == "image":
                whole(dict(self.images)[word.number])
            elif word.do == "state":
                whole(self.state[word.number])

    def _begin(self, word: Word) -> None:
        resume = _unpacked(self.job.share(None, word.size), word.stage)
        stop = self.job.stop
        experiment = replace(self.experiment, rate_scale=word.rate_scale)
        self.snapshots = experiment.snapshots(
            word.number, resume=resume, due=lambda: self.job.due(stop.asked)
        )  # fmt: skip
        self._advance()

    def _advance(self) -> None:
        snapshot = next(self.snapshots, None)
        if snapshot is not None:
            self.moments += 1
            _with_numbers(snapshot)
            self.images.append((self.moments, snapshot.image))
            self.state = jax.tree.leaves(snapshot.state)


def digest(experiment: Experiment) -> str:
    """sha256 of what the processes of a job have to agree on: all that decides programs, images, and when something is said."""
    recipe = experiment.recipe
    table = resolved_table(recipe, list(experiment.labels), experiment.size, every_key=True)
    for name in ("model", "student", "statistics", "evaluate", "output"):  # a file may lie elsewhere on another machine
        table.pop(name, None)
    table["frames"] = recipe.output.frames
    for name in START:
        table["image"].pop(name.partition(".")[2], None)
    first = experiment.classifier
    sources = [member.source["source"]["sha256"] for member in experiment.networks.members]
    student = first.student.source["source"]["sha256"] if first.student else None
    start = None if recipe.image.init in DRAWN else start_digest(experiment)
    plugins = [used.what for used in used_plugins(recipe, experiment.vocabulary)]
    sources.append(statistics_digests(experiment))
    said = json.dumps([table, sources, student, start, plugins, jax.__version__], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _with_numbers(snapshot: Snapshot) -> Snapshot:
    """A moment whose metrics are here, in every process."""
    numbers = jax.tree.map(whole, (snapshot.metrics, snapshot.seen))
    return snapshot._replace(metrics=numbers[0], seen=numbers[1])


def _packed(resume: Resume | None) -> bytes:
    """A resumption's arrays as bytes, none where there is nothing to resume."""
    if resume is None:
        return b""
    arrays = {f"leaf_{number:04d}": np.asarray(leaf) for number, leaf in enumerate(resume.leaves or ())}
    if resume.image is not None:
        arrays["image"] = np.asarray(resume.image)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _unpacked(data: bytes, stage: int) -> Resume | None:
    if not data:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        leaves = [file[name] for name in sorted(file.files) if name.startswith("leaf_")]
        return Resume(stage, leaves or None, file["image"] if "image" in file.files else None)
