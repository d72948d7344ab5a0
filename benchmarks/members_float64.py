"""Every member of a sweep beside its own run in float64, where what rounding comes to over a run is nothing.

In float32 the two part: XLA compiles sixteen batches in one program otherwise than one, and Adam divides by the root of
what may be rounding. Here the same code, of the same config, has 29 bits more; whatever it then differs by that is
not 1e-9 of what float32 does is no rounding but another run.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinv.core.draws import run_key
from jinv.core.loop import Batch, Pace, Snapshot, Synthesis
from jinv.core.program import constant
from jinv.core.starts import initial_noise
from jinv.core.step import Method, Stage
from jinv.core.sweep import sweep_batch, sweep_of
from jinv.core.synthesis import clip_bounds
from jinv.experiment.bind import bind_stage
from jinv.experiment.numbers import replace_numbers, varied_numbers
from jinv.experiment.vocabulary import standard_vocabulary
from jinv.models.classifier import Classifier
from jinv.recipe.variations import Variation

MOST_DIFFERENT = 1e-6
"""In 8-bit steps of a single pixel; without rounding it would be nothing."""


def compare_in_float64(variations: Sequence[Variation], classifier: Classifier) -> dict[str, float]:
    """The largest difference of any pixel, in 8-bit steps, and of any logged loss, as a share of it, over whole runs.

    Args:
      variations: settings of one config of one stage whose labels are numbers; they differ in the seed, and in numbers.
    """
    with jax.enable_x64(True):
        variables = jax.tree.map(_wide, classifier.variables)
        lower, upper = (jnp.asarray(_wide(bound)) for bound in clip_bounds(classifier.mean, classifier.std))
        first = variations[0].recipe
        size, labels = first.stages[0].size, jnp.asarray(first.image.labels)
        method = Method(size, (lower, upper))
        ids = jnp.arange(len(labels), dtype=jnp.uint32)
        seeds = [variation.recipe.seed for variation in variations]
        starts = [_wide(initial_noise(run_key(seed), ids, size)) for seed in seeds]
        numbers = {
            str(place): np.asarray(values, np.float64)
            for place, values in varied_numbers(variations, standard_vocabulary()).items()
        }
        settings = [{place: float(values[k]) for place, values in numbers.items()} for k in range(len(variations))]

        def bind(setting: Any) -> Stage:
            changed = replace_numbers(first, lambda place, value: setting.get(str(place), value), standard_vocabulary())
            return bind_stage(changed, 0, len(labels))

        pace = Pace(first.log_every)
        sweep = sweep_of(classifier.forward, [bind], method, settings)
        batch = sweep_batch(
            sweep,
            jnp.tile(labels, (len(variations), 1)),
            jax.tree.map(jnp.asarray, numbers),
            seeds,
            init=np.stack(starts),
        )
        together = list(sweep.run(variables, batch, pace=pace))
        std, pixels, losses = np.asarray(classifier.std), 0.0, 0.0
        for k, setting in enumerate(settings):
            alone = Synthesis(classifier.forward, [constant(bind(setting))], method)
            own = Batch(labels, run_key(seeds[k]), ids, jnp.asarray(starts[k]))
            for mine, beside in zip(alone.run(variables, own, pace=pace), together, strict=True):
                _check_wide(mine, beside)
                apart = np.abs(np.asarray(mine.image) - np.asarray(beside.image[k])) * std
                pixels = max(pixels, 255 * float(apart.max()))
                losses = max(losses, abs(float(mine.metrics.total / beside.metrics.total[k]) - 1))
        return {"pixels": pixels, "loss": losses}


def _wide(leaf: Any) -> np.ndarray:
    """In float64 what is a number with a point."""
    array = np.asarray(leaf)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _check_wide(*snapshots: Snapshot) -> None:
    """A run that computed in float32 after all would prove nothing."""
    for snapshot in snapshots:
        for found in (snapshot.image, snapshot.metrics.total):
            assert found.dtype == np.float64, f"a run in float64 computed {found.dtype}"
