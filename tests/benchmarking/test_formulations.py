"""The ways to compute a convolution are compared before they are timed."""

import json

import pytest

from benchmarks import formulations
from benchmarks.formulations import CASES, KINDS, Case

SMALL = [
    Case("stem", 16, 3, 8, kernel=7, stride=2),
    Case("depthwise", 8, 12, 12, kernel=5, stride=2, groups=12),
    Case("pointwise", 8, 8, 6, kernel=1, stride=2),
    Case("dense", 8, 32, 32),
    Case("grouped", 6, 8, 8, groups=2),
]


def test_every_kind_is_measured_and_written(monkeypatch, tmp_path, capsys):
    assert [case.kind for case in SMALL] == list(KINDS)
    monkeypatch.setattr(formulations, "CASES", SMALL)
    formulations.main(["--batch", "2", "--rounds", "1", "--json", str(tmp_path / "out.json")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SMALL) and all("library" in line for line in lines)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [entry["case"]["kind"] for entry in found["cases"]] == list(KINDS)
    ways = [set(entry["milliseconds"]) for entry in found["cases"]]
    assert ways[0] == ways[3] == {"chosen", "library", "patches"} and ways[1] == {"chosen", "library"}


def test_another_convolution_is_noticed(monkeypatch):
    right = formulations.patches

    def wrong(case):
        conv = right(case)
        return lambda x, kernel, derived: 1.01 * conv(x, kernel, derived)

    monkeypatch.setattr(formulations, "patches", wrong)
    with pytest.raises(AssertionError, match="patches is 1.0e-02 from the library's"):
        formulations.measure(SMALL[3], 2, 1)


def test_cases_are_convolutions_that_are_there():
    assert len(set(CASES)) == len(CASES)
    for case in CASES:
        assert case.channels % case.groups == case.features % case.groups == 0, case
