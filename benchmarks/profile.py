"""Where a step's time goes on a CPU: by kind of operation, by what asked for it, and the longest kernels.

    python -m benchmarks.profile --model efficientnet_lite0 --batch 8 --size 112

XLA's own trace of each kernel, whose names the compiled program explains: what is in a fusion, and which line of the network it
came from. A kernel's time is from its start to its end, on all cores; on a loaded machine matrix products wait longest, so
compare shares of a quiet one alone.
"""

import argparse
import gzip
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.problem import Problem
from benchmarks.refusals import refuse_amounts, refuse_problem

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (?:\(.*?\)|(\w+\[[\d,]*\])\S*) ([\w\-]+)\((.*)$", re.MULTILINE)
COMPUTATION = re.compile(r"^%?([\w.\-]+) \(.*?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
OPERATION = re.compile(r" ([a-z][\w\-]*)\(")
SHIFTED = 6
"""A fusion of so many products, or more, is a sum of shifted ones: a depthwise convolution, a stem, or their gradient."""


class Kernel(NamedTuple):
    """What the compiled program says of a kernel. kind: one of those in `kind_of`. origin: the operation of ours it came from."""

    kind: str
    shape: str
    origin: str


def kernels(program: str) -> dict[str, Kernel]:
    """Of a compiled program's text, by name."""
    bodies = {name: Counter(OPERATION.findall(body)) for name, body in COMPUTATION.findall(program)}
    found = {}
    for name, shape, operation, rest in INSTRUCTION.findall(program):
        called, origin = re.search(r"calls=%?([\w.\-]+)", rest), re.search(r'op_name="([^"]*)"', rest)
        inside = bodies.get(called[1], Counter()) if called else Counter([operation])
        found[name] = Kernel(kind_of(inside), shape, _short(origin[1]) if origin else "")
    return found


def kind_of(operations: Counter[str]) -> str:
    """By what is dearest in it."""
    if "dot" in operations:
        return "matrix product"
    if "convolution" in operations:
        return "convolution"
    if "reduce" in operations or "reduce-window" in operations:
        return "reduction"
    return "shifted products" if operations["multiply"] >= SHIFTED else "elementwise"


def _short(origin: str) -> str:
    """Without what every operation of a step begins with, and what a choice within it adds."""
    return re.sub(r"jit\(step\)/|cond/branch_\d+_fun/", "", origin)


def seconds(events: Sequence[dict[str, Any]], known: dict[str, Kernel], steps: int) -> dict[str, float]:
    """Of each kernel per step, from a trace's events, whose durations are microseconds."""
    found: Counter[str] = Counter()
    for event in events:
        if event.get("ph") == "X" and event["name"] in known:
            found[event["name"]] += event["dur"]
    return {name: duration / steps * 1e-6 for name, duration in found.items()}


def table(times: dict[str, float], known: dict[str, Kernel], longest: int) -> str:
    """The profile as text."""
    whole = sum(times.values())
    kinds: dict[str, list[float]] = defaultdict(list)
    origins: dict[str, float] = defaultdict(float)
    for name, taken in times.items():
        kinds[known[name].kind].append(taken)
        origins[re.sub(r"_?\d+", "*", known[name].origin)] += taken
    lines = [f"{whole * 1e3:.2f} ms per step in {len(times)} kernels"]
    for kind, each in sorted(kinds.items(), key=lambda pair: -sum(pair[1])):
        lines.append(f"{sum(each) * 1e3:9.2f} ms {sum(each) / whole:6.1%}  {kind}, {len(each)} kernels")
    lines.append("by what asked for them, of all layers:")
    for origin, taken in sorted(origins.items(), key=lambda pair: -pair[1])[:longest]:
        lines.append(f"{taken * 1e3:9.2f} ms {taken / whole:6.1%}  {origin}")
    lines.append("the longest kernels:")
    for name, taken in sorted(times.items(), key=lambda pair: -pair[1])[:longest]:
        kernel = known[name]
        lines.append(f"{taken * 1e3:9.2f} ms {taken / whole:6.1%}  {kernel.kind} {kernel.shape} {kernel.origin}")
    return "\n".join(lines)


def measure(case: Problem, steps: int) -> tuple[dict[str, float], dict[str, Kernel]]:
    """(seconds per step of each kernel, what it is)."""
    import jax

    from benchmarks.jinv_step import Implementation

    with tempfile.TemporaryDirectory(prefix="jinv-profile-") as name:
        folder = Path(name)
        case.write(folder / "problem.npz")
        implementation = Implementation(case, folder / "problem.npz")
        implementation.run(3)
        with jax.profiler.trace(str(folder / "trace")):
            implementation.run(steps)
        known = kernels(implementation.program())
        (trace,) = (folder / "trace").rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return seconds(events, known, steps), known


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    for name, default, words in (("batch", 8, "images"), ("size", 112, "pixels"), ("steps", 10, "that are looked at"),
                                 ("longest", 12, "lines of each list")):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=words)
    options = parser.parse_args(arguments)
    refuse_problem(parser, options.model, options.size)
    refuse_amounts(parser, options, "batch", "steps", "longest")
    times, known = measure(Problem(options.model, options.batch, options.size), options.steps)
    print(table(times, known, options.longest))


if __name__ == "__main__":
    main()
