"""The short run of the grammar's pickles, and that the fuzzer notices what it is for."""

import re
import subprocess
import sys

import pytest

from jinv.errors import ModelMismatchError
from tests.converter import fuzz_pickles
from tests.converter.fuzz_pickles import fuzz


def test_twenty_thousand_hostile_pickles_are_refused_soon_and_small(tmp_path):
    """By the command, in a process of its own: among a test session's million objects collecting garbage takes seconds."""
    command = [
        sys.executable,
        "-m",
        "tests.converter.fuzz_pickles",
        "--count",
        "20000",
        "--seed",
        "11",
        "--keep",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    # Half of them are readable, and end where a network is looked for.
    counts = [int(count) for count in re.findall(r"exit [34] +([0-9]+)", done.stdout)]
    assert len(counts) == 4 and min(counts) > 2_000


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("SECONDS", 0.0, "s of CPU"), ("MEGABYTES", -1, "MB"), ("CHARACTERS", 10, "data.pkl|state dict|network")],
)
def test_fuzzer_notices_what_takes_long_or_much_or_says_much(tmp_path, monkeypatch, limit, value, said):
    monkeypatch.setattr(fuzz_pickles, limit, value)
    with pytest.raises(AssertionError, match=said):
        fuzz(50, seed=0, folder=tmp_path)


def test_fuzzer_notices_a_traceback_and_an_internal_name(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_pickles, "detect_architecture", lambda shapes: {}["x"])
    with pytest.raises(KeyError):
        fuzz(200, seed=0, folder=tmp_path)

    def internal(shapes):
        raise ModelMismatchError("a TensorRef")

    monkeypatch.setattr(fuzz_pickles, "detect_architecture", internal)
    with pytest.raises(AssertionError, match="a TensorRef"):
        fuzz(200, seed=0, folder=tmp_path)
