"""Images of chosen classes from a network and an objective: `synthesize`, a generator that does no I/O."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array

from jinv.core.choices import Keep, Size
from jinv.core.committee import AnyForward, Committee
from jinv.core.draws import run_key
from jinv.core.loop import Batch, Pace, Resume, Snapshot, Synthesis
from jinv.core.parameterization import Bounds
from jinv.core.program import constant
from jinv.core.starts import initial_noise
from jinv.core.step import Method, Stage
from jinv.core.types import Labels
from jinv.errors import NumericalError, UsageError, first_line

__all__ = ["Options", "Resume", "Snapshot", "clip_bounds", "initial_noise", "synthesize"]


class Options(NamedTuple):
    """What `synthesize` can be told besides: `bounds`, `keep`, `copies` and `momentum` are `Method`'s, `log_every`, `log_gradients`,
    `log_statistics`, `checkpoint_every` and `scan` are `Pace`'s.

    image_ids: (N,) ids from which noise and augmentation keys derive, default 0..N-1.
    resume: where an interrupted synthesis goes on.
    sharding: how the images lie on several devices (`devices.batch_sharding`), which must divide N. Statistics stay
      those of the whole batch, results equal one device's to float32 rounding.
    """

    bounds: Bounds | None = None
    keep: Keep = "last"
    copies: int = 1
    momentum: float = 0.0
    image_ids: Array | np.ndarray | None = None
    log_every: int = 10
    log_gradients: bool = False
    log_statistics: bool = False
    checkpoint_every: int | None = None
    scan: bool | None = None
    resume: Resume | None = None
    sharding: NamedSharding | None = None


def clip_bounds(mean: Sequence[float], std: Sequence[float]) -> Bounds:
    """The standardised values of black and white, `(-m/s, (1-m)/s)` per channel. Thesis; Yin et al. (2020)."""
    m, s = jnp.asarray(mean, float), jnp.asarray(std, float)
    return -m / s, (1 - m) / s


def synthesize(
    forward: AnyForward,
    variables: Any,
    labels: Labels | np.ndarray | Sequence[int],
    *,
    stages: Sequence[Stage],
    image_size: Size | int,
    seed: int = 0,
    init: Array | np.ndarray | None = None,
    options: Options = Options(),
) -> Iterator[Snapshot]:
    """Synthesize one batch of images; a generator of `Snapshot`s that does no I/O.

    Every `log_every` and `checkpoint_every` steps and at the end of each stage it yields; the last snapshot's image is
    the result. What is wrong with the arguments is said at the first step of the generator, before anything is computed.

    Args:
      forward: `(variables, image, labels) -> Forward`, as `Classifier.forward`; or a `Committee`, whose variables are a tuple.
      labels: (N,) class ids.
      stages: what is done, one after another, see `Stage`.
      image_size: (height, width) of the full-size image, or the side of a square; no stage may be larger.
      seed: noise and draws derive from it, the ids of the images and the step alone.
      init: start image (N, height, width, C) in network units instead of noise.

    Raises:
      UsageError (a ValueError): an argument that cannot be carried out, named with its value and limit.
      NumericalError: the objective is no longer finite; the snapshot that says so comes before.
    """
    size = _pair("image_size", image_size)
    stages = _checked_stages(stages, size)
    _check_options(options)
    if np.size(labels) < 1 or np.ndim(labels) != 1 or not np.issubdtype(np.asarray(labels).dtype, np.integer):
        raise UsageError(f"labels: {labels!r} must be (N,) class ids, at least one")
    labels, ids = jnp.asarray(labels, jnp.int32), options.image_ids
    ids = jnp.arange(len(labels), dtype=jnp.uint32) if ids is None else jnp.asarray(ids, jnp.uint32)
    if ids.shape != labels.shape:
        raise UsageError(f"image_ids: shape {ids.shape}, expected one id per label, {labels.shape}")
    for name, image in (("init", init), ("resume.image", options.resume.image if options.resume else None)):
        if image is not None and np.shape(image)[:3] != (len(labels), *size):
            raise UsageError(f"{name}: shape {np.shape(image)}, expected {(len(labels), *size, 3)}")
    method = Method(size, options.bounds, options.keep, options.copies, options.momentum)
    batch = Batch(labels, run_key(seed), ids, None if init is None else jnp.asarray(init))
    synthesis = Synthesis(forward, [constant(stage) for stage in stages], method)
    check_labels(forward, variables, labels, stages[0].size)
    check_traces(synthesis, variables, batch)
    pace = Pace(
        options.log_every, options.checkpoint_every, options.log_gradients, options.log_statistics, scan=options.scan
    )
    for snapshot in synthesis.run(variables, batch, pace=pace, resume=options.resume, sharding=options.sharding):
        yield snapshot
        if not np.isfinite(snapshot.metrics.total):
            raise NumericalError(
                f"step {snapshot.step}: the objective is {float(snapshot.metrics.total)}; lower the learning rate"
            )


def check_labels(forward: AnyForward, variables: Any, labels: Any, size: Size) -> None:
    """Are there such classes? Traces the network, computes nothing.

    Raises:
      UsageError: a label that no output stands for.
    """
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    one = jax.ShapeDtypeStruct((1,), jnp.int32)
    networks = (
        zip(forward.forwards, variables, strict=True) if isinstance(forward, Committee) else [(forward, variables)]
    )
    counts = [jax.eval_shape(network, own, image, one).logits.shape[1] for network, own in networks]
    classes = min(filter(None, counts), default=0)  # a network without a head has none
    wrong = [int(label) for label in np.ravel(labels) if not 0 <= label < classes]
    if wrong:
        raise UsageError(f"labels: {wrong[0]} must be a class id from 0 to {classes - 1}")


def check_traces(synthesis: Synthesis, variables: Any, batch: Batch) -> None:
    """One abstract step of every stage: what would fail in the middle fails here. The compiler later takes the same trace.

    Raises:
      UsageError: a stage that cannot be carried out; the first line of what its trace says.
    """
    for index, (program, state, inputs) in enumerate(synthesis.shapes(variables, batch)):
        try:
            after, metrics = program.step.eval_shape(state, inputs)
        except (ValueError, TypeError) as error:
            raise UsageError.of(f"stages[{index}]", f"cannot be carried out: {first_line(error)}") from error
        if jax.tree.map(lambda x: (x.shape, x.dtype), after) != jax.tree.map(lambda x: (x.shape, x.dtype), state):
            raise UsageError.of(
                f"stages[{index}]",
                "its optimizer, a projection or a term changes the shapes or types of what it is given",
            )
        if metrics.total.shape != batch.labels.shape[:-1]:
            raise UsageError.of(
                f"stages[{index}].terms", f"the objective has shape {metrics.total.shape}, not that of a number"
            )


def _pair(name: str, size: Any) -> Size:
    pair = (
        (size, size)
        if isinstance(size, int | np.integer) and not isinstance(size, bool)
        else tuple(size)
        if isinstance(size, tuple | list)
        else ()
    )
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) and side >= 1 for side in pair):
        raise UsageError(f"{name}: {size!r} must be (height, width) in pixels, at least 1 each")
    return int(pair[0]), int(pair[1])


def _checked_stages(stages: Sequence[Stage], image_size: Size) -> list[Stage]:
    if not stages:
        raise UsageError("stages: at least one Stage is needed")
    checked = []
    for index, stage in enumerate(stages):
        size = _pair(f"stages[{index}].size", stage.size)
        if size[0] > image_size[0] or size[1] > image_size[1]:
            raise UsageError(f"stages[{index}].size: {size} is larger than the image {image_size}")
        if not stage.terms:
            raise UsageError(f"stages[{index}].terms: at least one term is needed")
        if not isinstance(stage.steps, int) or stage.steps < 0:
            raise UsageError(f"stages[{index}].steps: {stage.steps!r} must be a whole number of at least 0")
        checked.append(stage._replace(size=size))
    return checked


def _check_options(options: Options) -> None:
    if options.keep not in ("last", "best"):
        raise UsageError(f"keep: {options.keep!r} must be one of 'last', 'best'")
    if not 0 <= options.momentum < 1:
        raise UsageError(f"momentum: {options.momentum!r} must be a number of at least 0 and below 1")
    for name in ("copies", "log_every", "checkpoint_every"):
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name}: {value!r} must be a whole number of at least 1")
