"""Seconds per step of jinv and of PyTorch, side by side in one run.

    python -m benchmarks.step --model efficientnet_lite0 --batch 8 --size 112 --json result.json

A step: roll, flip, forward, cross-entropy + total variation + batch statistics, the image's gradient, Adam, clip. Every
implementation must first give the same losses and gradient. Then rounds are interleaved, so that a noisy machine is
noisy for all alike: compare ratios within one run, never times across runs. The matrix-multiply peak of a round is the
fastest implementation's in it; fractions of it are medians over the rounds.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.problem import Problem
from benchmarks.refusals import refuse_amounts, refuse_places, refuse_problem
from benchmarks.worker import IMPLEMENTATIONS

PRECISIONS = ("float32", "tf32", "bf16")
CHECKED_STEPS = 3
# Relative: of the losses, and of the gradient's Euclidean norm. ReLU corners within rounding of zero make single pixels
# of float32 gradients differ by percents between any two frameworks, torch from torch included; the norm forgives them.
TOLERANCES = {"float32": (1e-3, 2e-2), "tf32": (1e-2, 0.2), "bf16": (5e-2, 0.5)}
MATMUL_SIZE, GPU_MATMUL_SIZE = 2048, 8192
Seconds = dict[str, list[float]]
"""Each implementation's, round by round."""


class Disagreement(Exception):
    """Two implementations do not compute the same step."""


class Worker:
    """A process that holds one implementation."""

    def __init__(self, name: str, case: Problem, path: Path, *, wait: bool = True) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.worker", name, str(path), json.dumps(asdict(case))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.build_seconds = math.nan
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it is built."""
        self.build_seconds = self._receive()["build_seconds"]

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        assert self._process.stdin is not None
        print(json.dumps({"command": command, **arguments}), file=self._process.stdin, flush=True)
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: its process ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(
    case: Problem, names: Sequence[str] = IMPLEMENTATIONS, *, rounds: int = 9, seconds: float = 1.0
) -> dict[str, Any]:
    """Build, check, then time `rounds` interleaved rounds of about `seconds` each per implementation."""
    machine.share_card()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        facts = case.write(path)
        workers: list[Worker] = []
        try:
            together = bool(machine.gpus())  # a card is rented by the minute, and compiling is its host's work
            for name in names:
                workers.append(Worker(name, case, path, wait=not together))
            for worker in workers if together else ():
                worker.wait()
            agreement = check(workers, case, Path(folder))
            load_before = machine.load()
            matmul_size = MATMUL_SIZE if workers[0].ask("describe")["device"] == "cpu" else GPU_MATMUL_SIZE
            times, matmuls = _rounds(workers, rounds, seconds, matmul_size)
            described = {worker.name: worker.ask("describe") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    peaks = [2 * matmul_size**3 / min(taken) for taken in zip(*matmuls.values(), strict=True)]
    results = {}
    for worker in workers:
        median = statistics.median(times[worker.name])
        quartiles = statistics.quantiles(times[worker.name], n=4, method="inclusive") if rounds > 1 else [median] * 3
        results[worker.name] = {
            "seconds_per_step": median,
            "seconds_quartiles": [quartiles[0], quartiles[2]],
            "seconds_best": min(times[worker.name]),
            "seconds_rounds": times[worker.name],
            "image_steps_per_second": case.batch / median,
            "fraction_of_matmul_peak": statistics.median(
                facts["flops_per_step"] / step / peak for step, peak in zip(times[worker.name], peaks, strict=True)
            ),
            "fraction_of_best_matmul": facts["flops_per_step"] / median / max(peaks),
            "matmul_gflops": 2e-9 * matmul_size**3 / min(matmuls[worker.name]),
            "build_seconds": worker.build_seconds,
            **described[worker.name],
        }
    return {
        **facts,
        "implementations": results,
        "ratios": _ratios(times),
        "agreement": agreement,
        "matmul_size": matmul_size,
        "matmul_peak_gflops": statistics.median(peaks) / 1e9,
        "matmul_peak_gflops_rounds": [peak / 1e9 for peak in peaks],
        "rounds": rounds,
        "load": [load_before, machine.load()],
        "machine": machine.describe(),
    }


def check(workers: Sequence[Worker], case: Problem, folder: Path) -> dict[str, dict[str, float]]:
    """Relative differences from the first implementation's losses and gradient.

    Raises:
      Disagreement: one is beyond `TOLERANCES`, or not a number.
    """
    losses, gradients, agreement = {}, {}, {}
    for worker in workers:
        file = folder / f"{worker.name}.npy"
        losses[worker.name] = np.asarray(
            worker.ask("first_steps", steps=CHECKED_STEPS, gradient=str(file))["losses"], float
        )
        gradients[worker.name] = np.load(file).astype(float)
    first = workers[0].name
    loss_limit, gradient_limit = TOLERANCES[case.precision]
    for worker in workers[1:]:
        loss = float(np.max(np.abs(losses[worker.name] / losses[first] - 1)))
        difference = np.linalg.norm(gradients[worker.name] - gradients[first])
        gradient = float(difference / np.linalg.norm(gradients[first]))
        agreement[worker.name] = {"loss": loss, "gradient": gradient}
        if not (loss < loss_limit and gradient < gradient_limit):
            raise Disagreement(f"{worker.name} and {first}: relative differences {agreement[worker.name]}")
    return agreement


def _rounds(workers: Sequence[Worker], rounds: int, seconds: float, matmul_size: int) -> tuple[Seconds, Seconds]:
    times: Seconds = {worker.name: [] for worker in workers}
    matmuls: Seconds = {worker.name: [] for worker in workers}
    steps = {}
    for worker in workers:
        worker.ask("run", steps=1)
        steps[worker.name] = max(1, round(seconds / worker.ask("run", steps=1)["seconds"]))
        worker.ask("forget_peak")
    for index in range(rounds):
        shift = index % len(workers)
        for worker in (*workers[shift:], *workers[:shift]):
            times[worker.name].append(worker.ask("run", steps=steps[worker.name])["seconds"])
            # In every round: the peak is as fast or slow as the machine was when the steps were timed.
            matmuls[worker.name].append(worker.ask("matmul", size=matmul_size, times=5)["seconds"])
    return times, matmuls


def _ratios(times: Seconds) -> dict[str, dict[str, float]]:
    """How many times faster jinv is: median and extremes of the rounds' own ratios."""
    if "jinv" not in times:
        return {}
    ratios = {}
    for name, values in times.items():
        if name != "jinv":
            each = [theirs / ours for theirs, ours in zip(values, times["jinv"], strict=True)]
            ratios[name] = {"median": statistics.median(each), "lowest": min(each), "highest": max(each)}
    return ratios


def table(result: dict[str, Any]) -> str:
    """The result as text, a line per implementation."""
    header = (
        f"{result['model']}  batch {result['batch']}  {result['size']} px  {result['precision']}  "
        f"{result['weights']} weights  {result['flops_per_step'] / 1e9:.1f} GFLOP per step  "
        f"matmul peak {result['matmul_peak_gflops']:.0f} GFLOP/s  load {result['load'][0]}"
    )
    lines = [
        header,
        f"{'':14} {'s/step':>9} {'quartiles':>17} {'image-steps/s':>14} {'of peak':>8} {'memory':>9} {'jinv is':>8}",
    ]
    for name, entry in result["implementations"].items():
        low, high = entry["seconds_quartiles"]
        ratio = f"{result['ratios'][name]['median']:.2f}x" if name in result["ratios"] else ""
        lines.append(
            f"{name:14} {entry['seconds_per_step']:9.4f} {low:8.4f}-{high:8.4f} {entry['image_steps_per_second']:14.1f} "
            f"{entry['fraction_of_matmul_peak']:8.0%} {entry['peak_bytes'] / 2**20:5.0f} MiB {ratio:>8}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=8, metavar="B")
    parser.add_argument("--size", type=int, default=112, metavar="S", help="pixels")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="tf32 needs a GPU")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=IMPLEMENTATIONS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round, per implementation")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    _refuse(parser, options)
    case = Problem(options.model, options.batch, options.size, options.precision)
    result = measure(case, options.only, rounds=options.rounds, seconds=options.seconds)
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _refuse(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with one line and exit code 2 where minutes of work could only end in a traceback."""
    refuse_problem(parser, options.model, options.size)
    refuse_amounts(parser, options, "batch", "rounds", "seconds")
    if options.precision == "tf32" and not machine.has_gpu():
        parser.error("--precision tf32: a CPU has no TF32, and no GPU was found")
    refuse_places(parser, options, "json")


if __name__ == "__main__":
    main()
