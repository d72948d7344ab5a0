"""Many cases of `benchmarks.step`, as a table and plots: `make bench`.

    python -m benchmarks.sweep [--quick] [--out benchmarks/results/NAME]

Each case's JSON is written as soon as it is measured, and kept on a second run: an interrupted sweep goes on.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, step
from benchmarks.problem import Problem

RESULTS = Path(__file__).parent / "results"
REQUIRED = [Problem(model, 8, size) for model in ("efficientnet_lite0", "resnet50") for size in (112, 224)]
SCALING = [
    *(Problem("efficientnet_lite0", batch, 112) for batch in (1, 2, 4, 16, 32)),
    *(Problem("resnet50", batch, 112) for batch in (1, 4, 16)),
    *(Problem("efficientnet_lite0", 8, size) for size in (64, 160, 288)),
    *(Problem(name, 8, 112) for name in ("resnet18", "resnet34", "resnet101")),
]
GPU_CASES = [
    Problem("resnet50", 84, size, precision) for precision in ("float32", "tf32", "bf16") for size in (112, 224)
]
AXES = {"batch": "images per batch", "size": "image size, pixels"}


def has_gpu() -> bool:
    """Whether JAX would run on a GPU here."""
    import jax

    return jax.default_backend() == "gpu"


def sweep(cases: Iterable[Problem], folder: Path, *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure what is not measured yet; every result, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for case in cases:
        path = folder / f"{case.model}_batch{case.batch}_{case.size}px_{case.precision}.json"
        if not path.exists():
            path.write_text(json.dumps(step.measure(case, rounds=rounds, seconds=seconds), indent=1) + "\n", "utf-8")
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
        f"{facts['processor']} (family/model/stepping {facts['family_model_stepping']}), {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, {', '.join(facts['vector'])}; {facts['system']}, Python {facts['python']}, {packages}.",
        "",
        "Medians of interleaved rounds, quartiles in brackets. `load` is the number of running processes before the rounds: "
        "where it is above the benchmark's own, other work shared the machine and only ratios of that line mean anything. "
        "`of peak`: direct FLOPs over the larger of torch's and XLA's matrix-product rate, measured in the same run.",
        "",
        "| model | batch | px | precision | torch_eager | torch_compile | jinv | of peak | eager / jinv | compiled / jinv | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        cells = []
        for name in ("torch_eager", "torch_compile", "jinv"):
            entry = result["implementations"][name]
            low, high = entry["seconds_quartiles"]
            cells.append(f"{entry['seconds_per_step']:.4f} ({low:.4f}-{high:.4f})")
        ratios = [f"{result['ratios'][name]['median']:.2f}x" for name in ("torch_eager", "torch_compile")]
        fraction = f"{result['implementations']['jinv']['fraction_of_matmul_peak']:.0%}"
        row = [result["model"], result["batch"], result["size"], result["precision"], *cells, fraction, *ratios]
        lines.append("| " + " | ".join(map(str, [*row, result["load"][0]])) + " |")
    if not gpu:
        lines += ["", "On a GPU (TF32, bf16, 84 ResNet-50 images): not measured, none was available."]
    return "\n".join(lines) + "\n"


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds per step against batch and against size, per model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(AXES), figsize=(11, 4.5))
    for axis, (varied, label) in zip(axes, AXES.items(), strict=True):
        fixed = "size" if varied == "batch" else "batch"
        for model in dict.fromkeys(result["model"] for result in results):
            for name, style in (("torch_eager", ":"), ("torch_compile", "--"), ("jinv", "-")):
                points = sorted(
                    (result[varied], result["implementations"][name]["seconds_per_step"])
                    for result in results
                    if result["model"] == model and result[fixed] == (112 if fixed == "size" else 8)
                )
                if len(points) > 1:
                    axis.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=f"{model} {name}")
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds per step")
        if axis.lines:
            axis.legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the four cases with a target, without scaling curves")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round, per implementation")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    gpu = has_gpu()
    cases = REQUIRED + ([] if options.quick else SCALING + (GPU_CASES if gpu else []))
    name = f"{'gpu' if gpu else 'cpu'}_{machine.describe()['cores']}_cores"
    folder = options.out or RESULTS / name
    results = sweep(cases, folder, rounds=options.rounds, seconds=options.seconds)
    (folder / "README.md").write_text(markdown(results, gpu=gpu), encoding="utf-8")
    plot(results, folder / "scaling.png")


if __name__ == "__main__":
    main()
