"""Runs whose every file operation fails in every way, that are killed again and again, and that many work on.

`python -m tests.faults.reliability` does all of it; here are all kills, and a part of the rest.
"""

from functools import partial

import pytest

from tests.faults.disk import KINDS
from tests.faults.enumeration import enumerate_faults, interleave, random_kills
from tests.faults.fake import fake_synthesizer
from tests.faults.run_work import other_worker, shared_work, synthesis

STRIDES = {"killed": 1, "power loss": 4}
"""Of the other kinds one of twelve places; of workers' runs one of four times as many."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_outlives_a_fault_of_every_operation(tmp_path, kind):
    with fake_synthesizer():
        tally = enumerate_faults(synthesis(), tmp_path, [kind], STRIDES.get(kind, 12))
    assert tally.wrong == []
    assert tally.trials[kind] * STRIDES.get(kind, 12) > 100


@pytest.mark.parametrize("kind", KINDS)
def test_workers_outlive_a_fault_of_every_operation(tmp_path, kind):
    with fake_synthesizer():
        tally = enumerate_faults(shared_work(), tmp_path, [kind], 4 * STRIDES.get(kind, 12))
    assert tally.wrong == [] and tally.trials[kind]


@pytest.mark.parametrize("takes_over", [False, True])
def test_another_worker_comes_in_between_any_two_operations(tmp_path, takes_over):
    other = partial(other_worker, takes_over=takes_over)
    with fake_synthesizer():
        tally = interleave(shared_work(), other, tmp_path, "another", 9)
    assert tally.wrong == []
    words = {"another, all done", "another, refused"} | (set() if takes_over else {"another, the rest done"})
    assert tally.trials.keys() == words and min(tally.trials.values()) > 3


@pytest.mark.parametrize("work", [synthesis, shared_work])
def test_a_run_that_is_killed_again_and_again_ends_as_if_nobody_had(tmp_path, work):
    with fake_synthesizer(beside=True):
        tally = random_kills(work(), tmp_path, 40)
    assert tally.wrong == []
