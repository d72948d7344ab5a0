"""The short run of the grammar's pickles, and that the fuzzer notices what it is for."""

import pytest

from jinv.errors import ModelMismatchError
from tests.converter import fuzz_pickles
from tests.converter.fuzz_pickles import fuzz, table


def test_twenty_thousand_hostile_pickles_are_refused_soon_and_small(tmp_path, capsys):
    outcomes = fuzz(20_000, seed=11, folder=tmp_path)
    with capsys.disabled():
        print(f"\n20,000 hostile pickles\n{table(outcomes)}")
    for kind in ("zip", "legacy"):
        # Half of them are readable, and end where a network is looked for.
        assert outcomes[kind, "exit 3"] > 2_000 and outcomes[kind, "exit 4"] > 2_000


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
