"""`jinv.run(recipe)`: an experiment carried out in memory, for Python and notebooks; nothing is written."""

from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from jinv.experiment.experiment import Experiment, load_experiment, total_work
from jinv.experiment.memory import check_fits
from jinv.experiment.shared import Shared
from jinv.experiment.vocabulary import Vocabulary
from jinv.recipe.recipe import Recipe
from jinv.record.metrics import MetricsLine
from jinv.runs.allocator import keep_freed_memory
from jinv.runs.batches import Moment, batch_images, show
from jinv.runs.progress import SynthesisProgress


@dataclass(frozen=True)
class Result:
    """What a run gives: images (count, height, width, 3) float32 in network units, a line per logged step, class ids."""

    experiment: Experiment = field(repr=False)
    images: np.ndarray = field(repr=False)
    metrics: list[MetricsLine] = field(repr=False)

    @property
    def labels(self) -> tuple[int, ...]:
        """The class id of each image."""
        return self.experiment.labels

    @property
    def class_names(self) -> list[str]:
        """The class of each image."""
        return self.experiment.class_names

    @property
    def pictures(self) -> np.ndarray:
        """The images as uint8 RGB, (count, height, width, 3)."""
        return self.experiment.classifier.to_uint8(self.images)

    def _repr_png_(self) -> bytes:
        """The images side by side, as a notebook shows them; of very many a sample by class."""
        from jinv.images.sample import sample_grid_png

        pictures = self.pictures
        return sample_grid_png(self.labels, lambda index: pictures[index])


def run(
    recipe: Recipe,
    *,
    shared: Shared | None = None,
    vocabulary: Vocabulary | None = None,
    console: Console | None = None,
) -> Result:
    """Carry `recipe` out in memory. From then on the process keeps the memory that it frees, see `keep_freed_memory`.

    Args:
      shared: networks and compiled programs of earlier runs, used again and added to.
      vocabulary: what names stand for, `jinv.standard_vocabulary()` and what you add to it.
      console: where progress is shown; None shows none.

    Raises:
      JinvError: anything a user can mend, before anything is computed; NumericalError in the middle.
    """
    keep_freed_memory()
    experiment = load_experiment(recipe, shared=shared, vocabulary=vocabulary)
    check_fits(experiment)
    experiment.check_traces()
    lines: list[MetricsLine] = []
    with SynthesisProgress(console or Console(quiet=True), total_work([recipe])) as progress:

        def watch(moment: Moment) -> None:
            if not moment.snapshot.logged:  # a frame of an animation, which nobody keeps here
                return
            lines.append(moment.line)
            show(progress, experiment, moment)

        with experiment.precision():
            batches = [batch_images(experiment, number, watch) for number in range(len(experiment.batches))]
    return Result(experiment, np.concatenate(batches), lines)
