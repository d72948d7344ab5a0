"""Whole runs side by side: K settings of the seed and of any numbers of an experiment, vmapped into one program.

Each setting's step is `make_step`'s own, bound inside the program to that setting's numbers, so that a run beside others
takes the path it would take alone, to float32 rounding: same noise, same draws, statistics of its own batch only.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jinv.core.committee import AnyForward
from jinv.core.draws import run_key
from jinv.core.loop import Batch, Pace, Snapshot, Synthesis
from jinv.core.program import BindStage, Setting
from jinv.core.step import Method


def sweep_of(forward: AnyForward, binds: Sequence[BindStage], method: Method, settings: Sequence[Setting]) -> Synthesis:
    """The stages of a sweep, compiled once each; `settings` are plain ones, of which sizes and steps are read.

    Raises:
      ValueError: a stage with other sizes or steps in other settings.
    """
    for index, bind in enumerate(binds):
        stages = [bind(setting) for setting in settings]
        if len({(stage.size, stage.steps) for stage in stages}) > 1:
            raise ValueError(f"sweep_of: stage {index} has other sizes or steps in other settings")
    return Synthesis(forward, binds, method, example=settings[0], sweep=True)


def synthesize_sweep(
    synthesis: Synthesis,
    variables: Any,
    labels: Int[Array, "k n"],
    *,
    settings: Setting,
    seeds: Sequence[int],
    image_ids: Array | None = None,
    init: np.ndarray | None = None,
    pace: Pace = Pace(),
) -> Iterator[Snapshot]:
    """Synthesize K batches of N images at once; as `Synthesis.run`, of `sweep_of`'s stages.

    It takes the memory of a batch of K * N images.

    Args:
      labels: (K, N) class ids.
      settings: a pytree of (K,) arrays; a setting is one slice of each.
      seeds: K seeds, from which noise and draws derive.
      image_ids: (N,) ids, default 0..N-1, the same for every setting.
      init: each setting's start images (K, N, height, width, C), instead of noise.

    Raises:
      ValueError: labels, seeds and settings for different numbers of runs, or an init of another shape.
    """
    return synthesis.run(variables, sweep_batch(synthesis, labels, settings, seeds, image_ids, init), pace=pace)


def sweep_batch(
    synthesis: Synthesis,
    labels: Int[Array, "k n"],
    settings: Setting,
    seeds: Sequence[int],
    image_ids: Array | None = None,
    init: np.ndarray | None = None,
) -> Batch:
    """The batch of a sweep; arguments and errors as those of `synthesize_sweep`."""
    labels = jnp.asarray(labels, jnp.int32)
    runs, count = labels.shape
    lengths = {len(seeds), *(leaf.shape[0] for leaf in jax.tree.leaves(settings))}
    if lengths != {runs}:
        raise ValueError(f"synthesize_sweep: labels for {runs} runs, but seeds and settings for {sorted(lengths)}")
    shape = (runs, count, *synthesis.method.image_size)
    if init is not None and init.shape[:4] != shape:
        raise ValueError(f"init: shape {init.shape}, expected {(*shape, 3)}")
    ids = jnp.arange(count, dtype=jnp.uint32) if image_ids is None else jnp.asarray(image_ids, jnp.uint32)
    # Made one by one: a seed is then read exactly as a run alone reads it.
    keys = jnp.stack([run_key(seed) for seed in seeds])
    return Batch(labels, keys, ids, None if init is None else jnp.asarray(init), settings)


def snapshot_of(snapshot: Snapshot, run: int) -> Snapshot:
    """One setting's share of a snapshot, without a state; arrays that lie on the host are sliced there."""
    metrics, seen = jax.tree.map(lambda leaf: leaf[run], (snapshot.metrics, snapshot.seen))
    assert isinstance(snapshot.learning_rate, np.ndarray)
    return snapshot._replace(
        image=snapshot.image[run],
        metrics=metrics,
        learning_rate=float(snapshot.learning_rate[run]),
        state=None,
        seen=seen,
    )
