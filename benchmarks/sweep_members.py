"""A sweep's settings side by side in one program, against the same runs one after another in the same process.

    python -m benchmarks.sweep_members NETWORK [--settings 16] [--images 1] [--steps 200] [--rounds 3] [--json FILE]

NETWORK is the CIFAR ResNet-20, a checkpoint or a converted file. Everything is timed that a user waits for: whole run
directories, from a config's recipe to the sealed manifest. Two sweeps: over `seed`, whose runs share one compiled program
also one after another, so that the gain is of the steps alone; and over a term's weight, where each run alone compiles its own.
"From nothing" is the first time, with all that is compiled; the programs of the first sweep are kept for its rounds, which
a sweep over weights, whose programs nobody needs twice, does without. Every member is compared with its own run, by the largest
difference of any pixel in 8 bits and of any logged loss: as the directories have them, and in float64, which decides
whether it is the same run, see `members_float64`.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import machine
from benchmarks.members_float64 import MOST_DIFFERENT, compare_in_float64
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.core.pixels import to_uint8
from jinv.experiment.shared import Shared
from jinv.recipe.variations import Variation, read_variations
from jinv.record.directory import RunDirectory
from jinv.runs.sweep import run_sweep
from jinv.runs.synthesize import run
from jinv.weights.load import load as load_network

CONFIG = """
model = {network!r}
log_every = 20
[image]
size = 32
labels = {labels}
[[stages]]
size = 32
steps = {steps}
learning_rate = 0.05
[augment.roll]
max_shift = 2
[augment.flip]
[terms.cross_entropy]
[terms.total_variation]
weight = 1e-4
[terms.feature_statistics]
weight = 1e-2
"""
VARIED = {
    "seed": "seed=0:{last}:{count}",
    "weight": "terms.total_variation.weight=1e-5:1e-2:log{count}",
}


def quiet() -> Console:
    """Says it to nobody."""
    return Console(file=io.StringIO())


def one_after_another(variations: Sequence[Variation], folder: Path, shared: Shared) -> None:
    """Each setting as a run of its own; networks and programs are kept from one to the next."""
    for variation in variations:
        run(variation.recipe, folder / variation.name, shared=shared, console=quiet())


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds, the processor's seconds) of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(variations: Sequence[Variation], alone: Path, beside: Path) -> dict[str, Any]:
    """How far each setting's run beside others is from its own."""
    pixels, losses, identical = 0, 0.0, 0
    for variation in variations:
        one, other = (RunDirectory(folder / variation.name) for folder in (alone, beside))
        model = one.known_manifest().model
        images = [np.load(found.path / "images.npy") for found in (one, other)]
        identical += bool((images[0] == images[1]).all())
        bytes_ = [to_uint8(image, model.mean, model.std).astype(int) for image in images]
        pixels = max(pixels, int(np.abs(bytes_[0] - bytes_[1]).max()))
        for mine, theirs in zip(one.metrics(), other.metrics(), strict=True):
            losses = max(losses, abs(mine.total / theirs.total - 1))
    return {"pixels": pixels, "loss": losses, "identical_runs": identical}


def measure(config: Path, vary: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Both ways of one sweep, in turn."""
    variations, load = read_variations(config, [vary]), machine.load()
    shared = {"alone": Shared(), "beside": Shared()}
    ways: dict[str, Callable[[Path], object]] = {
        "alone": lambda place: one_after_another(variations, place, shared["alone"]),
        "beside": lambda place: run_sweep(variations, place, console=quiet(), shared=shared["beside"]),
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, work in ways.items():
            place = folder / f"{way}{turn}"
            seconds[way].append(timed(lambda work=work, place=place: work(place)))  # type: ignore[misc]
    difference = compare(variations, folder / f"alone{rounds}", folder / f"beside{rounds}")
    found: dict[str, Any] = {
        "vary": vary, "settings": len(variations), "load": load, "difference": difference,
        "difference_in_float64": compare_in_float64(variations, load_network(str(variations[0].recipe.model))),
    }  # fmt: skip
    for way, rows in seconds.items():
        (first, first_processor), *later = rows
        found[way] = {"from_nothing_seconds": first, "from_nothing_processor_seconds": first_processor}
        if later:
            found[way] |= {
                "seconds": statistics.median(wall for wall, _ in later),
                "processor_seconds": statistics.median(processor for _, processor in later),
            }
        found[way]["rounds"] = [list(row) for row in rows]
    figures = [key for key in found["alone"] if key != "rounds"]
    found["ratio"] = {key: found["beside"][key] / found["alone"][key] for key in figures}
    return found


def table(result: dict[str, Any]) -> str:
    """The result in lines."""
    lines = [
        f"{result['settings']} settings of {result['images']} image(s), {result['steps']} steps at 32 px; "
        f"whole run directories, seconds, medians of {result['rounds']} rounds",
        f"{'':38} {'one by one':>10} {'beside':>8} {'ratio':>6}",
    ]
    for name, entry in result["sweeps"].items():
        for key, ratio in entry["ratio"].items():
            alone, beside = entry["alone"][key], entry["beside"][key]
            lines.append(f"{name + ': ' + key.replace('_', ' '):38} {alone:10.2f} {beside:8.2f} {ratio:6.2f}")
        apart = entry["difference"]
        lines.append(
            f"  every member beside its own run: at most {apart['pixels']} of 255 in a pixel, {apart['loss']:.1e} of a loss; "
            f"{apart['identical_runs']} of {entry['settings']} to the bit"
        )
        exactly = entry["difference_in_float64"]
        lines.append(
            f"  the same in float64: at most {exactly['pixels']:.1e} of 255 in a pixel, {exactly['loss']:.1e} of a loss"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep_members", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("network", type=Path)
    for name, default in (("settings", 16), ("images", 1), ("steps", 200), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args(arguments)
    refuse_amounts(parser, asked, "images", "steps", "rounds")
    refuse_amounts(parser, asked, "settings", least=2)
    refuse_places(parser, asked, "json")
    result: dict[str, Any] = {
        "network": asked.network.stem, "settings": asked.settings, "images": asked.images, "steps": asked.steps,
        "rounds": asked.rounds, "machine": machine.describe(), "sweeps": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="jinv-sweep-") as made:
        folder = Path(os.path.realpath(made))
        config = folder / "config.toml"
        labels = [number % 10 for number in range(asked.images)]
        network = str(asked.network.resolve())
        config.write_text(CONFIG.format(network=network, labels=labels, steps=asked.steps))
        for name, vary in VARIED.items():
            text = vary.format(count=asked.settings, last=asked.settings - 1)
            result["sweeps"][name] = measure(config, text, folder / name, asked.rounds if name == "seed" else 0)
    print(table(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    apart = {name: entry["difference_in_float64"]["pixels"] for name, entry in result["sweeps"].items()}
    wrong = {name: pixels for name, pixels in apart.items() if not pixels <= MOST_DIFFERENT}
    if wrong:
        print(f"not the same runs: in float64 they differ by {wrong} of 255")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
