"""The benchmark compares the same step: its check sees a difference, and what it prints can be read. Nothing is timed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth, long_run, recognition, step, sweep
from benchmarks.contestants import Case
from benchmarks.problem import NUM_DRAWS, Problem, read
from benchmarks.worker import make

CASE = Problem("resnet20", 2, 16)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("benchmark") / "problem.npz"
    return path, CASE.write(path)


class Local:
    """A worker in this process."""

    def __init__(self, name: str, path: Path, scale: float = 1.0) -> None:
        self.name, self._implementation, self._scale = name, make(name, CASE, path), scale

    def ask(self, command: str, *, steps: int, gradient: str) -> dict:
        losses, values = self._implementation.first_steps(steps)
        np.save(gradient, values * self._scale)
        return {"losses": losses}


def test_jinv_and_torch_take_the_same_steps_and_a_wrong_gradient_is_noticed(written, tmp_path, monkeypatch):
    # Keeping freed memory is for a process of its own, not for the test suite's.
    monkeypatch.setattr("benchmarks.jinv_step.keep_freed_memory", lambda: True)
    path, _ = written
    torch_eager, jinv = Local("torch_eager", path), Local("jinv", path)
    agreement = step.check([torch_eager, jinv], CASE, tmp_path)
    assert agreement["jinv"]["loss"] < 1e-4
    assert agreement["jinv"]["gradient"] < 1e-2
    jinv._scale = 1.1
    with pytest.raises(step.Disagreement, match="jinv and torch_eager"):
        step.check([torch_eager, jinv], CASE, tmp_path)


def test_draws_are_shifts_within_the_limit_and_flips_of_both_kinds(written):
    arrays, weights = read(written[0])
    signed = (arrays["shifts"] + CASE.size // 2) % CASE.size - CASE.size // 2
    assert arrays["shifts"].shape == (NUM_DRAWS, 2)
    assert np.abs(signed).max() == CASE.size // 8
    assert 0 < arrays["flips"].sum() < NUM_DRAWS
    assert "conv1.weight" in weights


class Used(Exception):
    """Carries what is known where the process that measures first uses JAX."""


RACE = Case("imagenet", "efficientnet_lite0", "imagenet", "a.toml")


@pytest.mark.parametrize(
    ("measure", "first_use"),
    [
        (lambda: step.measure(CASE), "benchmarks.problem.Problem.write"),
        (lambda: growth.measure(CASE, 1, 1.0), "benchmarks.problem.Problem.write"),
        (lambda: recognition.measure(RACE, Path("a.onnx"), ["jinv"]), "benchmarks.recognition.write_network"),
        (lambda: long_run.measure(500, 1), "benchmarks.long_run.write_network"),
    ],
)
@pytest.mark.parametrize(("own", "expected"), [(None, "false"), ("true", "true")])
def test_a_card_is_left_to_those_that_are_measured(measure, first_use, own, expected, monkeypatch):
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setenv(name, own or "")  # so that it is as before afterwards
    if own is None:
        monkeypatch.delenv(name)

    def use(*_):
        raise Used(os.environ.get(name))

    monkeypatch.setattr(first_use, use)
    monkeypatch.setattr("jinv.judge.onnx_judge.load_onnx", lambda *_: None)
    with pytest.raises(Used) as used:
        measure()
    assert used.value.args == (expected,)


def test_flops_are_those_of_the_published_network():
    """ResNet-20: 40.6 million multiply-adds per 32 px image forward; a step is forward and the image's gradient."""
    from benchmarks.problem import _weights

    flops = _weights("resnet20", 32)[2]
    assert flops == pytest.approx(2 * 40.6e6, rel=0.02)


def test_a_sweep_goes_on_where_it_stopped_and_writes_table_and_plot(tmp_path, monkeypatch, capsys):
    def entry(seconds):
        return {
            "seconds_per_step": seconds, "seconds_quartiles": [seconds, seconds], "image_steps_per_second": 1 / seconds,
            "fraction_of_matmul_peak": 0.5, "peak_bytes": 2**20,
        }  # fmt: skip

    measured = []

    def measure(case, names, **_):
        assert names == step.IMPLEMENTATIONS
        measured.append(case)
        return {
            "model": case.model, "batch": case.batch, "size": case.size, "precision": case.precision,
            "weights": "random", "flops_per_step": 1e9, "matmul_peak_gflops": 100.0, "load": [0.5, 0.6],
            "implementations": {name: entry(s) for name, s in (("torch_eager", 3), ("torch_compile", 2), ("jinv", 1))},
            "ratios": {"torch_eager": {"median": 3.0}, "torch_compile": {"median": 2.0}},
            "machine": sweep.machine.describe(),
        }  # fmt: skip

    monkeypatch.setattr(step, "measure", measure)
    cases = [Problem("resnet20", batch, 112) for batch in (1, 2)]
    sweep.sweep(cases[:1], tmp_path, rounds=1, seconds=0.1)
    results = sweep.sweep(cases, tmp_path, rounds=1, seconds=0.1)
    assert measured == cases
    text = sweep.markdown(results, gpu=False)
    assert "| 3.00x | 2.00x |" in text
    assert "not measured" in text
    with_card = {**results[0], "machine": results[0]["machine"] | {"gpus": ["A card, 80 GB"]}}
    assert "A card, 80 GB; " in sweep.markdown([with_card], gpu=True)
    sweep.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert json.loads(next(tmp_path.glob("*batch2*.json")).read_text())["batch"] == 2
    assert "jinv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "resnet5"], "did you mean 'resnet56'"),
        (["--batch", "0"], "--batch 0: above 0"),
        (["--rounds", "-1"], "--rounds -1: above 0"),
        (["--size", "8"], "--size 8: efficientnet_lite0 takes 32 px or more"),
        (["--precision", "tf32"], "no GPU was found"),
        (["--json", "/nowhere/result.json"], "no folder /nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(step.machine, "has_gpu", lambda: False)
    with pytest.raises(SystemExit) as ended:
        step.main(arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err.replace("\n", " ")
