"""Start-up: `jinv --help`, and a command's first step on a cold and on a warm compilation cache.

    python -m benchmarks.startup [CONFIG.toml] [--json FILE]

The first step is seen from outside, by when the run wrote its first picture, in a run cut to one step.
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
from benchmarks.refusals import refuse_places


def seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    return time.perf_counter() - started


def short_config(path: Path) -> str:
    """The config with one stage of one step."""
    import tomllib

    import tomli_w

    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table["stages"] = [table["stages"][0] | {"steps": 1, "learning_rate": 0.05}]
    return tomli_w.dumps(table)


def measure(config: Path, repetitions: int = 3) -> dict[str, Any]:
    """Seconds: medians for what can be repeated, single figures for the cold cache."""
    jinv = [sys.executable, "-m", "jinv.cli"]
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.toml"
        short.write_text(short_config(config), encoding="utf-8")
        # The converted weights stay where they are; only the compiled programs are forgotten.
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/xla", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}
        steps = []
        for index in range(1 + repetitions):
            out, started = Path(folder) / f"run{index}", time.time()
            seconds([*jinv, "synthesize", str(short), "--out", str(out)], cache)
            first = min(path.stat().st_mtime for path in (out / "images").iterdir())  # written after the step
            steps.append(first - started)
        helps = [seconds([*jinv, "--help"], {}) for _ in range(repetitions)]
    return {
        "config": config.name,
        "help_seconds": statistics.median(helps),
        "first_step_cold_seconds": steps[0],
        "first_step_warm_seconds": statistics.median(steps[1:]),
        "load": machine.load(),
        "machine": machine.describe(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", nargs="?", type=Path, default=Path("configs/demo.toml"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    refuse_places(parser, options, "json")
    result = measure(options.config)
    for name in (name for name in result if name.endswith("_seconds")):
        print(f"{name:24} {result[name]:6.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
