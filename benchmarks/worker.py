"""One implementation in a process of its own: its threads, its memory, its compiler. Commands and answers are JSON lines.

Separate processes keep one framework's spinning threads and caches out of another's time, and make peak memory its own.
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problem import Problem

IMPLEMENTATIONS = ("torch_eager", "torch_compile", "jinv")


def make(name: str, case: Problem, path: Path) -> Any:
    """The implementation, compiled."""
    if name == "jinv":
        from benchmarks import jinv_step

        return jinv_step.Implementation(case, path)
    from benchmarks import torch_step

    return torch_step.Implementation(case, path, compiled=name == "torch_compile")


def forget_peak() -> None:
    """Start the peak of resident memory anew (Linux), so that it is the steps', not the compiler's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Largest resident memory since `forget_peak`, in bytes; of a GPU an implementation describes its own."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return 1024 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def answer(implementation: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command."""
    if request["command"] == "first_steps":
        losses, gradient = implementation.first_steps(request["steps"])
        np.save(request["gradient"], gradient)
        return {"losses": losses}
    if request["command"] == "run":
        started = time.perf_counter()
        implementation.run(request["steps"])
        return {"seconds": (time.perf_counter() - started) / request["steps"]}
    if request["command"] in ("matmul", "stream"):
        matmul = request["command"] == "matmul"
        once = implementation.matmul(request["size"]) if matmul else implementation.stream(request["bytes"])
        once()
        started = time.perf_counter()
        for _ in range(request["times"]):
            once()
        return {"seconds": (time.perf_counter() - started) / request["times"]}
    if request["command"] == "forget_peak":
        forget_peak()
        return {}
    if request["command"] == "describe":
        described: dict[str, Any] = implementation.describe()
        return {"peak_bytes": peak_bytes()} | described
    raise ValueError(f"unknown command {request['command']!r}")


def main() -> None:
    """`python -m benchmarks.worker NAME PROBLEM.npz CASE.json`, driven by standard input."""
    name, path, case = sys.argv[1], Path(sys.argv[2]), Problem(**json.loads(sys.argv[3]))
    # Libraries print to standard output; the answers keep a descriptor of their own.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        started = time.perf_counter()
        implementation = make(name, case, path)
        print(json.dumps({"build_seconds": time.perf_counter() - started}), file=answers)
        for line in sys.stdin:
            print(json.dumps(answer(implementation, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
