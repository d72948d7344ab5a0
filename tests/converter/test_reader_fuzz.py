"""The fuzzer's short run."""

import pytest

from tests.converter.fuzz_reader import fuzz, table


def test_reader_survives_mutations(tmp_path, capsys):
    outcomes = fuzz(20_000, seed=7, folder=tmp_path)
    with capsys.disabled():
        print(f"\n20,000 mutations\n{table(outcomes)}")
    # Mutations reach every stage: some are still read, and some only fail at their tensors' dtypes.
    for kind in ("zip", "zip packed", "legacy", "legacy packed", "safetensors"):
        assert outcomes[kind, "read"] > 20 and outcomes[kind, "exit 3"] > 200


@pytest.mark.full
def test_reader_survives_many_more_mutations(tmp_path):
    assert sum(fuzz(300_000, seed=8, folder=tmp_path).values()) == 300_000


def test_fuzzer_notices_another_exception(tmp_path, monkeypatch):
    monkeypatch.setattr("jinv_convert.reader.tree.check_tensor", lambda *_: {}["x"])
    with pytest.raises(KeyError):
        fuzz(100, seed=0, folder=tmp_path)


def test_fuzzer_notices_an_effect(tmp_path, monkeypatch):
    monkeypatch.setattr("jinv_convert.reader.read.container_of", lambda source: open(tmp_path / "new", "w").close())
    with pytest.raises(AssertionError, match="open for writing"):
        fuzz(100, seed=0, folder=tmp_path)
