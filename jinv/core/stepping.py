"""How the steps of a stage are handed to the device: one after another, or many in one program."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Step = Callable[..., tuple[Any, Any]]


def scan_by_default() -> bool:
    """Whether many steps go into one program: everywhere but on a CPU, where a Python loop is as fast and stops sooner."""
    return jax.default_backend() != "cpu"


def take_steps(
    step: Step, state: Any, arguments: tuple[Any, ...], stops: Iterable[int], *, scan_length: int | None
) -> Iterator[tuple[int, Any, Any]]:
    """Take steps from `state.step` up to each of `stops` in turn; yields (stop, state, metrics of the last step).

    Args:
      step: `(state, *arguments) -> (state, metrics)`, pure; compiled here, the state's buffers donated.
      stops: ascending counts of steps.
      scan_length: None takes one step per call; a state that is yielded is valid until the generator is advanced. A
        number puts that many steps into one call wherever two stops are so far apart, and hands the next call to the
        device before what the last one computed is looked at, so that the device never waits for the host.
    """
    single = jax.jit(step, donate_argnums=0)
    done = int(state.step)
    if scan_length is None:
        previous = metrics = None
        for stop in stops:
            for _ in range(stop - done):
                state, metrics = single(state, *arguments)
                # Stay at most one step ahead of the device: deeper queues win nothing and delay Ctrl-C.
                if previous is not None:
                    previous.total.block_until_ready()
                previous = metrics
            done = stop
            yield stop, state, metrics
        return
    scanned = jax.jit(_scanned(step, scan_length), donate_argnums=0)
    finished = None
    for stop in stops:
        if stop - done == scan_length:
            state, metrics = scanned(state, *arguments)
        else:  # the rest of a stage, or a checkpoint in between: not worth another program per length
            for _ in range(stop - done):
                state, metrics = single(state, *arguments)
        done = stop
        if finished is not None:
            yield finished
        # A copy on the device, because the next call, which starts before this is looked at, takes the buffers over.
        finished = stop, jax.tree.map(jnp.copy, state), metrics
    if finished is not None:
        yield finished


def _scanned(step: Step, length: int) -> Step:
    def many(state: Any, *arguments: Any) -> tuple[Any, Any]:
        state, metrics = lax.scan(lambda state, _: step(state, *arguments), state, length=length)
        return state, jax.tree.map(lambda values: values[-1], metrics)

    return many
