"""A run by a real array on a real SLURM, two of its four tasks killed; the command in `array_run` does it with 2,000 images."""

from importlib.util import find_spec

import pytest

from tests.slurm import one_node
from tests.slurm.array_run import Size, array_run, random_network


def test_a_run_by_four_tasks_of_which_two_are_killed_ends_as_by_one_process(tmp_path_factory):
    if reason := one_node.missing():
        pytest.skip(reason)
    if find_spec("submitit") is None:
        pytest.skip('submitit is not here (pip install "jinv[slurm]")')
    folder = tmp_path_factory.mktemp("array")
    words = []
    found = array_run(folder, random_network(folder), Size(images=24, batch=2, size=8, steps=30), words.append)
    assert found.different == [] and found.compared > 24 * 8 * 8 * 3 * 4
    assert "SIGKILL" in words[2] and "puts it back" in words[3] and len(words) == 4
    assert sum(worker.units for worker in found.status.workers) >= 11
    assert [worker.restarts for worker in found.status.workers if worker.restarts] == [1]
