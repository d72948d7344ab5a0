"""A recipe bound to a network: what a run, a sweep, a memory plan and a benchmark take their steps from."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinv.core import draws
from jinv.core.choices import Size
from jinv.core.loop import Batch, Pace, Resume, Snapshot, Synthesis
from jinv.core.program import constant
from jinv.core.step import Stage
from jinv.core.synthesis import check_traces
from jinv.errors import UsageError
from jinv.experiment import bind
from jinv.experiment.blame import blaming
from jinv.experiment.devices import check_devices, sharding
from jinv.experiment.inputs import Inputs, load_inputs
from jinv.experiment.numbers import program_of
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary, standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.models.features import norm_layers
from jinv.models.networks import Networks
from jinv.models.precision import matmul_precision
from jinv.recipe.batches import Batches
from jinv.recipe.recipe import Recipe, replaced


@dataclass(frozen=True, eq=False)
class Experiment:
    """A recipe, its networks as the run computes them, class ids, image size and start images (None for noise).

    rate_scale: what all learning rates are multiplied by.
    """

    recipe: Recipe
    networks: Networks
    labels: tuple[int, ...]
    size: Size
    init: np.ndarray | None
    measured: bind.Measured
    vocabulary: Vocabulary
    shared: Shared
    rate_scale: float = 1.0

    @property
    def classifier(self) -> Classifier:
        """The network that is inverted; of a committee the first, in whose units images are."""
        return self.networks.first

    @property
    def class_names(self) -> list[str]:
        """The class of each image."""
        return [self.classifier.class_names[label] for label in self.labels]

    @property
    def batches(self) -> Batches:
        """The images of each batch; the last one may be smaller."""
        return self.recipe.image.batches

    @property
    def pace(self) -> Pace:
        """When the loop says something."""
        recipe = self.recipe
        return Pace(recipe.log_every, recipe.checkpoint.every_steps, recipe.log_gradients, recipe.log_statistics)

    @property
    def frames(self) -> list[int]:
        """The steps over all stages after which the first batch's images are a frame of the animation; none where none is made."""
        last, wanted = sum(stage.steps for stage in self.recipe.stages), self.recipe.output.frames
        return sorted({round(place * last / (wanted - 1)) for place in range(wanted)}) if wanted else []

    def stages(self, batch: int) -> list[Stage]:
        """The stages for batches of `batch` images."""
        return [
            bind.bind_stage(self.recipe, index, batch, self.vocabulary, self.measured, self.rate_scale)
            for index in range(len(self.recipe.stages))
        ]

    def synthesis(self, batch: int) -> Synthesis:
        """The stages compiled for batches of `batch` images: once, for all runs that share them."""
        recipe = self.recipe
        # Schedules, optimizers and their eps depend on the batch; seeds, labels and start images are arguments.
        key = program_of(recipe), self.size, batch, self.vocabulary, self.networks, self.rate_scale

        def make() -> Synthesis:
            method = bind.bind_method(recipe, self.classifier, self.size)
            forward = bind.bind_forward(recipe, self.networks)
            return Synthesis(forward, [constant(stage) for stage in self.stages(batch)], method)

        return self.shared.synthesis(key, make)

    def batch(self, number: int) -> Batch:
        """What the batch's images differ in from those of others."""
        chosen = self.batches[number]
        labels = jnp.asarray(self.labels[chosen], jnp.int32)
        ids = jnp.arange(chosen.start, chosen.stop, dtype=jnp.uint32)
        init = None if self.init is None else jnp.asarray(self.init[chosen])
        return Batch(labels, draws.run_key(self.recipe.seed), ids, init)

    def snapshots(
        self, number: int, *, resume: Resume | None = None, due: Callable[[], bool] | None = None
    ) -> Iterator[Snapshot]:
        """The synthesis of one batch; within `precision()`. `due` is `Pace.due`."""
        batch = self.batch(number)
        count = len(batch.labels)
        return self.synthesis(count).run(
            self.networks.variables,
            batch,
            pace=self.pace._replace(due=due, frames=frozenset(self.frames if number == 0 else ())),
            resume=resume,
            sharding=sharding(self.recipe, count),
        )

    def start(self, number: int) -> np.ndarray:
        """The images that a batch starts from, which are the result where no stage has a step."""
        batch = self.batch(number)
        return np.asarray(self.synthesis(len(batch.labels)).start(batch))

    def precision(self) -> AbstractContextManager[Any]:
        """While programs are traced: how products are taken."""
        return matmul_precision(self.recipe.precision)

    def check_traces(self) -> None:
        """One abstract step of every stage, before anything is written; the first batch takes the same traces.

        Raises:
          UsageError: a stage that cannot be carried out.
        """
        batch = self.batch(0)
        with self.precision(), blaming(self.vocabulary):
            check_traces(self.synthesis(len(batch.labels)), self.networks.variables, batch)

    def varied(self, *, chunk: int | None, remat: bool) -> "Experiment":
        """The same experiment, computed another way."""
        recipe = replaced(self.recipe, image=replaced(self.recipe.image, chunk=chunk), remat=remat)
        return replace(self, recipe=recipe, networks=self.shared.bound(recipe, self.vocabulary))


def bind_experiment(
    recipe: Recipe, inputs: Inputs, *, shared: Shared | None = None, vocabulary: Vocabulary | None = None
) -> Experiment:
    """The experiment of a checked recipe whose inputs are loaded."""
    shared = shared or Shared()
    return Experiment(
        recipe=recipe,
        networks=shared.bound(recipe, vocabulary),
        labels=tuple(inputs.labels),
        size=inputs.size,
        init=inputs.init,
        measured=inputs.measured,
        vocabulary=vocabulary or standard_vocabulary(),
        shared=shared,
    )


def load_experiment(
    recipe: Recipe, *, shared: Shared | None = None, vocabulary: Vocabulary | None = None, alone: bool = True
) -> Experiment:
    """Check `recipe`, load what it names, bind it; but for its devices where it does not run `alone`.

    Raises:
      JinvError: what is wrong with the recipe, its network, its start images or its devices.
    """
    shared = shared or Shared()
    with blaming(vocabulary or standard_vocabulary()):
        bind.check_recipe(recipe, vocabulary)
    if alone:
        check_devices(recipe)
    inputs = load_inputs(recipe, shared, vocabulary)
    experiment = bind_experiment(recipe, inputs, shared=shared, vocabulary=vocabulary)
    for name, member in zip(recipe.models, experiment.networks.members, strict=True):
        if recipe.log_statistics and not norm_layers(member):
            raise UsageError.of("log_statistics", f"{name} has no batch-norm layers, hence no statistics; leave it out")
    return experiment


def work_until(recipe: Recipe, stage: int | None = None) -> int:
    """Steps times pixels of one image, of the stages before `stage` or of all."""
    return sum(s.steps * math.prod(s.size) for s in recipe.stages[:stage])


def total_work(recipes: Sequence[Recipe]) -> int:
    """Steps times pixels of all images of all runs."""
    return sum(work_until(recipe) * recipe.image.count for recipe in recipes)
