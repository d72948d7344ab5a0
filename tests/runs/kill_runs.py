"""Random SIGKILLs of real runs of a tiny network: each is resumed until it is finished, and ends as if nobody had killed it.

`python -m tests.runs.kill_runs --count 200` prints what was killed and compared; exits with 1 where a byte differs. A test
runs it with few. Every run is a process of its own, forked from this one, which has read jinv but started no device.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from jinv.models.registry import ARCHITECTURES
from jinv.models.resnet_cifar import ResNetCifar

CONFIG = """
model = "tiny.safetensors"
log_every = 3
[image]
size = 16
labels = ["cat", "ship", 1, 2]
batch = 2
[[stages]]
size = 8
steps = 7
[[stages]]
size = 16
steps = 6
[augment.flip]
[terms.cross_entropy]
[checkpoint]
every_steps = 2
"""
CLOCKS = ("started", "finished", "wall_seconds", "command")
UNBORN = 300
"""Seconds after which a process that has not begun its run, or not ended it, counts as hung."""


def child(folder: Path, action) -> tuple[int, int]:
    """A process that does `action(told)`: its id, and a pipe on which `told()` writes a byte. Its words go to a file."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 70
    try:
        os.close(reading)
        words = os.open(folder / "words.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(words, 1)
        os.dup2(words, 2)
        code = action(lambda: os.write(writing, b"."))
    finally:
        os._exit(code)


def carry_out(folder: Path, name: str, told) -> int:
    """`jinv synthesize --resume` of the config in `folder`; tells when the directory is about to be touched."""
    from jinv.cli import main
    from jinv.record.directory import RunDirectory

    prepare = RunDirectory.prepare

    def prepare_and_tell(self, *, resume):
        told()
        return prepare(self, resume=resume)

    RunDirectory.prepare = prepare_and_tell
    return main(["synthesize", str(folder / "small.toml"), "--out", str(folder / name), "--resume"])


def make_network(folder: Path, told) -> int:
    """The network's file; in a process of its own, since it starts a device."""
    from tests.small_runs import save_tiny

    save_tiny(folder / "tiny.safetensors", 1, name="no_block")
    return 0


def ended(pid: int) -> int:
    """The exit code, minus the signal's number where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def whole(folder: Path, name: str) -> float:
    """A run that nobody kills; returns its seconds from the directory's first touch to its end."""
    pid, pipe = child(folder, partial(carry_out, folder, name))
    os.read(pipe, 1)
    begun = time.monotonic()
    code = ended(pid)
    os.close(pipe)
    assert code == 0, (folder / "words.txt").read_text()
    return time.monotonic() - begun


def killed(folder: Path, name: str, delay: float) -> bool:
    """A run that is killed after `delay` seconds, unless it has ended by then; whether it was."""
    pid, pipe = child(folder, partial(carry_out, folder, name))
    os.read(pipe, 1)
    os.close(pipe)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)  # one that has ended is waited for, so that the id is nobody else's
    code = ended(pid)
    assert code in (0, -signal.SIGKILL), (code, (folder / "words.txt").read_text())
    return code != 0


def left_by(run: Path) -> dict[str, bytes]:
    """What must not depend on kills: every file's bytes; of the manifest all but clocks; not the page, which shows them."""
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    del files["timing.jsonl"]
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["finished"] and manifest["wall_seconds"] >= 0
    assert manifest["outputs"].pop("report.html") and files.pop("report.html")
    plain = {key: value for key, value in manifest.items() if key not in CLOCKS}
    return files | {"manifest.json": json.dumps(plain).encode()}


def kill_runs(folder: Path, count: int, seed: int, say=print) -> int:
    """Kills `count` times; returns how many runs ended otherwise than one that was left alone."""

    def kill(name, draws, seconds):
        return killed(folder, name, draws.uniform(0, 1.1 * seconds))

    return stop_and_compare(folder, partial(whole, folder), left_by, kill, ("run", "kill", 10), (count, seed), say)


def stop_and_compare(folder: Path, whole, left, stop, words: tuple[str, str, int], asked: tuple[int, int], say) -> int:
    """Stops what `whole(name)` carries out, and has it go on, until it was stopped as often as is asked.

    left(directory): what must not depend on stops. stop(name, draws, seconds): whether it could be stopped, at a drawn
    moment. words: what is stopped, how that is called, and how often each at most. asked: how often, and the draws' seed.
    Returns how many ended otherwise than one that was left alone.
    """
    (what, stopping, most), (count, seed) = words, asked
    (folder / "small.toml").write_text(CONFIG)
    pid, _ = child(folder, partial(make_network, folder))
    assert ended(pid) == 0, (folder / "words.txt").read_text()
    whole("first")  # compiles for those after it
    seconds = whole("alone")
    expected = left(folder / "alone")
    draws, stops, wrong, compared, begun = random.Random(seed), 0, 0, 0, 0
    assert left(folder / "first") == expected
    while stops < count:
        name, own = f"{what}{begun}", 0
        while stops < count and own < most and stop(name, draws, seconds):
            stops, own = stops + 1, own + 1
        whole(name)
        found = left(folder / name)
        begun, compared = begun + 1, compared + sum(map(len, found.values()))
        different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        if different:
            wrong += 1
            say(f"{name}, {own} {stopping}s: {', '.join(different)}")
        else:
            shutil.rmtree(folder / name)
    say(f"{stops} {stopping}s of {begun} {what}s, {compared:,} bytes compared, {wrong} {what}s differ (seed {seed})")
    return wrong


def no_block() -> Architecture:
    """The smallest network there is: a convolution, a normalisation and a dense layer."""
    make = partial(ResNetCifar, blocks_per_stage=0, width=4)
    return Architecture("no_block", make, 32, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names="cifar10")


def command(description: str, count: int, kill) -> int:
    """A module's own command: `kill(folder, count, seed)` with what is asked for; 1 where something differs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jinv-kills-") as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(folder) / "compiled"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        import jinv.report.page
        import jinv.runs.synthesize  # noqa: F401  (read once for all)

        ARCHITECTURES["no_block"] = no_block()
        return int(kill(Path(folder), asked.count, asked.seed) > 0)


if __name__ == "__main__":
    sys.exit(command(__doc__, 200, kill_runs))
