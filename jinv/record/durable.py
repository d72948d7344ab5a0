"""Makes safe what others may have named: who gave a file its name may have been killed before its folder was synced."""

import os
from contextlib import suppress
from pathlib import Path

from jinv.errors import StorageError
from jinv.files import make_directory, sync_directory
from jinv.record.units import UNITS


def sync_folders(run: Path, *, units: bool = False) -> None:
    """Make safe under which names a run's files, pictures and units are: whoever finds them there may rely on them then.

    With `units` what is in each of them, too: it was there before its unit was, but where a repair put it there.

    Raises:
      StorageError: the disk fails.
    """
    try:
        make_directory(run)
        _sync(run, 1)
        for name, levels in ((UNITS, 2 if units else 1), ("images", 1)):
            if (run / name).is_dir():
                _sync(run / name, levels)
    except OSError as error:
        raise StorageError(f"{run}: cannot be written: {error.strerror or error}") from error


def _sync(folder: Path, levels: int) -> None:
    """Sync a directory and those in it, `levels` deep."""
    sync_directory(folder)
    if levels:
        with os.scandir(folder) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in below:
            with suppress(FileNotFoundError):  # it went away meanwhile
                _sync(Path(path), levels - 1)
