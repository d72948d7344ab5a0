"""Many cases of `benchmarks.step`, as a table and plots: `make bench`.

    python -m benchmarks.sweep [--quick] [--out benchmarks/results/NAME]

Each case's JSON is written as soon as it is measured, and kept on a second run: an interrupted sweep goes on.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks import machine, step
from benchmarks.problem import Problem
from benchmarks.refusals import refuse_amounts
from benchmarks.worker import IMPLEMENTATIONS

RESULTS = Path(__file__).parent / "results"
REQUIRED = [Problem(model, 8, size) for model in ("efficientnet_lite0", "resnet50") for size in (112, 224)]
SCALING = [
    *(Problem("efficientnet_lite0", batch, 112) for batch in (1, 2, 4, 16, 32)),
    *(Problem("resnet50", batch, 112) for batch in (1, 4, 16)),
    *(Problem("efficientnet_lite0", 8, size) for size in (64, 160, 288)),
    *(Problem(name, 8, 112) for name in ("resnet18", "resnet34", "resnet101")),
]
GPU_CASES = [
    *(Problem("resnet50", 84, size, precision) for precision in ("float32", "tf32", "bf16") for size in (112, 224)),
    *(Problem("efficientnet_lite0", 84, 224, precision) for precision in ("tf32", "bf16")),
]
# Compiling PyTorch anew for every batch and size takes longer than all the rest; --all-implementations does it.
SCALING_NAMES = ("torch_eager", "jinv")
AXES = {"batch": "images per batch", "size": "image size, pixels"}
DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101, "resnet152": 152}
COLORS = {"efficientnet_lite0": "C0", "resnet50": "C1"}  # a colour per network, a line style per implementation
STYLES = {"torch_eager": ":", "torch_compile": "--", "jinv": "-"}


def sweep(
    cases: Iterable[Problem], folder: Path, *, rounds: int, seconds: float, names: Sequence[str] = IMPLEMENTATIONS
) -> list[dict[str, Any]]:
    """Measure what is not measured yet; every result, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for case in cases:
        path = folder / f"{case.model}_batch{case.batch}_{case.size}px_{case.precision}.json"
        if not path.exists():
            result = step.measure(case, names, rounds=rounds, seconds=seconds)
            path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        results.append(json.loads(path.read_text("utf-8")))
        print(step.table(results[-1]), flush=True)
    return results


def markdown(results: Sequence[dict[str, Any]], *, gpu: bool) -> str:
    """The results as a table under the machine's description."""
    facts = results[0]["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    lines = [
        "# Seconds per step, side by side",
        "",
        "".join(f"{card}; " for card in facts.get("gpus", []))
        + f"{facts['processor']} (family/model/stepping {facts['family_model_stepping']}), {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, {', '.join(facts['vector'])}; {facts['system']}, Python {facts['python']}, {packages}.",
        "",
        "Medians of interleaved rounds, quartiles in brackets. `load` is the number of running processes before the rounds: "
        "where it is above the benchmark's own, other work shared the machine and only ratios of that line mean anything. "
        "`of peak`: direct FLOPs over the larger of torch's and XLA's matrix-product rate, round by round; in files without "
        "`matmul_peak_gflops_rounds`, over the best rate of the run.",
        "",
        "| model | batch | px | precision | torch_eager | torch_compile | jinv | of peak | eager / jinv | compiled / jinv | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        entries, ratios = result["implementations"], result["ratios"]
        cells = []
        for name in IMPLEMENTATIONS:
            if name not in entries:
                cells.append("")
                continue
            low, high = entries[name]["seconds_quartiles"]
            cells.append(f"{entries[name]['seconds_per_step']:.4f} ({low:.4f}-{high:.4f})")
        compared = [f"{ratios[name]['median']:.2f}x" if name in ratios else "" for name in IMPLEMENTATIONS[:-1]]
        fraction = f"{entries['jinv']['fraction_of_matmul_peak']:.0%}"
        row = [result["model"], result["batch"], result["size"], result["precision"], *cells, fraction, *compared]
        lines.append("| " + " | ".join(map(str, [*row, result["load"][0]])) + " |")
    if not gpu:
        lines += ["", "On a GPU (TF32, bf16, 84 ResNet-50 images): not measured on this machine."]
    return "\n".join(lines) + "\n"


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds per step against batch, size and depth, per model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(AXES) + 1, figsize=(15, 4.5))
    for axis, (varied, label) in zip(axes, AXES.items(), strict=False):
        fixed = "size" if varied == "batch" else "batch"
        for model in dict.fromkeys(result["model"] for result in results):
            here = [r for r in results if r["model"] == model and r[fixed] == (112 if fixed == "size" else 8)]
            _curves(axis, here, itemgetter(varied), model)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds per step")
    deep = [r for r in results if r["model"] in DEPTHS and r["batch"] == 8 and r["size"] == 112]
    _curves(axes[-1], deep, lambda result: DEPTHS[result["model"]], "ResNet")
    axes[-1].set(xlabel="layers (ResNet, batch 8, 112 px)", ylabel="seconds per step", ylim=(0, None))
    for axis in axes:
        if axis.lines:
            axis.legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _curves(axis: Any, results: Sequence[dict[str, Any]], x: Callable[[dict[str, Any]], float], label: str) -> None:
    for name, style in STYLES.items():
        measured = [(x(r), r["implementations"][name]) for r in results if name in r["implementations"]]
        points = sorted({place: entry["seconds_per_step"] for place, entry in measured}.items())
        if len(points) > 1:
            color = COLORS.get(label, "C2")
            axis.plot(*zip(*points, strict=True), style, c=color, marker="o", markersize=3, label=f"{label} {name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the four cases with a target, without scaling curves")
    parser.add_argument("--all-implementations", action="store_true", help="compiled PyTorch in the scaling curves too")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round, per implementation")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "rounds", "seconds")
    gpu = machine.has_gpu()
    facts = machine.describe()
    # Processors with wider vectors are other machines: their results do not mix.
    card = re.sub(r"\W+", "_", facts.get("gpus", ["gpu"])[0].partition(",")[0].lower())  # nvidia_h100_80gb_hbm3
    name = card if gpu else f"cpu_{facts['cores']}_cores_{(facts['vector'] or ['scalar'])[-1]}"
    folder = options.out or RESULTS / name
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    results = sweep(REQUIRED + (GPU_CASES if gpu else []), folder, **settings)
    if not options.quick:
        names = IMPLEMENTATIONS if options.all_implementations else SCALING_NAMES
        results += sweep(SCALING, folder, names=names, **settings)
    (folder / "README.md").write_text(markdown(results, gpu=gpu), encoding="utf-8")
    plot(results, folder / "scaling.png")


if __name__ == "__main__":
    main()
