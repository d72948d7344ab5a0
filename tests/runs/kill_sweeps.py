"""Random SIGKILLs and SIGTERMs of real sweeps of a tiny network: each is resumed until it is finished, and every setting ends
as if nobody had stopped it.

`python -m tests.runs.kill_sweeps --count 100` prints what was stopped and compared; exits with 1 where a byte differs. As
`tests.runs.kill_runs`, by whose means it works.
"""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from tests.runs.kill_runs import child, command, ended, left_by, stop_and_compare

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
    import jinv.report.settings_page
    import jinv.runs.sweep  # noqa: F401  (read once for all)

    def stop(name, draws, seconds):
        number = draws.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        return stopped(folder, name, draws.uniform(0, 1.1 * seconds), number)

    def left(sweep):
        found = settings_left_by(sweep)
        assert len(found) > 4 * 5
        return found

    return stop_and_compare(folder, partial(whole, folder), left, stop, ("sweep", "stop", 6), (count, seed), say)


if __name__ == "__main__":
    sys.exit(command(__doc__, 100, kill_sweeps))
