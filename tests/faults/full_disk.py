"""A disk that is really full: a run in a file system of a few pages, or of a few inodes, that grows a little each time.

`unshare --user --map-root-user --mount python -m tests.faults.full_disk FOLDER` mounts it, where a user may.
"""

import subprocess
import sys
from pathlib import Path

from jinv.errors import JinvError
from tests.faults.fake import fake_synthesizer, synthesize
from tests.faults.run_work import partial
from tests.runs.kill_runs import left_by

LIMITS = {"size": range(4096, 6 << 20, 3 * 4096), "nr_inodes": range(3, 3000, 4)}
"""Every process that resumes leaves a log and its times: two inodes, two pages; each try has a page more, two inodes."""


def fill(folder: Path, option: str, expected: dict[str, bytes]) -> int:
    """How often the run found the disk full until it was through; it ends as it has to."""
    place, times = folder / option, 0
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"{option}={LIMITS[option].start}", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        for limit in LIMITS[option]:
            subprocess.run(["mount", "-o", f"remount,{option}={limit}", str(place)], check=True)
            try:
                synthesize(place / "run", resume=True)
                break
            except JinvError as error:
                assert error.exit_code == 5 and "No space left on device" in str(error), error
                assert partial(place) == [], partial(place)
                times += 1
        assert left_by(place / "run") == expected
        assert not list(place.rglob(".*"))
    finally:
        subprocess.run(["umount", str(place)], check=True)
    return times


def main() -> int:
    """The command."""
    folder = Path(sys.argv[1])
    with fake_synthesizer():
        synthesize(folder / "alone")
        expected = left_by(folder / "alone")
        print(*(fill(folder, option, expected) for option in LIMITS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
