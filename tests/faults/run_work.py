"""A run in a directory as a piece of work whose every operation can fail, and what must be true of its files meanwhile."""

import io
import json
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image

from jinv.errors import Interrupted, RunConflictError
from jinv.record.claims import SUFFIX
from jinv.record.config import SIGN
from jinv.record.entry import has_its_digest
from jinv.record.sealed import DamagedError, unsealed
from jinv.record.timing import TIMING
from jinv.record.units import UNITS, final_units, unit_folder
from jinv.record.workers import WORKERS
from tests.faults.enumeration import Work
from tests.faults.fake import UNSTABLE, merge, repair, sweep, synthesize, work_on
from tests.runs.kill_runs import left_by
from tests.runs.kill_sweeps import settings_left_by


def partial(folder: Path) -> list[str]:
    """The files under a folder, of a run finished or not, that have a final name and are not whole."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [
        str(path.relative_to(folder)) for path in files if _is_final(path.relative_to(folder)) and not _is_whole(path)
    ]


def _is_final(name: Path) -> bool:
    """Not what is being written; nor what grows, and is cut to what a checkpoint knows of it; nor whose a unit is."""
    grows = name.suffix in (".jsonl", ".timing") and (
        name.parts[-2] == WORKERS or not name.parts[-2].isdecimal() and UNITS in name.parts
    )
    return not grows and name.suffix != SUFFIX and not any(part.startswith(".") for part in name.parts)


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".png" | ".jpg":
                Image.open(io.BytesIO(data)).load()
            case ".npy":
                np.load(path)
            case ".npz":
                unsealed(path)
            case ".json":
                return has_its_digest(data)
            case ".jsonl" if path.name == TIMING and not data:
                pass  # a power loss took all that the workers had noted of their times
            case ".jsonl":
                return data.endswith(b"\n") and all(json.loads(line) for line in data.splitlines())
            case ".toml":
                tomllib.loads(data.decode())
                return data.splitlines()[-1].startswith(SIGN.encode())
            case ".html":
                return data.rstrip().endswith(b"</html>")
            case _:
                return False
    except (OSError, ValueError, EOFError, IndexError, DamagedError):
        return False
    return True


def synthesis(**changes: object) -> Work:
    """`jinv synthesize`, of the fake's recipe with changes."""

    def carry_out(folder: Path, resume: bool) -> None:
        synthesize(folder / "run", resume=resume, **changes)

    return Work(carry_out, lambda folder: left_by(folder / "run"), partial)


def unstable() -> Work:
    """As `synthesis`, but a batch diverges and is made anew with half the learning rate."""
    return synthesis(seed=UNSTABLE)


def shared_work(**changes: object) -> Work:
    """`jinv worker` and `jinv merge`; goes on with another worker, for which the first is dead."""

    def carry_out(folder: Path, resume: bool) -> None:
        before = len(list((folder / "run" / WORKERS).glob("*.jsonl")))
        work_on(folder / "run", f"worker-{before}", alone=resume, **changes)
        merge(folder / "run")

    return Work(carry_out, lambda folder: left_by(folder / "run"), partial)


def worker_alone() -> Work:
    """`jinv worker`, after which nothing is put together: what it says is there has to be."""

    def carry_out(folder: Path, resume: bool) -> None:
        before = len(list((folder / "run" / WORKERS).glob("*.jsonl")))
        work_on(folder / "run", f"worker-{before}", alone=resume)

    return Work(carry_out, lambda folder: units_left_by(folder / "run"), partial)


def units_left_by(run: Path) -> dict[str, bytes]:
    """The final units of an unfinished run, their arrays, lines and what they are; pictures may be moved to their place later."""
    return {
        f"{number}/{path.name}": path.read_bytes()
        for number in final_units(run)
        for path in unit_folder(run, number).iterdir()
        if path.suffix not in (".timing", ".png")
    }


def sweeping() -> Work:
    """`jinv sweep`."""

    def carry_out(folder: Path, resume: bool) -> None:
        sweep(folder / "sweep", resume=resume)

    return Work(carry_out, lambda folder: settings_left_by(folder / "sweep"), partial)


def repairing(arrays: str = "one_file") -> Work:
    """`jinv verify --repair` of a finished run that lacks a picture, an array and its lines."""
    array = "images.npy" if arrays == "one_file" else "units/000/000001/images.npy"

    def prepare(folder: Path) -> None:
        synthesize(folder / "run", output={"arrays": arrays})
        for name in ("images/000001_ship.png", array, "metrics.jsonl"):
            (folder / "run" / name).unlink()

    def carry_out(folder: Path, resume: bool) -> None:
        repair(folder / "run")

    return Work(carry_out, lambda folder: left_by(folder / "run"), partial, prepare)


def other_worker(folder: Path, *, takes_over: bool) -> str:
    """A second worker comes, does all that it can, and goes: where it `takes_over` what the first is at, too."""
    try:
        work_on(folder / "run", "second", alone=takes_over)
    except Interrupted:
        return "the rest done"
    except RunConflictError:
        return "refused"
    return "all done"
