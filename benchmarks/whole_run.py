"""What `jinv synthesize` costs beyond its steps: one run from the start of its process to its end, part by part.

    python -m benchmarks.whole_run [CONFIG.toml] [--count 2000] [--set key=value ...] [--json FILE]

The run is a user's first: compiled programs of others are not taken. It is looked at from outside. When what was done say
the files that it leaves and, while it is at work, its worker's log; steps per second its timing.jsonl; what was compiled,
and in what time, JAX. What is hidden behind steps, as a batch's writing behind the next one's, is part of them here:
`benchmarks.long_run` has its price.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.refusals import refuse_amounts, refuse_places
from jinv.errors import JinvError, UsageError
from jinv.recipe.read import read_config
from jinv.record.timing import StepTime, iter_times
from jinv.record.workers import WORKERS, WorkerLine, worker_lines

CONFIG = Path(__file__).parents[1] / "configs/quality/cifar10_standard.toml"
COMPILED = re.compile(
    r"Finished (?:XLA compilation of|jaxpr to MLIR module conversion) (jit\(.*?\)) in ([\d.e+-]+) sec"
)
"""What JAX_LOG_COMPILES has it say."""
LOOK_S = 0.005
"""How often the run's directory is looked at until its worker is there."""

PARTS = {
    "start_up": "the interpreter and its imports",
    "loading": "network, checks, a trace of every stage",
    "compiling": "until the first step, and for the verifiers",
    "steps": "",
    "checkpoints": "what they delay the steps",
    "between": "first and last of each batch, and what writing is not hidden",
    "assembling": "images, lines and the grid put together",
    "evaluating": "by the verifiers",
    "report": "the page",
    "sealing": "digests of all files",
    "ending": "what is printed, and the process' end",
}


class Moments(NamedTuple):
    """Unix times: of the process' start and end; `directory`: the run's is there; `begun`, `computed`: its worker began, its last
    unit was final; the others: when the last file of that part was written."""

    started: float
    directory: float
    begun: float
    computed: float
    assembled: float
    evaluated: float
    reported: float
    sealed: float
    ended: float


class Program(NamedTuple):
    """What was compiled, in how many seconds, and when that was said."""

    name: str
    seconds: float
    at: float


class Observed(NamedTuple):
    """A run from outside: its moments, what it logged, what it compiled and its processor seconds."""

    moments: Moments
    lines: list[StepTime]
    checkpoints: list[float]
    programs: list[Program]
    processor_seconds: float


def observe(command: Sequence[str], out: Path, folder: Path) -> Observed:
    """Run a command that makes the run `out`; `folder` is on the same file system, for what the run removes at its end.

    Raises:
      UsageError: the command failed, with its last word.
    """
    kept = folder / "kept"
    seen: dict[str, float] = {}
    said, programs = [""], list[Program]()
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(out, kept, seen, over))
    before, started = _processor_seconds(), time.time()
    environment = os.environ | {"JAX_LOG_COMPILES": "1", "JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        watching.start()
        assert process.stderr is not None
        for line in process.stderr:
            if found := COMPILED.search(line):
                programs.append(Program(found[1], float(found[2]), time.time()))
            elif line.strip():
                said.append(line.strip())
    ended = time.time()
    over.set()
    watching.join()
    if process.returncode:
        raise UsageError(f"the run ended with {process.returncode}: {said[-1]}")
    log = [line for _, lines in worker_lines(kept) for line in lines]
    if not log or "directory" not in seen:
        raise UsageError(f"the run made nothing at {out}: was it finished before?")
    begun, computed = _worked(log)
    moments = Moments(started, min(seen["directory"], begun), begun, computed, *_written(out, computed), ended)
    saved = [line.at for line in log if line.event == "checkpoint"]
    return Observed(moments, list(iter_times(out, out)), saved, programs, _processor_seconds() - before)


def _watch(out: Path, kept: Path, seen: dict[str, float], over: threading.Event) -> None:
    """Note when the run's directory is there, and keep its worker's log, which goes with the run's end, by a second name."""
    while not over.wait(LOOK_S):
        if "directory" not in seen and out.is_dir():
            seen["directory"] = time.time()
        for log in (out / WORKERS).glob("*.jsonl"):
            (kept / WORKERS).mkdir(parents=True, exist_ok=True)
            os.link(log, kept / WORKERS / log.name)
            return


def _worked(log: Sequence[WorkerLine]) -> tuple[float, float]:
    units = [line.at for line in log if line.event == "unit"]
    return min(line.at for line in log if line.event == "begin"), max(units)


def _written(out: Path, computed: float) -> tuple[float, float, float, float]:
    """When a finished run was assembled, evaluated, reported and sealed; each not before the one before it.

    A file system's clock goes by ticks of some milliseconds, and may be behind that of the worker's log.
    """
    last = [path.stat().st_mtime for path in (out / "timing.jsonl", *out.glob("images.npy"), *out.glob("grid.*"))]
    assembled = max(computed, *last)
    judged = out / "evaluation.json"  # none where no verifier was asked
    evaluated = max(assembled, judged.stat().st_mtime) if judged.exists() else assembled
    reported = max(evaluated, (out / "report.html").stat().st_mtime)
    return assembled, evaluated, reported, max(reported, (out / "manifest.json").stat().st_mtime)


def _processor_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def account(run: Observed, stages: Sequence[int]) -> dict[str, float]:
    """The seconds of each of `PARTS`, which sum to the whole; `stages` are their numbers of steps.

    Raises:
      UsageError: it was logged too rarely, or saved too often, to say.
    """
    moments, steps, delays = run.moments, 0.0, 0.0
    ends = sorted({sum(stages[: index + 1]) for index in range(len(stages))} - {0})  # a stage may have no steps
    for begin, end in pairwise([0, *ends]):
        taken, delayed = _stage(run, begin, end)
        steps, delays = steps + taken, delays + delayed

    def compiling(after: float, until: float) -> float:
        return sum(program.seconds for program in run.programs if after < program.at <= until)

    loading = compiling(moments.directory, moments.begun)
    working = compiling(moments.begun, moments.computed)
    judging = compiling(moments.assembled, moments.evaluated)
    return {
        "start_up": moments.directory - moments.started,
        "loading": moments.begun - moments.directory - loading,
        "compiling": loading + working + judging,
        "steps": steps,
        "checkpoints": delays,
        "between": moments.computed - moments.begun - working - steps - delays,
        "assembling": moments.assembled - moments.computed,
        "evaluating": moments.evaluated - moments.assembled - judging,
        "report": moments.reported - moments.evaluated,
        "sealing": moments.sealed - moments.reported,
        "ending": moments.ended - moments.sealed,
    }


def _stage(run: Observed, begin: int, end: int) -> tuple[float, float]:
    """Seconds of all batches' steps `begin` to `end`, and by how much checkpoints delayed them.

    Between the first and the last line that a batch logged; those before the first took as long, each, as those after it.
    """
    batches: dict[int, list[StepTime]] = {}
    for line in run.lines:
        if begin < line.step <= end:
            batches.setdefault(line.batch, []).append(line)
    for lines in batches.values():
        if len(lines) < 2 or lines[-1].step != end:
            raise UsageError(f"a stage of {end - begin} steps has too few lines to time it: lower log_every")
    intervals = {batch: [(a.at, b.at, b.step - a.step) for a, b in pairwise(lines)] for batch, lines in batches.items()}
    every = [interval for each in intervals.values() for interval in each]
    undisturbed = [(b - a) / steps for a, b, steps in every if not _saved(run, a, b)]
    if not undisturbed:
        raise UsageError("checkpoints between all logged steps: save more rarely, or log more often")
    usual, taken, delays = statistics.median(undisturbed), 0.0, 0.0
    for each in intervals.values():
        delayed = sum(b - a - usual * steps for a, b, steps in each if _saved(run, a, b))
        timed = sum(steps for _, _, steps in each)
        taken += (each[-1][1] - each[0][0] - delayed) * (end - begin) / timed
        delays += delayed
    return taken, delays


def _saved(run: Observed, after: float, until: float) -> bool:
    return any(after < at <= until for at in run.checkpoints)


def compiled(programs: Sequence[Program]) -> dict[str, dict[str, float]]:
    """How often a program of each name was made, and in how many seconds, where it took a tenth of one."""
    names = dict.fromkeys(program.name for program in programs)
    each = {name: [program.seconds for program in programs if program.name == name] for name in names}
    # Two lines for each: it is lowered, and then compiled.
    found = {name: {"programs": len(seconds) / 2, "seconds": sum(seconds)} for name, seconds in each.items()}
    return {name: entry for name, entry in found.items() if entry["seconds"] >= 0.1}


def measure(config: Path, count: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The whole result."""
    load = machine.load()
    with tempfile.TemporaryDirectory(prefix="jinv-whole-") as name:
        folder = Path(name)
        out, changes = folder / "run", [f"image.count={count}", *overrides]
        command = [sys.executable, "-m", "jinv.cli", "synthesize", str(config), "--out", str(out), "--set", *changes]
        run = observe(command, out, folder)
        recipe = read_config(out / "config.toml")
        parts = account(run, [stage.steps for stage in recipe.stages])
        batches = recipe.image.batches
    wall = run.moments.ended - run.moments.started
    return {
        "config": config.name, "images": count, "batch": recipe.image.batch, "batches": len(batches),
        "stages": [{"size": list(stage.size), "steps": stage.steps} for stage in recipe.stages],
        "verifiers": len(recipe.evaluate.verifiers), "changes": [change.partition("=")[0] for change in changes],
        "seconds": wall, "processor_seconds": run.processor_seconds, "parts": parts,
        "share_of_steps": parts["steps"] / wall, "beyond_steps_seconds": wall - parts["steps"],
        "compiled": compiled(run.programs), "load": load, "machine": machine.describe(),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The result in lines."""
    lines = [
        f"{result['config']}, {result['images']} images in {result['batches']} batches: {result['seconds']:.1f} s, "
        f"{result['processor_seconds']:.1f} s of processor; load {result['load']}"
    ]
    for part, words in PARTS.items():
        seconds = result["parts"][part]
        lines.append(f"{part:12} {seconds:9.2f} s {seconds / result['seconds']:7.2%}  {words}".rstrip())
    for name, entry in sorted(result["compiled"].items(), key=lambda pair: -pair[1]["seconds"])[:5]:
        lines.append(f"compiled {name}: {entry['programs']:g} in {entry['seconds']:.2f} s")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", nargs="?", type=Path, default=CONFIG)
    parser.add_argument("--count", type=int, default=2000, help="images")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="key=value", help="as of jinv synthesize", dest="overrides"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    refuse_amounts(parser, options, "count")
    refuse_places(parser, options, "json")
    try:
        result = measure(options.config, options.count, options.overrides)
    except JinvError as error:
        print(f"whole_run: {error}", file=sys.stderr)
        return error.exit_code
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
