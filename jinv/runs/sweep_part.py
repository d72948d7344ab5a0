"""Some settings of a sweep that run in one program: what they are given, and their snapshots, batch after batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.loop import Batch, Resume, Snapshot, Synthesis
from jinv.core.program import BindStage, Setting
from jinv.core.step import Stage
from jinv.core.sweep import sweep_batch, sweep_of
from jinv.core.synthesis import check_traces
from jinv.experiment import bind
from jinv.experiment.blame import blaming
from jinv.experiment.devices import check_devices, sweep_sharding
from jinv.experiment.experiment import Experiment
from jinv.experiment.numbers import Place, program_of, replace_numbers
from jinv.recipe.variations import Variation
from jinv.record.directory import RunDirectory
from jinv.record.manifest import Manifest
from jinv.record.timing import StepTime
from jinv.record.unfinished import Work
from jinv.record.units import unit_folder
from jinv.runs.sinks import SILENT, Sinks
from jinv.runs.units import Pictures
from jinv.runs.worker import Worker


@dataclass
class SettingRun:
    """One setting and what becomes of it; `diverged_at` is the first step whose loss is not finite.

    worker: this process at work on its directory. work: the batch at hand. times: of its lines, until they are kept.
    """

    variation: Variation
    directory: RunDirectory
    experiment: Experiment
    manifest: Manifest
    diverged_at: int | None = None
    worker: Worker | None = None
    work: Work | None = None
    sinks: Sinks = SILENT
    times: list[StepTime] = field(default_factory=list)

    @cached_property
    def pictures(self) -> Pictures:
        """Its images as files: classes are named once for all batches."""
        return Pictures(self.experiment)

    def keep_times(self) -> None:
        """Write when the lines so far were logged."""
        if self.worker is not None:
            self.worker.log.time(self.times)
            self.times.clear()

    def has(self, number: int) -> bool:
        """Whether a batch is there already."""
        return self.manifest.finished is not None or unit_folder(self.directory.path, number).is_dir()


@dataclass
class Part:
    """Settings side by side in one program, and the numbers in which they differ, a value for each."""

    members: list[SettingRun]
    numbers: dict[Place, list[float | int]]

    @property
    def names(self) -> tuple[str, ...]:
        """The settings' names."""
        return tuple(run.variation.name for run in self.members)

    @property
    def finished(self) -> bool:
        """Whether every setting is sealed."""
        return all(run.manifest.finished for run in self.members)

    @property
    def experiment(self) -> Experiment:
        """The first setting's: in all but numbers, seeds, labels and start images they are the same."""
        return self.members[0].experiment

    @property
    def settings(self) -> dict[str, jax.Array]:
        """What a program takes: by place, (K,) values."""
        return {_key(place): jnp.asarray(values, jnp.float32) for place, values in self.numbers.items()}

    def synthesis(self, count: int) -> Synthesis:
        """The stages for batches of `count` images, compiled once for all parts and batches that share them."""
        experiment = self.experiment
        varied = {_key(place) for place in self.numbers}
        masked = replace_numbers(
            experiment.recipe,
            lambda place, value: "varied" if _key(place) in varied else value,
            experiment.vocabulary,
        )
        same = (
            experiment.size,
            count,
            len(self.members),
            experiment.vocabulary,
            experiment.networks,
        )
        key = "sweep", program_of(masked), *same

        def make() -> Synthesis:
            method = bind.bind_method(experiment.recipe, experiment.classifier, experiment.size)
            forward = bind.bind_forward(experiment.recipe, experiment.networks)
            plain = [
                {_key(place): values[k] for place, values in self.numbers.items()} for k in range(len(self.members))
            ]
            binds = [self._bind(index, count) for index in range(len(experiment.recipe.stages))]
            return sweep_of(forward, binds, method, plain)

        return experiment.shared.synthesis(key, make)

    def _bind(self, index: int, count: int) -> BindStage:
        experiment = self.experiment

        def stage(setting: Setting) -> Stage:
            mine = replace_numbers(
                experiment.recipe, lambda place, value: setting.get(_key(place), value), experiment.vocabulary
            )
            return bind.bind_stage(mine, index, count, experiment.vocabulary, experiment.measured)

        return stage

    def batch(self, number: int) -> Batch:
        """The batch of that number, of every setting."""
        chosen = self.experiment.batches[number]
        synthesis = self.synthesis(chosen.stop - chosen.start)
        inits = [run.experiment.init for run in self.members]
        # With start images, each setting's own: a draw for its seed and labels, for one.
        init = None if inits[0] is None else np.stack([init[chosen] for init in inits if init is not None])
        labels = jnp.asarray([run.experiment.labels[chosen] for run in self.members], jnp.int32)
        seeds = [run.experiment.recipe.seed for run in self.members]
        ids = jnp.arange(chosen.start, chosen.stop, dtype=jnp.uint32)
        return sweep_batch(synthesis, labels, self.settings, seeds, ids, init)

    def snapshots(
        self, number: int, *, resume: Resume | None = None, due: Callable[[], bool] | None = None
    ) -> Iterator[Snapshot]:
        """The synthesis of one batch of all settings; within the experiment's `precision()`. `due` is `Pace.due`."""
        batch, experiment = self.batch(number), self.experiment
        count = batch.labels.shape[1]
        spread = sweep_sharding(experiment.recipe, count, len(self.members))
        return self.synthesis(count).run(
            experiment.networks.variables,
            batch,
            pace=experiment.pace._replace(due=due),
            resume=resume,
            sharding=None if spread is None else spread.sharding,
        )

    def start(self, number: int) -> np.ndarray:
        """The images that a batch starts from, (K, n, height, width, 3)."""
        batch = self.batch(number)
        return np.asarray(self.synthesis(batch.labels.shape[1]).start(batch))

    def check_traces(self) -> None:
        """One abstract step of every stage, on devices that are there; raises as `Experiment.check_traces`, `check_devices`."""
        check_devices(self.experiment.recipe, len(self.members))
        batch = self.batch(0)
        with self.experiment.precision(), blaming(self.experiment.vocabulary):
            check_traces(self.synthesis(batch.labels.shape[1]), self.experiment.networks.variables, batch)


def _key(place: Place) -> str:
    return ".".join(map(str, place))
