"""The curves of growth say what was measured, where they bend and what was left out. Nothing is timed."""

import json

import pytest

from benchmarks import growth
from benchmarks.growth import Row
from benchmarks.problem import Problem
from benchmarks.worker import make


def found(case, per_image=1e-3):
    """As if an image cost the same everywhere, and half as much again from 64 on."""
    seconds = per_image * case.batch * (case.size / 112) ** 2 * (1.5 if case.batch >= 64 else 1)
    return {
        "seconds": seconds, "peak_bytes": 2**20 * case.batch * case.size, "flops": 1e6 * case.batch,
        "bytes": 1e6 * case.batch, "matmul_flops": 1e11, "stream_bytes": 1e10,
    }  # fmt: skip


def test_curves_are_measured_drawn_and_recorded(tmp_path, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(growth, "measure", lambda case, rounds, seconds: measured.append(case) or found(case))
    monkeypatch.setattr(growth.machine, "describe", lambda: {"memory_gib": 24.0})
    growth.main(["--json", str(tmp_path / "g.json"), "--picture", str(tmp_path / "g.png")])
    record = json.loads((tmp_path / "g.json").read_text())
    assert [row["at"] for row in record["rows"] if row["varied"] == "batch"] == list(growth.BATCHES[:-1])
    assert record["left_out"] == ["batch 256: more memory than 70% of the machine's"]
    assert {case.model for case in measured} >= {"efficientnet_lite0", *growth.DEPTHS}
    assert record["rows"][0]["roof"] == "memory" and record["rows"][0]["roof_seconds"] == pytest.approx(1e-4)
    bends = record["bends"]
    assert [line.split()[4] for line in bends] == ["64", "128"] and "1.50 of one at" in bends[0]
    assert "(7% and 10% of the memory roof)" in bends[0]
    assert (tmp_path / "g.png").stat().st_size > 10_000
    said = capsys.readouterr()
    assert bends[0] in said.out and record["left_out"][0] in said.out and "batch 1: 0.0010 s per step" in said.err


def test_what_is_killed_for_its_memory_costs_the_others_nothing(tmp_path, monkeypatch, capsys):
    def measure(case, rounds, seconds):
        if case.batch > 8:
            raise RuntimeError("jinv: its process ended with exit code -9")
        return found(case)

    monkeypatch.setattr(growth, "measure", measure)
    growth.main(["--only", "batch", "--quick", "--json", str(tmp_path / "g.json")])
    record = json.loads((tmp_path / "g.json").read_text())
    assert [row["at"] for row in record["rows"]] == [1, 8] and record["left_out"][0].startswith("batch 64: jinv: its")


def test_a_case_is_asked_for_its_memory_before_the_processor_is_measured(monkeypatch):
    """The matrices' and the stream's arrays would be taken for the step's."""
    asked = []

    class Worker:
        def __init__(self, name, case, path):
            pass

        def ask(self, command, **_):
            asked.append(command)
            described = {"peak_bytes": 7, "compiled_flops": None, "compiled_bytes": 3.0}
            return described if command == "describe" else {"seconds": float(len(asked))}

        def close(self):
            asked.append("close")

    monkeypatch.setattr(growth, "Worker", Worker)
    measured = growth.measure(Problem("resnet20", 1, 32), 3, 1.0)
    assert asked[:3] == ["run", "run", "forget_peak"] and asked[-1] == "close"
    assert asked.index("describe") < asked.index("matmul") < asked.index("stream")
    assert measured["seconds"] == 5 and measured["peak_bytes"] == 7 and measured["flops"] != measured["flops"]
    assert measured["matmul_flops"] == 2 * growth.MATMUL_SIZE**3 / 8


def test_the_higher_roof_holds_the_step():
    row = Row("batch", 1, Problem("resnet20", 1, 32), 1.0, 1, 6e9, 1e9, 1e10, 1e10)
    assert row.roofs == {"arithmetic": 0.6, "memory": 0.1} and row.nearer == "arithmetic"


def test_flops_and_bytes_are_the_compilers(tmp_path, monkeypatch):
    """About as many FLOPs as direct convolutions have; every value of every layer is written and read once at least."""
    monkeypatch.setattr("benchmarks.jinv_step.keep_freed_memory", lambda: True)
    case = Problem("resnet20", 2, 16)
    facts = case.write(tmp_path / "p.npz")
    implementation = make("jinv", case, tmp_path / "p.npz")
    counted = implementation.describe()
    assert 0.5 < counted["compiled_flops"] / facts["flops_per_step"] < 2
    # 19 convolutions' outputs, forward: 7 of 16 channels at 16 px, 6 of 32 at 8, 6 of 64 at 4.
    values = case.batch * (7 * 16 * 16**2 + 6 * 32 * 8**2 + 6 * 64 * 4**2)
    assert counted["compiled_bytes"] > 2 * 4 * values
    implementation.stream(1 << 12)()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "resnet21"], "did you mean"),
        (["--rounds", "0"], "--rounds 0: above 0"),
        (["--json", "no/where.json"], "no folder no"),
    ],
)
def test_mistakes_end_before_anything_is_measured(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        growth.main(words)
    assert end.value.code == 2 and said in capsys.readouterr().err
