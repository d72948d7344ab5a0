"""What a run of many units costs beyond its steps: time, memory, and both at its end against its start.

    python -m benchmarks.long_run [--images 10000] [--json FILE]

A CIFAR ResNet-20 with random weights, which are as fast as trained ones. Throughput and the cost of checkpoints are ratios
of one process, taken in turn; memory is the peak of a process for each size of run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.refusals import refuse_amounts, refuse_places

CONFIG = """
model = "net.safetensors"
log_every = {log_every}
[image]
size = 32
labels = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
count = {count}
batch = {batch}
[[stages]]
size = 32
steps = {steps}
learning_rate = 0.05
[augment.roll]
[augment.flip]
[terms.cross_entropy]
[terms.total_variation]
weight = 1e-4
[terms.feature_statistics]
weight = 1e-2
"""

FEW_IMAGES = 400
"""Of the run that the long one's memory is compared with."""

MEASURED = """
import json, resource, shutil, sys
from pathlib import Path
from jinv.cli import main
from jinv.record.directory import RunDirectory
from jinv.record.workers import worker_lines
clean = RunDirectory.clean
def keeps(self):
    lines = [line for _, lines in worker_lines(self.path) for line in lines]
    Path(sys.argv[1]).write_text(json.dumps([line.seconds for line in lines if line.event == "unit"]))
    clean(self)
RunDirectory.clean = keeps
code = main(["synthesize", sys.argv[2], "--out", sys.argv[3]])
print(json.dumps({"peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
sys.exit(code)
"""


def write_network(path: Path) -> None:
    """A ResNet-20 with random weights."""
    program = f"from tests.small_runs import save_tiny; save_tiny(__import__('pathlib').Path({str(path)!r}), 1)"
    subprocess.run([sys.executable, "-c", program], check=True)  # in a process of its own: tests have no types


def measured_run(folder: Path, count: int, batch: int) -> dict[str, Any]:
    """A whole run in a process of its own: its peak memory, and the seconds of each unit."""
    config = folder / f"{count}.toml"
    config.write_text(CONFIG.format(count=count, batch=batch, steps=2, log_every=1))
    words = [sys.executable, "-c", MEASURED, str(folder / "seconds.json"), str(config), str(folder / f"run{count}")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    ends = json.loads((folder / "seconds.json").read_text())
    seconds = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    report = (folder / f"run{count}" / "report.html").stat().st_size
    peak = json.loads(done.stdout.splitlines()[-1])["peak_kb"] * 1024
    return {"images": count, "peak_bytes": peak, "unit_seconds": seconds, "report_bytes": report}


def throughput(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the bare loop over a unit, of a unit as a run makes it, and of one that is saved every second; in turn."""
    from jinv.console import make_console
    from jinv.experiment.experiment import load_experiment
    from jinv.recipe.read import read_config
    from jinv.recipe.recipe import CheckpointRecipe, replaced
    from jinv.record.directory import RunDirectory
    from jinv.runs.batches import batch_images
    from jinv.runs.records import new_manifest
    from jinv.runs.stopping import Stop
    from jinv.runs.synthesize import begin, make_units

    units = 4
    (folder / "bare.toml").write_text(CONFIG.format(count=units * 25, batch=25, steps=50, log_every=10))
    experiment = load_experiment(read_config(folder / "bare.toml"))
    console, made = make_console(stderr=True), iter(range(1000))
    console.quiet = True

    def bare() -> None:
        with experiment.precision():
            for number in range(units):
                batch_images(experiment, number, lambda moment: None)

    def whole(saved: bool) -> Callable[[], None]:
        from dataclasses import replace

        checkpoint = CheckpointRecipe(every_seconds=1) if saved else CheckpointRecipe()
        mine = replace(experiment, recipe=replaced(experiment.recipe, checkpoint=checkpoint))

        def run() -> None:
            directory = RunDirectory(folder / f"through{next(made)}")
            directory.path.mkdir()
            begin(directory, mine, new_manifest(mine))
            make_units(mine, directory, console, Stop(), alone=True)

        return run

    ways = {"bare": bare, "run": whole(False), "saved": whole(True)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first compiles
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    ratios = {
        "throughput": statistics.median(b / r for b, r in zip(seconds["bare"], seconds["run"], strict=True)),
        "saved_every_second": statistics.median(r / s for r, s in zip(seconds["run"], seconds["saved"], strict=True)),
    }
    return {"seconds": seconds, **ratios}


def measure(images: int, rounds: int) -> dict[str, Any]:
    """Everything."""
    machine.share_card()
    with tempfile.TemporaryDirectory(prefix="jinv-long-") as name:
        folder = Path(name)
        write_network(folder / "net.safetensors")
        through = throughput(folder, rounds)
        runs = [measured_run(folder, count, 50) for count in (FEW_IMAGES, images)]
    ends = runs[1]["unit_seconds"]
    third = max(1, len(ends) // 3)
    first, last = statistics.median(ends[:third]), statistics.median(ends[-third:])
    return {
        "throughput": through,
        "runs": [{key: value for key, value in run.items() if key != "unit_seconds"} for run in runs],
        "peak_ratio": runs[1]["peak_bytes"] / runs[0]["peak_bytes"],
        "unit_seconds_first_third": first,
        "unit_seconds_last_third": last,
        "unit_ratio": last / first,
        "load": machine.load(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    refuse_amounts(parser, asked, "rounds")
    refuse_amounts(parser, asked, "images", least=FEW_IMAGES + 1)
    refuse_places(parser, asked, "json")
    found = measure(asked.images, asked.rounds)
    through, (small, large) = found["throughput"], found["runs"]
    print(f"throughput of a run against the bare loop: {through['throughput']:.3f}")
    print(f"with a checkpoint every second against none: {through['saved_every_second']:.3f}")
    print(f"peak memory, {small['images']} images: {small['peak_bytes'] / 2**20:.0f} MiB; ", end="")
    print(f"{large['images']}: {large['peak_bytes'] / 2**20:.0f} MiB; ratio {found['peak_ratio']:.2f}")
    print(f"a unit's time in the last third against the first: {found['unit_ratio']:.3f}")
    print(f"report: {small['report_bytes'] / 1e6:.1f} and {large['report_bytes'] / 1e6:.1f} MB")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
