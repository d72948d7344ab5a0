"""Looks through a search's or a sweep's files: its record, and each of its runs."""

from pathlib import Path
from typing import Literal

from jinv.errors import JinvError
from jinv.images.folder import Watch, unwatched
from jinv.record.begun import ANEW
from jinv.record.directory import RunDirectory
from jinv.record.entry import Entry, read_json, validated
from jinv.record.kinds import COMPARISON, JOURNAL, RECORDS, kind_of
from jinv.record.lock import LOCK
from jinv.record.verify import Finding, left_over, verify_part, why_of


class _Setting(Entry):
    run: str


class _Settings(Entry):
    """Of sweep.json or search.json what is asked here."""

    settings: tuple[_Setting, ...] = ()
    trials: tuple[_Setting, ...] = ()


def verify_settings(directory: Path, kind: Literal["search", "sweep"], watch: Watch = unwatched) -> list[Finding]:
    """What is wrong with a search's or a sweep's files; nothing is changed. Its record has no digest: it is read, as far as
    runs are named there, which have to be there. A sweep's comes at its end, and is then written anew; a search's says what
    is searched for, and nothing makes it again.

    Raises:
      StorageError: the directory, or a file, cannot be read.
    """
    path, cure = directory / RECORDS[kind], f"jinv {kind} CONFIG --out {directory} --resume makes it again"
    found, named = list[Finding](), list[str]()
    try:
        table = read_json(path)
        record = validated(_Settings, {} if table is None else table, path)
        named = [row.run for row in (*record.settings, *record.trials)]
        if table is None and kind == "search":
            found.append(Finding("missing", path.name, cure=ANEW))
    except JinvError as error:
        found.append(Finding("altered", path.name, why_of(error, path), cure if kind == "sweep" else ANEW))
    there = sorted(entry.name for entry in RunDirectory(directory).entries() if kind_of(entry) == "run")
    found += [Finding("missing", name, cure=cure) for name in named if not (directory / name).is_dir()]
    for name in sorted({*there, *(name for name in named if (directory / name).is_dir())}):
        found += verify_part(directory, directory / name, watch)
    known = {path.name, COMPARISON, LOCK, *there, *named} | ({JOURNAL} if kind == "search" else set())
    return found + left_over(directory, known, f"no {kind} writes it")
