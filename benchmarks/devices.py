"""One step over several devices: the batch is split, its statistics stay those of the whole batch.

    python -m benchmarks.devices [--model resnet20] [--batch 16] [--size 32] [--devices 1 2 4 8] [--json FILE]

On accelerators the devices are real. On a CPU they are virtual: they share its cores, so that the figures show what
splitting costs there and nothing of what more devices would win.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.refusals import refuse_amounts, refuse_places, refuse_problem


def measure_here(number: int, model: str, batch: int, size: int, steps: int) -> dict[str, Any]:
    """Seconds per step in this process, whose devices are those that JAX was started with."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks import jinv_step, problem
    from jinv.core.devices import batch_sharding, place, replicate
    from jinv.core.objective import TERMS, Term
    from jinv.core.optimizers import adam
    from jinv.core.processor import jit
    from jinv.core.starts import initial_noise
    from jinv.core.step import Inputs, Method, Stage, make_step, start_state
    from jinv.core.synthesis import clip_bounds

    case = problem.Problem(model, batch, size)
    with tempfile.TemporaryDirectory() as folder:
        case.write(Path(folder) / "problem.npz")
        classifier = jinv_step.build(case, problem.read(Path(folder) / "problem.npz")[1])
    pixels = (size, size)
    weights = (("cross_entropy", 1.0), ("total_variation", 1e-4), ("feature_statistics", 1e-2))
    terms = [Term(name, TERMS[name], weight) for name, weight in weights]
    stage = Stage(pixels, steps, terms, adam(0.05), augmentations=problem.augmentations(size))
    method = Method(pixels, clip_bounds(classifier.mean, classifier.std))
    step = make_step(classifier.forward, stage, method)
    sharding = batch_sharding(jax.devices()[:number])
    key, ids = jax.random.key(0), jnp.arange(batch, dtype=jnp.uint32)
    state = start_state(initial_noise(key, ids, pixels), stage, method)
    state, labels, ids = place((state, jnp.arange(batch, dtype=jnp.int32) % 10, ids), sharding, batch)
    variables, key, first = replicate((classifier.variables, key, jnp.int32(0)), sharding)
    inputs = Inputs(variables, labels, key, ids, first)
    compiled = jit(step, donate_argnums=0).lower(state, inputs).compile()
    seconds, metrics = [], None
    for _ in range(3 + steps):
        started = time.perf_counter()
        state, metrics = compiled(state, inputs)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - started)
    assert metrics is not None
    quartiles = statistics.quantiles(seconds[3:], n=4)
    return {
        "devices": number, "seconds_per_step": quartiles[1], "quartiles": [quartiles[0], quartiles[2]],
        "total_after": float(np.asarray(metrics.total)), "platform": jax.devices()[0].platform,
        "kind": jax.devices()[0].device_kind, "share_of_the_batch": batch // number,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="resnet20")
    for name, default in (("batch", 16), ("size", 32), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "batch", "devices")
    refuse_amounts(parser, options, "steps", least=2)  # of one there are no quartiles
    refuse_problem(parser, options.model, options.size)
    refuse_places(parser, options, "json")
    case = (options.model, options.batch, options.size, options.steps)
    if options.here:
        print(json.dumps(measure_here(options.devices[0], *case)))
        return
    load, rows = machine.load(), []
    for number in options.devices:
        # A process for each: the number of virtual devices is fixed when JAX starts. The flag says nothing to a GPU.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={number}"
        command = [sys.executable, "-m", "benchmarks.devices", "--here", "--devices", str(number), "--model", options.model,
                   "--batch", str(options.batch), "--size", str(options.size), "--steps", str(options.steps)]  # fmt: skip
        done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
        if done.returncode:
            print(f"{number} devices: not measured: {done.stderr.strip().splitlines()[-1]}")
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    virtual = any(row["platform"] == "cpu" for row in rows)
    print(
        f"{options.model}, batch {options.batch}, {options.size} px"
        + (", virtual devices of one CPU" if virtual else "")
    )
    for row in rows:
        print(f"{row['devices']:3} devices {row['seconds_per_step']:8.4f} s per step   total {row['total_after']:.6g}")
    if options.json:
        facts = {"model": options.model, "batch": options.batch, "size": options.size, "virtual_devices": virtual}
        result = facts | {"rows": rows, "load": load, "machine": machine.describe()}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
