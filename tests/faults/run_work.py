"""A run in a directory as a piece of work whose every operation can fail, and what must be true of its files meanwhile."""

import io
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jinv.record.directory import SIGN
from jinv.record.sealed import DamagedError, unsealed
from tests.faults.enumeration import Work
from tests.faults.fake import synthesize
from tests.runs.kill_runs import left_by


def partial(run: Path) -> list[str]:
    """The files of a run, finished or not, that have a final name and are not whole."""
    files = (path for path in run.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [str(path.relative_to(run)) for path in files if not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".png" | ".jpg":
                Image.open(io.BytesIO(data)).load()
            case ".npy" | ".npz":
                np.load(path)
                if path.parent.name == "batches" or path.suffix == ".npz":
                    unsealed(path)
            case ".json":
                json.loads(data)
            case ".jsonl":  # what was being appended when a run was killed is dropped by the next
                for line in data.split(b"\n")[:-1]:
                    json.loads(line)
            case ".toml":
                tomllib.loads(data.decode())
                return data.splitlines()[-1].startswith(SIGN.encode())
            case ".html":
                return data.rstrip().endswith(b"</html>")
            case _:
                return False
    except (OSError, ValueError, DamagedError):
        return False
    return True


def synthesis(**changes: object) -> Work:
    """`jinv synthesize`, of the fake's recipe with changes."""

    def carry_out(folder: Path, resume: bool) -> None:
        synthesize(folder / "run", resume=resume, **changes)

    return Work(carry_out, lambda folder: left_by(folder / "run"), partial)
