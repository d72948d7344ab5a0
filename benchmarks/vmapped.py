"""K small runs side by side in one program, as `jinv sweep` takes them, against the same runs one after another.

    python -m benchmarks.vmapped [--runs 8] [--batch 10] [--steps 50] [--json FILE]

Real ResNet-20 shape at 32 px; the runs differ in seed, learning rate, total variation's weight and Adam's b2. Every run
compiles its own program, none from a cache. Steps are timed after the first ten, compilation is what the start takes
beyond ten steps; both ways must end at the same losses before their times are reported. The processor's seconds are
those of this process, so that they say something on a machine that others use too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import jinv_step, machine, problem
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.core.loop import Pace
from jinv.core.objective import TERMS, Term
from jinv.core.optimizers import adam
from jinv.core.step import Method, Stage
from jinv.core.sweep import sweep_of, synthesize_sweep
from jinv.core.synthesis import Options, clip_bounds, synthesize
from jinv.runs.allocator import keep_freed_memory

WARM_UP = 10


class Experiment:
    """K settings of one synthesis problem."""

    def __init__(self, runs: int, batch: int, steps: int) -> None:
        case = problem.Problem("resnet20", batch, 32)
        with tempfile.TemporaryDirectory() as folder:
            self.facts = case.write(Path(folder) / "problem.npz")
            self.classifier = jinv_step.build(case, problem.read(Path(folder) / "problem.npz")[1])
        self.bounds = clip_bounds(self.classifier.mean, self.classifier.std)
        self.steps, self.seeds = steps, list(range(runs))
        self.labels = jnp.tile(jnp.arange(batch, dtype=jnp.int32) % 10, (runs, 1))
        self.settings = {
            "learning_rate": [0.02 + 0.01 * k for k in range(runs)],
            "total_variation": [1e-4 * 2.0**k for k in range(runs)],
            "b2": [0.999 - 0.01 * k for k in range(runs)],
        }

    def bind(self, setting: Any) -> Stage:
        rate = setting["learning_rate"]
        weights = (
            ("cross_entropy", 1.0),
            ("total_variation", setting["total_variation"]),
            ("feature_statistics", 1e-2),
        )
        terms = [Term(name, TERMS[name], weight) for name, weight in weights]
        steps, optimizer = WARM_UP + self.steps, adam(rate, 0.9, setting["b2"])
        return Stage((32, 32), steps, terms, optimizer, rate, problem.augmentations(32))

    def separate(self, run: int) -> Iterator[Any]:
        stage = self.bind({name: values[run] for name, values in self.settings.items()})
        return synthesize(
            self.classifier.forward, self.classifier.variables, self.labels[run], stages=[stage], image_size=(32, 32),
            seed=self.seeds[run], options=Options(bounds=self.bounds, log_every=WARM_UP),
        )  # fmt: skip

    def vmapped(self) -> Iterator[Any]:
        settings = {name: jnp.asarray(values, jnp.float32) for name, values in self.settings.items()}
        plain = [{name: values[k] for name, values in self.settings.items()} for k in range(len(self.seeds))]
        synthesis = sweep_of(self.classifier.forward, [self.bind], Method((32, 32), self.bounds), plain)
        return synthesize_sweep(
            synthesis, self.classifier.variables, jnp.asarray(self.labels), settings=settings, seeds=self.seeds,
            pace=Pace(WARM_UP),
        )  # fmt: skip


def take(snapshots: Iterator[Any], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """([seconds of compilation, seconds of `steps` steps, the processor's seconds of those], final totals)."""
    times, processor, last = [time.perf_counter()], [time.process_time()], None
    for last in snapshots:
        last.metrics.total.block_until_ready()
        times.append(time.perf_counter())
        processor.append(time.process_time())
    assert last is not None
    stepping = times[-1] - times[1]
    compilation = max(times[1] - times[0] - stepping * WARM_UP / steps, 0.0)
    return np.array([compilation, stepping, processor[-1] - processor[1]]), np.asarray(last.metrics.total)


def measure(runs: int, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """Both ways, interleaved round by round; medians over the rounds."""
    keep_freed_memory()
    experiment = Experiment(runs, batch, steps)
    rows: dict[str, list[np.ndarray]] = {"separate": [], "vmapped": []}
    totals: dict[str, np.ndarray] = {}
    load = machine.load()
    for _ in range(rounds):
        alone = [take(experiment.separate(run), steps) for run in range(runs)]
        rows["separate"].append(np.sum([seconds for seconds, _ in alone], axis=0))
        totals["separate"] = np.array([total for _, total in alone])
        seconds, totals["vmapped"] = take(experiment.vmapped(), steps)
        rows["vmapped"].append(seconds)
    difference = float(np.max(np.abs(totals["vmapped"] / totals["separate"] - 1)))
    if not difference < 1e-2:
        raise SystemExit(f"the two ways end at losses {difference:.1%} apart: not the same runs")
    names = ("compilation_seconds", "steps_seconds", "steps_processor_seconds")
    ways = {
        way: dict(zip(names, np.median(taken, axis=0).tolist(), strict=True))
        | {"all_seconds": statistics.median(float(c + s) for c, s, _ in taken)}
        | {"rounds": [dict(zip(names, row.tolist(), strict=True)) for row in taken]}
        for way, taken in rows.items()
    }
    return {
        "runs": runs, "steps": steps, **experiment.facts, "ways": ways, "largest_relative_loss_difference": difference,
        "speedup": {key: ways["separate"][key] / ways["vmapped"][key] for key in (*names, "all_seconds")},
        "load": load, "machine": machine.describe(),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vmapped", description=(__doc__ or "").split("\n")[0])
    for name, default in (("runs", 8), ("batch", 10), ("steps", 50), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "runs", "batch", "steps", "rounds")
    refuse_places(parser, options, "json")
    result = measure(options.runs, options.batch, options.steps, options.rounds)
    print(
        f"{options.runs} runs of {options.steps} steps, batch {options.batch}, 32 px; seconds, medians of {options.rounds} rounds"
    )
    print(f"{'':10} {'compilation':>12} {'steps':>8} {'processor':>10} {'together':>9}")
    for way, row in (result["ways"] | {"ratio": result["speedup"]}).items():
        compilation, stepping, processor = (
            row[f"{key}_seconds"] for key in ("compilation", "steps", "steps_processor")
        )
        print(f"{way:10} {compilation:12.2f} {stepping:8.2f} {processor:10.2f} {row['all_seconds']:9.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
