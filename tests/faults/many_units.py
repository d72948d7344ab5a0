"""A run of very many tiny units: memory and open files stay what they are."""

import os
import resource
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from jinv.runs.units import Units
from tests.faults.fake import fake_synthesizer, synthesize
from tests.runs.kill_runs import left_by

PAGE = resource.getpagesize()


class Held(NamedTuple):
    """What a process holds: bytes of memory, open descriptors."""

    memory: int
    files: int


def held() -> Held:
    """Now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(pages * PAGE, len(os.listdir("/proc/self/fd")))


def many_units(folder: Path, count: int) -> tuple[Held, Held, int]:
    """A run of `count` units of one image: what is held after a tenth of them, the most after that, and files compared."""
    seen: list[Held] = []
    take = Units._take

    def taken(units: Any, number: int) -> bool:
        if number % max(count // 100, 1) == 0:
            units.writing.wait()
            seen.append(held())
        return take(units, number)

    image = {"size": 4, "count": count, "batch": 1}
    changes = {"image": image, "stages": [{"size": 4, "steps": 1}], "checkpoint": {}}
    with fake_synthesizer(beside=True):
        synthesize(folder / "warm", **changes | {"image": image | {"count": 20}})
        with mock.patch.object(Units, "_take", taken):
            synthesize(folder / "many", **changes)
        seen.append(held())
    files = left_by(folder / "many")
    assert sum(name.startswith("images/") for name in files) == count
    tenth, rest = seen[len(seen) // 10], seen[len(seen) // 10 :]
    return tenth, Held(max(h.memory for h in rest), max(h.files for h in rest)), len(files)
