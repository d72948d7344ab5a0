"""Random SIGKILLs and SIGTERMs of real sweeps of a tiny network: each is resumed until it is finished, and every setting ends
as if nobody had stopped it.

`python -m tests.runs.kill_sweeps --count 100` prints what was stopped and compared; exits with 1 where a byte differs. As
`tests.runs.kill_runs`, by whose means it works.
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

from jinv.models.registry import ARCHITECTURES
from tests.runs.kill_runs import CONFIG, child, ended, left_by, make_network, no_block

VARY = ["seed=[0,1]", "stages.0.steps=[3,7]"]  # two programs of two settings


def carry_out(folder: Path, name: str, told) -> int:
    """`jinv sweep --resume` of the config in `folder`; tells when the first setting's directory is about to be touched."""
    from jinv.cli import main
    from jinv.record.directory import RunDirectory

    prepare, tell = RunDirectory.prepare, [told]

    def prepare_and_tell(self, *, resume):
        if tell:  # once: who listened may have gone since
            tell.pop()()
        return prepare(self, resume=resume)

    RunDirectory.prepare = prepare_and_tell
    return main(["sweep", str(folder / "small.toml"), "--vary", *VARY, "--out", str(folder / name), "--resume"])


def stopped(folder: Path, name: str, delay: float, number: int) -> bool:
    """A sweep that gets a signal after `delay` seconds, unless it has ended by then; whether it was stopped."""
    pid, pipe = child(folder, partial(carry_out, folder, name))
    os.read(pipe, 1)
    os.close(pipe)
    time.sleep(delay)
    os.kill(pid, number)
    code = ended(pid)
    # Before the first setting and after the last nobody listens to SIGTERM: nothing is under way.
    assert code in (0, 75, -signal.SIGKILL, -signal.SIGTERM), (code, (folder / "words.txt").read_text())
    return code != 0


def whole(folder: Path, name: str) -> float:
    """A sweep that nobody stops; returns its seconds from the first touch to the end."""
    pid, pipe = child(folder, partial(carry_out, folder, name))
    os.read(pipe, 1)
    begun = time.monotonic()
    code = ended(pid)
    os.close(pipe)
    assert code == 0, (folder / "words.txt").read_text()
    return time.monotonic() - begun


def settings_left_by(sweep: Path) -> dict[str, bytes]:
    """What must not depend on stops: every setting's files, as `left_by` has them, and what was found, but for its seconds."""
    summary = json.loads((sweep / "sweep.json").read_text())
    assert summary.pop("wall_seconds") >= 0 and (sweep / "comparison.html").exists()
    found = {"sweep.json": json.dumps(summary).encode()}
    for run in (path for path in sweep.iterdir() if path.is_dir()):
        found |= {f"{run.name}/{name}": data for name, data in left_by(run).items()}
    return found


def kill_sweeps(folder: Path, count: int, seed: int, say=print) -> int:
    """Stops `count` times; returns how many sweeps ended otherwise than one that was left alone."""
    (folder / "small.toml").write_text(CONFIG)
    pid, _ = child(folder, partial(make_network, folder))
    assert ended(pid) == 0, (folder / "words.txt").read_text()
    whole(folder, "first")  # compiles for those after it
    seconds = whole(folder, "alone")
    expected = settings_left_by(folder / "alone")
    assert settings_left_by(folder / "first") == expected and len(expected) > 4 * 5
    draws, stops, wrong, compared, sweeps = random.Random(seed), 0, 0, 0, 0
    while stops < count:
        name, own = f"sweep{sweeps}", 0
        while stops < count and own < 6:
            number = draws.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            if not stopped(folder, name, draws.uniform(0, 1.1 * seconds), number):
                break
            stops, own = stops + 1, own + 1
        whole(folder, name)
        found = settings_left_by(folder / name)
        sweeps, compared = sweeps + 1, compared + sum(map(len, found.values()))
        different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        if different:
            wrong += 1
            say(f"{name}, stopped {own} times: {', '.join(different)}")
        else:
            shutil.rmtree(folder / name)
    say(f"{stops} stops of {sweeps} sweeps, {compared:,} bytes compared, {wrong} sweeps differ (seed {seed})")
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jinv-kills-") as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(folder) / "compiled"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        import jinv.report.settings_page
        import jinv.runs.sweep  # noqa: F401  (read once for all)

        ARCHITECTURES["no_block"] = no_block()
        return int(kill_sweeps(Path(folder), asked.count, asked.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
