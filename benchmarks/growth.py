"""How a step's time and memory grow with batch, size and depth, beside what the processor could do at best.

    python -m benchmarks.growth [--only batch size depth] [--model NAME] [--quick] [--json FILE] [--picture FILE.png]

jinv alone, a process per case. Beside each time stands the roofline (Williams et al. 2009): the larger of the step's FLOPs
over the rate of matrix products and of its bytes over the rate of memory, FLOPs and bytes as the compiler counts them. It
counts what each operation reads and writes, as if nothing stayed in a cache: a step may be above that roof. Where an image of
a larger batch costs more than `BEND` of the cheapest, the curve bends, and it is said how far above its roof the step is there.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.problem import Problem
from benchmarks.refusals import refuse_amounts, refuse_model, refuse_places
from benchmarks.step import MATMUL_SIZE, Worker
from benchmarks.sweep import DEPTHS
from jinv.models.registry import get_architecture

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIZES = (32, 64, 96, 112, 160, 224, 320, 448, 672)
BATCH, SIZE = 8, 112
BEND = 1.1
STREAM_BYTES = 1 << 28
WARM_UP = 10
"""Steps before those that are timed: the heap grows for a few, which takes a machine's pages in."""
SHARE_OF_MEMORY = 0.7
"""Of the machine's memory: a case that would need more than that is left out, and said to be."""


class Row(NamedTuple):
    """A case as it was measured. flops, bytes: of a step, by the compiler."""

    varied: str
    at: int
    case: Problem
    seconds: float
    peak_bytes: int
    flops: float
    bytes: float
    matmul_flops: float
    stream_bytes: float

    @property
    def roofs(self) -> dict[str, float]:
        """The seconds that arithmetic and that memory take at least."""
        return {"arithmetic": self.flops / self.matmul_flops, "memory": self.bytes / self.stream_bytes}

    @property
    def roof_seconds(self) -> float:
        """The larger of the two."""
        return max(self.roofs.values())

    @property
    def seconds_per_image(self) -> float:
        """Of a step."""
        return self.seconds / self.case.batch

    @property
    def nearer(self) -> str:
        """The roof that is higher, and so holds the step."""
        return max(self.roofs, key=lambda name: self.roofs[name])

    def to_json(self) -> dict[str, Any]:
        """As it is recorded."""
        own = {"seconds_per_image": self.seconds_per_image, "roof_seconds": self.roof_seconds}
        return self._asdict() | {"case": asdict(self.case), "roof": self.nearer} | own


def cases(model: str, only: Sequence[str], quick: bool) -> Iterable[tuple[str, int, Problem]]:
    """(what is varied, its value, the case), each kind from small to large."""
    smallest = get_architecture(model).min_size
    base = Problem(model, BATCH, max(SIZE, smallest))
    stride = 3 if quick else 1
    if "batch" in only:
        own = (
            base
            if get_architecture(model).input_size > SIZE
            else replace(base, size=get_architecture(model).input_size)
        )
        yield from (("batch", n, replace(own, batch=n)) for n in BATCHES[::stride])
    if "size" in only:
        yield from (("size", n, replace(base, size=n)) for n in SIZES[::stride] if n >= smallest)
    if "depth" in only:
        yield from (("depth", n, Problem(name, BATCH, SIZE)) for name, n in list(DEPTHS.items())[::stride])


def measure(case: Problem, rounds: int, seconds: float) -> dict[str, float]:
    """A case in a process of its own: medians of rounds of about `seconds`."""
    machine.share_card()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        case.write(path)
        worker = Worker("jinv", case, path)
        try:
            worker.ask("run", steps=WARM_UP)
            steps = max(1, round(seconds / worker.ask("run", steps=1)["seconds"]))
            worker.ask("forget_peak")
            times = [worker.ask("run", steps=steps)["seconds"] for _ in range(rounds)]
            described = worker.ask("describe")  # before the others, whose arrays are no step's
            matmuls = [worker.ask("matmul", size=MATMUL_SIZE, times=3)["seconds"] for _ in range(rounds)]
            streams = [worker.ask("stream", bytes=STREAM_BYTES, times=3)["seconds"] for _ in range(rounds)]
        finally:
            worker.close()
    return {
        "seconds": statistics.median(times),
        "peak_bytes": described["peak_bytes"],
        "flops": described["compiled_flops"] or math.nan,
        "bytes": described["compiled_bytes"] or math.nan,
        "matmul_flops": 2 * MATMUL_SIZE**3 / min(matmuls),
        "stream_bytes": 2 * STREAM_BYTES / min(streams),  # read, and written
    }


def grow(model: str, only: Sequence[str], *, quick: bool, rounds: int, seconds: float) -> tuple[list[Row], list[str]]:
    """Every case that fits in memory, and what was left out, in words."""
    rows: list[Row] = []
    left_out = []
    memory = machine.describe()["memory_gib"] * 2**30 * SHARE_OF_MEMORY
    console = Console(stderr=True)
    for varied, at, case in cases(model, only, quick):
        if varied != "depth" and _expected([row for row in rows if row.varied == varied], case) > memory:
            left_out.append(f"{varied} {at}: more memory than {SHARE_OF_MEMORY:.0%} of the machine's")
            continue
        try:
            rows.append(Row(varied, at, case, **measure(case, rounds, seconds)))  # type: ignore[arg-type]
        except RuntimeError as error:  # killed for its memory, for one: what was measured is not lost for it
            left_out.append(f"{varied} {at}: {error}")
            continue
        console.print(f"{varied} {at}: {rows[-1].seconds:.4f} s per step")
    return rows, left_out


def _expected(before: Sequence[Row], case: Problem) -> float:
    """The memory that a case will need: it grows with the pixels, as it did between the smallest and the last one."""
    if not before:
        return 0.0
    first, last = before[0], before[-1]
    between = _pixels(last.case) - _pixels(first.case)
    slope = (last.peak_bytes - first.peak_bytes) / between if between else last.peak_bytes / _pixels(last.case)
    return last.peak_bytes + slope * (_pixels(case) - _pixels(last.case))


def _pixels(case: Problem) -> int:
    return case.batch * case.size**2


def bends(rows: Sequence[Row]) -> list[str]:
    """Where an image costs more than at the cheapest batch, and how near to its roof the step is here and there."""
    by_batch = [row for row in rows if row.varied == "batch"]
    if not by_batch:
        return []
    cheapest = min(by_batch, key=lambda row: row.seconds_per_image)
    found = []
    for row in by_batch:
        ratio = row.seconds_per_image / cheapest.seconds_per_image
        if row.at > cheapest.at and ratio > BEND:
            here, there = (one.roof_seconds / one.seconds for one in (row, cheapest))
            found.append(
                f"an image at batch {row.at} costs {ratio:.2f} of one at {cheapest.at} "
                f"({here:.0%} and {there:.0%} of the {row.nearer} roof)"
            )
    return found


def table(rows: Sequence[Row]) -> Table:
    """What was measured, a line per case."""
    shown = Table("varied", "at", "s per step", "ms per image", "roof, s", "of the roof", "nearer", "memory, MiB")
    for row in rows:
        shown.add_row(
            row.varied,
            f"{row.at}",
            f"{row.seconds:.4f}",
            f"{1e3 * row.seconds_per_image:.2f}",
            f"{row.roof_seconds:.4f}",
            f"{row.roof_seconds / row.seconds:.0%}",
            row.nearer,
            f"{row.peak_bytes / 2**20:.0f}",
        )
    return shown


def draw(rows: Sequence[Row], path: Path) -> None:
    """Above: seconds per image, and its roofs. Below: memory."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(row.varied for row in rows))
    figure, axes = pyplot.subplots(2, len(kinds), figsize=(5 * len(kinds), 7), squeeze=False)
    labels = {"batch": "images per batch", "size": "image size, pixels", "depth": "layers"}
    for column, kind in enumerate(kinds):
        own = [row for row in rows if row.varied == kind]
        at = [row.at for row in own]
        per_image, memory = axes[0][column], axes[1][column]
        per_image.plot(at, [1e3 * row.seconds_per_image for row in own], "o-", label="measured")
        for name, style in (("arithmetic", "--"), ("memory", ":")):
            per_image.plot(at, [1e3 * row.roofs[name] / row.case.batch for row in own], style, label=f"roof: {name}")
        memory.plot(at, [row.peak_bytes / 2**20 for row in own], "o-")
        per_image.set(ylabel="ms per image and step", title=f"{own[0].case.model if kind != 'depth' else 'ResNets'}")
        memory.set(xlabel=labels[kind], ylabel="resident memory, MiB")
        per_image.legend(fontsize="small")
        for axis in (per_image, memory):
            if kind != "depth":
                axis.set_xscale("log", base=2)
                axis.set_xticks(at, [str(n) for n in at], rotation=45)
            if kind == "size" and axis is per_image:  # it grows with the pixels, from 1 to 441
                axis.set_yscale("log")
            else:
                axis.set_ylim(0, None)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("batch", "size", "depth"), default=("batch", "size", "depth"))
    parser.add_argument("--model", default="efficientnet_lite0", metavar="NAME", help="whose batch and size are varied")
    parser.add_argument("--quick", action="store_true", help="every third case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    refuse_model(parser, options.model)
    refuse_amounts(parser, options, "rounds", "seconds")
    refuse_places(parser, options, "json")
    refuse_places(parser, options, "picture", suffix=".png")
    load = machine.load()
    rows, left_out = grow(
        options.model, options.only, quick=options.quick, rounds=options.rounds, seconds=options.seconds
    )
    Console().print(table(rows))
    for line in (*bends(rows), *left_out):
        print(line)
    if options.json:
        result = {
            "rows": [row.to_json() for row in rows],
            "bends": bends(rows),
            "left_out": left_out,
            "load": [load, machine.load()],
            "machine": machine.describe(),
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
