"""Many steps in one program give what one after another gives, wherever the stops are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinv.core.loop import scan_length, take_steps
from jinv.core.step import Metrics, SynthesisState
from tests.core import small_synthesis
from tests.core.small_synthesis import stage
from tests.core.test_synthesis import BOUNDS, CLASSIFIER, FLIP, ROLL, STATISTICS


def snapshots(scan, **options):
    """Step, stage step, image, metrics and state of every snapshot of two stages."""
    stages = [stage(steps=7, size=8), stage(steps=4, size=16)]
    augmentations = [ROLL, FLIP]
    taken = small_synthesis.snapshots(
        CLASSIFIER, stages, STATISTICS, augmentations=augmentations, bounds=BOUNDS, log_every=3, scan=scan, **options
    )
    return [
        (
            s.step,
            s.stage_step,
            s.learning_rate,
            s.stage_done,
            np.asarray(s.image),
            *map(np.asarray, jax.tree.leaves((s.metrics, s.state))),
        )
        for s in taken
    ]


@pytest.mark.parametrize("options", [{}, {"keep": "best", "checkpoint_every": 2}])
def test_a_scan_gives_the_same_snapshots(options):
    looped, scanned = snapshots(False, **options), snapshots(True, **options)
    assert [s[:4] for s in looped] == [s[:4] for s in scanned]
    for one, many in zip(looped, scanned, strict=True):
        for a, b in zip(one[4:], many[4:], strict=True):
            assert a.dtype == b.dtype
            # The compiler may fuse the body of a loop in another order: a few roundings, carried along eleven steps.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_next_call_is_under_way_before_the_last_is_looked_at_and_takes_no_buffer_of_it():
    calls = []

    class Program:
        """Doubles, and says when."""

        @staticmethod
        @partial(jax.jit, donate_argnums=0)
        def step(state, log):
            jax.debug.callback(lambda s: calls.append(int(s)), state.step, ordered=True)
            return state._replace(step=state.step + 1, params=state.params * 2), Metrics(log, {}, log)

        @classmethod
        def steps(cls, state, log, length):
            for _ in range(length):
                state, metrics = cls.step(state, log)
            return state, metrics

    state = SynthesisState(jnp.ones(3), (), jnp.int32(0))
    steps = take_steps(Program, state, jnp.float32(1), [2, 4, 5], scan_length=2)
    stop, kept, _ = next(steps)
    jax.effects_barrier()
    assert stop == 2 and calls == [0, 1, 2, 3]
    rest = [(stop, np.asarray(later.params).tolist()) for stop, later, _ in steps]
    assert np.asarray(kept.params).tolist() == [4.0] * 3
    assert rest == [(4, [16.0] * 3), (5, [32.0] * 3)]


@pytest.mark.parametrize("calls_before", range(1, 11))
@pytest.mark.parametrize("length", [None, 3])
def test_whoever_goes_on_from_a_due_step_makes_the_calls_that_would_have_followed(length, calls_before):
    """So that no bit depends on where somebody was heard; and nobody waits longer than for the call that is under way."""

    class Program:
        """Counts, and keeps from which step it was called for how many."""

        def __init__(self):
            self.calls = []

        def steps(self, state, inputs, length):
            self.calls.append((int(state.step), length))
            return state._replace(step=state.step + length), Metrics(inputs, {}, inputs)

        def step(self, state, inputs):
            return self.steps(state, inputs, 1)

    def taken(begin, stops, due=None):
        program = Program()
        state = SynthesisState(jnp.ones(3), (), jnp.int32(begin))
        return program, take_steps(program, state, jnp.float32(1), stops, scan_length=length, due=due)

    whole, steps = taken(0, [5, 12])
    assert [stop for stop, _, _ in steps] == [5, 12]
    expected = [(0, 3), (3, 1), (4, 1), (5, 3), (8, 3), (11, 1)] if length else [(step, 1) for step in range(12)]
    assert whole.calls == expected
    program, steps = taken(0, [5, 12], due=lambda: len(program.calls) >= calls_before)
    for stop, state, _ in steps:
        assert stop == int(state.step)
        if len(program.calls) >= calls_before:
            break
    # At a stop the next call is under way before anybody is told.
    assert len(program.calls) <= calls_before + bool(length) and program.calls == expected[: len(program.calls)]
    resumed, steps = taken(stop, [later for later in (5, 12) if later > stop])
    assert all(later in (5, 12) for later, _, _ in steps)
    assert resumed.calls == [call for call in expected if call[0] >= stop]


@pytest.mark.parametrize(
    ("steps", "length"), [(1, 1), (7, 7), (10, 10), (100, 10), (100_000, 10), (97, 8), (11, 10), (14, 7)]
)
def test_a_program_takes_few_steps_and_few_are_left_over(steps, length):
    assert scan_length(steps) == length
