"""A run by an array of four tasks on a SLURM of one node, two of them killed, beside the same run by one process.

`python -m tests.slurm.array_run --images 2000` prints what was killed and compared; it exits with 1 where an image is missing
or a byte differs. A test runs it with few. The network is CIFAR-10's own (`--model FILE`, a converted one) or a random one.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from jinv.record.status import RunStatus, read_status
from tests.runs.kill_runs import left_by
from tests.slurm import one_node

ROOT = Path(__file__).resolve().parents[2]
TASKS = 4
LONGEST_S = 1800

CONFIG = """
model = "{model}"
seed = 3
log_every = 5
[image]
size = {size}
count = {images}
batch = {batch}
labels = "random"
[[stages]]
size = {size}
steps = {steps}
[augment.flip]
[terms.cross_entropy]
[terms.feature_statistics]
weight = 1e-2
[checkpoint]
every_steps = 2
"""


class Size(NamedTuple):
    """How large a run is."""

    images: int
    batch: int
    size: int
    steps: int


class Found(NamedTuple):
    """What came of it: files that differ, bytes compared, and the workers' last words before the merge."""

    different: list[str]
    compared: int
    status: RunStatus


def array_run(folder: Path, model: Path, size: Size, say=print) -> Found:
    """Carry the run out both ways in `folder`; both kinds of kill come once some of the units are there."""
    (folder / "config.toml").write_text(CONFIG.format(model=model, **size._asdict()))
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}
    jinv(environment, folder, "synthesize", "config.toml", "--out", "alone")
    say(f"{size.images} images by one process")
    with one_node.slurm(folder / "slurm", slots=TASKS) as found:
        slurm = environment | {name: found[name] for name in ("SLURM_CONF", "PATH")}
        said = jinv(slurm, folder, "submit", "config.toml", "--array", str(TASKS), "--out", "run", "--time", "60")
        say(said.strip())
        last = watched(slurm, said.split()[1].partition("_")[0], folder / "run", say)
        log = next((folder / "run.jobs").glob("*_0_log.out"))
    run, alone = folder / "run", folder / "alone"
    assert read_status(run).state == "finished", log.read_text()
    pictures = [int(path.name[:6]) for path in sorted((run / "images").iterdir())]
    assert pictures == list(range(size.images)), "an image is missing, or there twice"
    found, expected = left_by(run), left_by(alone)
    different = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return Found(different, sum(map(len, found.values())), last)


def watched(slurm: dict[str, str], array: str, run: Path, say) -> RunStatus:
    """Kill two tasks that are at work, wait for the end; what the workers had said of themselves before the merge."""
    kills = [("by SIGKILL", ["scancel", "--signal=KILL"]), ("by SLURM, which puts it back", ["scontrol", "requeue"])]
    deadline, last, killed = time.monotonic() + LONGEST_S, None, set[str]()
    while one_node.states(slurm):
        assert time.monotonic() < deadline, one_node.states(slurm)
        time.sleep(0.1)
        if not (run / "manifest.json").exists():
            continue
        status = read_status(run)
        last = status if last is None or status.workers else last
        for unit in status.running if kills and status.units_done else ():
            task = None if unit.owner is None or unit.silent else task_of(unit.owner.pid)
            if task is not None and task not in killed:
                words, command = kills.pop(0)
                subprocess.run([*command, f"{array}_{task}"], env=slurm, check=True, capture_output=True)
                say(
                    f"killed task {task} {words}, at unit {unit.unit}, after {status.images_done} of {status.images} images"
                )
                killed.add(task)
                break
        if not kills:
            one_node.run_again(slurm)
    assert not kills, "it was over before two were killed"
    assert last is not None
    return last


def task_of(pid: int) -> str | None:
    """Which of the array's tasks a process belongs to, None where it is gone."""
    try:
        found = re.search(rb"(?:^|\0)SLURM_ARRAY_TASK_ID=(\d+)\0", Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return None
    return found and found[1].decode()


def jinv(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "jinv.cli", *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", type=Path, help="a converted file of a CIFAR-10 network")
    asked = parser.parse_args()
    if reason := one_node.missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory(prefix="jinv-array-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        model = asked.model.resolve() if asked.model else random_network(folder)
        found = array_run(folder, model, Size(asked.images, asked.batch, 32, asked.steps))
    workers, restarts = found.status.workers, [worker.restarts for worker in found.status.workers if worker.restarts]
    print(f"{len(workers)} workers' logs, {len(restarts)} of a task that was started again")
    print(f"{asked.images} images, each once; {found.compared:,} bytes compared, {len(found.different)} files differ")
    print("\n".join(found.different[:10]), end="")
    return int(bool(found.different))


def random_network(folder: Path) -> Path:
    """A ResNet-20 with random weights."""
    from tests.small_runs import save_tiny

    save_tiny(folder / "tiny.safetensors", 1)
    return folder / "tiny.safetensors"


if __name__ == "__main__":
    sys.exit(main())
