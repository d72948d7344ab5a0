"""The one stage loop: stage after stage of compiled steps, for a batch or for K settings of a batch side by side.

A `Synthesis` compiles each of its stages once, whatever number of batches runs through it: all that batches differ in
(labels, keys, ids, where the steps of a stage begin) are arguments of the program.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from jinv.core.committee import AnyForward
from jinv.core.devices import place, replicate, splits_settings
from jinv.core.inspection import Gradients, LayerDistances
from jinv.core.program import Before, BindStage, Setting, StageProgram
from jinv.core.starts import initial_noise
from jinv.core.step import (
    Inputs,
    Method,
    Metrics,
    SynthesisState,
)
from jinv.core.types import Key

LONGEST_SCAN = 10
"""Steps in one program, at most: until it is through nobody is heard. Ten hide what a call costs, about 0.2 ms."""


class Batch(NamedTuple):
    """For which images: (N,) class ids, the key that noise and draws derive from, (N,) image ids, and (N, height, width, C)
    start images in network units instead of noise. In a sweep labels, keys and start images have a leading axis K, and
    `setting` holds the (K,) numbers."""

    labels: Int[Array, "*k n"]
    run_key: Key | Array
    image_ids: Array
    init: Array | None = None
    setting: Setting = None


class Pace(NamedTuple):
    """When the loop yields, in steps of a stage (`checkpoint_every`: over all stages), and with what besides.

    log_gradients, log_statistics: with `Gradients`, with the networks' `LayerDistances`, of the state before the step.
    frames: steps over all stages after which the image is wanted, whatever is logged.
    scan: whether up to `LONGEST_SCAN` steps go into one program (`lax.scan`); None decides by the platform.
    due: asked between steps, or programs of several: whether the state is wanted at once. The snapshot is not `logged` then.
    """

    log_every: int = 10
    checkpoint_every: int | None = None
    log_gradients: bool = False
    log_statistics: bool = False
    frames: frozenset[int] = frozenset()
    scan: bool | None = None
    due: Callable[[], bool] | None = None


class Seen(NamedTuple):
    """What was asked of the state before a logged step, None what was not."""

    gradients: Gradients | None = None
    statistics: tuple[LayerDistances, ...] | None = None


class Resume(NamedTuple):
    """Where an interrupted synthesis goes on: the stage, and its state's leaves, or the image that the stage starts from."""

    stage: int
    leaves: Sequence[Any] | None = None
    image: Array | np.ndarray | None = None


class Snapshot(NamedTuple):
    """The synthesis at one moment. `step` counts finished steps over all stages, `stage_step` within the stage.

    `image` is full-size, standardised NHWC, after the update, and stays readable; `metrics` are those of the last step,
    before it, and so is `seen`. `state` is the live state, valid until the generator is advanced (its buffers are donated
    to the next step). In a sweep images, metrics, rates and state have a leading axis K. `logged`: whether it leaves a
    line; not one that `Pace.due` or `Pace.frames` alone asked for. `frame`: whether the latter did.
    """

    step: int
    stage: int
    stage_step: int
    image: Float[Array, "*k n h w c"]
    metrics: Metrics
    learning_rate: float | Float[np.ndarray, " k"]
    stage_done: bool
    state: SynthesisState | None = None
    seen: Seen = Seen()
    logged: bool = True
    frame: bool = False

    @property
    def gradient_norms(self) -> dict[str, Any] | None:
        """The weighted terms' and the total's, where they were asked for."""
        return None if self.seen.gradients is None else self.seen.gradients.norms


class Synthesis:
    """Stages, compiled at most once each, through which any number of batches can be sent."""

    def __init__(
        self,
        forward: AnyForward,
        binds: Sequence[BindStage],
        method: Method,
        *,
        example: Setting = None,
        sweep: bool = False,
    ) -> None:
        self.method = method
        self.programs = tuple(StageProgram(forward, bind, method, example, sweep) for bind in binds)
        self.sweep = sweep

    def run(
        self,
        variables: Any,
        batch: Batch,
        *,
        pace: Pace = Pace(),
        resume: Resume | None = None,
        sharding: NamedSharding | None = None,
    ) -> Iterator[Snapshot]:
        """Synthesize one batch; yields every `log_every` and `checkpoint_every` steps, where it is due, and at
        the end of each stage."""
        resume = resume or Resume(0)
        axis = 0 if splits_settings(sharding) else int(self.sweep)
        count = batch.labels.shape[axis]
        image = self.start(batch)
        first = image
        if resume.image is not None:
            image = jnp.array(resume.image)
        variables = replicate(variables, sharding)
        labels, image, first = place((batch.labels, image, first), sharding, count, axis=axis)
        run_key, setting, ids = batch.run_key, batch.setting, batch.image_ids
        if splits_settings(sharding):
            run_key, setting = place((run_key, setting), sharding, count)
            ids = replicate(ids, sharding)
        else:
            ids = place(ids, sharding, count)
        before = Before(0, 0, self.method.image_size, batch.init is None)
        for index, program in enumerate(self.programs):
            stage, before = program.stage, before._replace(number=index)
            if index >= resume.stage and stage.steps:
                inputs = Inputs(variables, labels, run_key, ids, jnp.asarray(before.steps, jnp.int32), setting)
                state = program.begin(image, first, inputs, before)
                if index == resume.stage and resume.leaves is not None:
                    leaves = [jnp.asarray(leaf) for leaf in resume.leaves]
                    state = jax.tree.unflatten(jax.tree.structure(state), leaves)
                state = place(state, sharding, count, axis=axis)
                for snapshot in _stage_snapshots(program, state, inputs, before, pace):
                    image = snapshot.image
                    yield snapshot
            before = before._replace(steps=before.steps + stage.steps, size=stage.size if stage.steps else before.size)

    def start(self, batch: Batch) -> Array:
        """The image that a batch starts from, (N, height, width, C), in a sweep (K, N, height, width, C)."""
        if batch.init is not None:
            return jnp.array(batch.init)
        size, ids = self.method.image_size, batch.image_ids
        if self.sweep:
            return jax.vmap(lambda key: initial_noise(key, ids, size))(batch.run_key)
        return initial_noise(batch.run_key, ids, size)

    def shapes(self, variables: Any, batch: Batch) -> list[tuple[StageProgram, Any, Any]]:
        """Per stage with steps the program and the shapes of what its step is given; nothing is computed."""

        def state(program: StageProgram, batch: Batch) -> tuple[SynthesisState, Inputs]:
            image = self.start(batch)
            first_step = jnp.zeros((), jnp.int32)
            inputs = Inputs(variables, batch.labels, batch.run_key, batch.image_ids, first_step, batch.setting)
            before = Before(0, 0, self.method.image_size, batch.init is None)
            return program.begin(image, image, inputs, before), inputs

        found = []
        for program in self.programs:
            if program.stage.steps:
                found.append((program, *jax.eval_shape(lambda batch, p=program: state(p, batch), batch)))
        return found


def _stage_snapshots(
    program: StageProgram, state: SynthesisState, inputs: Inputs, before: Before, pace: Pace
) -> Iterator[Snapshot]:
    """The snapshots of one stage, from a state within it."""
    steps, begin = program.stage.steps, int(jnp.max(state.step))
    stops = [
        stop
        for stop in range(begin + 1, steps + 1)
        if stop == steps
        or stop % pace.log_every == 0
        or (pace.checkpoint_every and (before.steps + stop) % pace.checkpoint_every == 0)
    ]
    shown, seen = set(stops), Seen()
    frames = {step - before.steps for step in pace.frames if begin < step - before.steps <= steps}
    if pace.log_gradients or pace.log_statistics:  # those before a logged step are taken of the state it starts from
        seen = _look(program, state, inputs, pace) if begin + 1 in shown else Seen()
        stops += [stop - 1 for stop in stops if stop - 1 > begin]
    stops = sorted({*stops, *frames})
    rate_at = program.rates(inputs)
    length = scan_length(pace.log_every) if (scan_by_default() if pace.scan is None else pace.scan) else None
    for stop, taken, metrics in take_steps(program, state, inputs, stops, scan_length=length, due=pace.due):
        at_step, logged, frame = seen, stop in shown, stop in frames
        seen = _look(program, taken, inputs, pace) if stop + 1 in shown else Seen()
        if not (logged or frame) and (pace.due is None or not pace.due()):
            continue
        done = stop == steps
        if done and program.method.keep == "best":
            taken = program.last_look(taken, inputs)
        image, rate = program.image(taken, done=done), rate_at(stop - 1)
        step = before.steps + stop
        yield Snapshot(step, before.number, stop, image, metrics, rate, done, taken, at_step, logged, frame)


def _look(program: StageProgram, state: SynthesisState, inputs: Inputs, pace: Pace) -> Seen:
    """What the pace asks of a state."""
    return Seen(
        program.gradients(state, inputs) if pace.log_gradients else None,
        program.statistics(state, inputs) if pace.log_statistics else None,
    )


def scan_by_default() -> bool:
    """Whether many steps go into one program: everywhere but on a CPU, where a Python loop is as fast and stops sooner."""
    return jax.default_backend() != "cpu"


def scan_length(steps: int) -> int:
    """How many steps a program takes so that `steps` of them, the rest one by one, are the fewest calls."""
    return min(range(1, min(steps, LONGEST_SCAN) + 1), key=lambda length: sum(divmod(steps, length)))


def take_steps(
    program: Any,
    state: Any,
    inputs: Any,
    stops: Iterable[int],
    *,
    scan_length: int | None,
    due: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, Any, Any]]:
    """Take steps from `state.step` up to each of `stops` in turn; yields (stop, state, metrics of the last step).

    Args:
      program: has `step(state, inputs) -> (state, metrics)` and `steps(state, inputs, length)`, which donate the state.
      stops: ascending counts of steps.
      scan_length: None takes one step per call; a state that is yielded is valid until the generator is advanced. A
        number puts that many steps into one call as often as they fit between two stops, and hands the next call to the
        device before what the last one computed is looked at, so that the device never waits for the host.
      due: asked after each call between two stops; where it says so that step is yielded too. Whoever goes on from there
        makes the calls that would have followed, so that no bit depends on it.
    """
    done, previous, finished = int(jnp.max(state.step)), None, None
    for stop in stops:
        while done < stop:
            if scan_length is not None and stop - done >= scan_length:
                state, metrics = program.steps(state, inputs, scan_length)
                done += scan_length
            else:  # the rest of a stage, or a checkpoint in between: not worth another program per length
                state, metrics = program.step(state, inputs)
                done += 1
            if finished is not None:
                yield finished
                finished = None
            # Stay at most one call ahead of the device: deeper queues win nothing and delay whoever wants it to stop.
            if previous is not None:
                previous.total.block_until_ready()
            previous = metrics
            if due is not None and done < stop and due():
                yield done, state, metrics
        if scan_length is None:
            yield stop, state, metrics
        else:  # A copy on the device, because the next call, which starts before this is looked at, takes the buffers over.
            finished = stop, jax.tree.map(jnp.copy, state), metrics
    if finished is not None:
        yield finished
