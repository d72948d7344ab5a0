"""The disk that fails finds every writer that does it wrong, and none that does it right."""

import fcntl
import io
import os
import shutil
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from jinv.errors import StorageError
from jinv.files import atomic_directory, write_bytes
from tests.faults.disk import KINDS, Disk, Fault, Killed
from tests.faults.enumeration import Work, enumerate_faults, random_kills

OLD, NEW = b"old " * 5000, b"new " * 6000


def synced(path: Path, flags: int = os.O_RDONLY) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def right(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    synced(path.parent)


def unsynced(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(NEW)
    os.replace(temporary, path)
    synced(path.parent)


def renamed_first(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(NEW)
    os.replace(temporary, path)
    synced(path)
    synced(path.parent)


def in_place(path: Path) -> None:
    with path.open("wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    synced(path.parent)


def array_in_place(path: Path) -> None:
    """As NumPy writes, past Python's files where it can."""
    with path.open("wb") as file:
        np.save(file, np.frombuffer(NEW, np.uint8))
        file.flush()
        os.fsync(file.fileno())
    synced(path.parent)


def nameless(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(NEW)
    synced(temporary)
    os.replace(temporary, path)


def removed_first(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(NEW)
    synced(temporary)
    path.unlink(missing_ok=True)
    os.rename(temporary, path)
    synced(path.parent)


def folder_unsynced(path: Path) -> None:
    """A whole folder appears, whose files were synced and itself not."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.mkdir()
    (temporary / "file").write_bytes(NEW)
    synced(temporary / "file")
    os.rename(temporary, path)
    synced(path.parent)


def folder_right(path: Path) -> None:
    with atomic_directory(path) as temporary:
        (temporary / "file").write_bytes(NEW)


def with_jinv(path: Path) -> None:
    write_bytes(path, NEW)


def leaves_open(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    right(path)
    os.close(descriptor)


def deaf(path: Path) -> None:
    try:
        right(path)
    except OSError:
        path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)


WRONG = {
    unsynced: "power loss",
    renamed_first: "power loss",
    nameless: "power loss after the end",
    in_place: "killed",
    array_in_place: "killed in a write",
    removed_first: "killed",
    folder_unsynced: "power loss",
    leaves_open: "left open",
    deaf: "ended as if nothing had happened",
}


def work(writer) -> Work:
    """Makes or replaces a file or a folder; whoever goes on does it again."""
    folders = writer in (folder_unsynced, folder_right)

    def prepare(folder: Path) -> None:
        if not folders:
            (folder / "it").write_bytes(OLD)

    def carry_out(folder: Path, resume: bool) -> None:
        for path in folder.glob(".*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if resume and folders and (folder / "it").exists():
            return synced(folder)
        try:
            writer(folder / "it")
        except OSError as error:
            raise StorageError(f"{folder}: {error}") from error

    def left(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def partial(folder: Path) -> list[str]:
        it = folder / "it"
        if folders:
            return ["it"] if it.exists() and left(it) != {"file": NEW} else []
        saved = io.BytesIO()
        np.save(saved, np.frombuffer(NEW, np.uint8))
        return [] if it.exists() and it.read_bytes() in (OLD, NEW, saved.getvalue()) else ["it"]

    return Work(carry_out, left, partial, prepare)


@pytest.mark.parametrize("writer", [right, folder_right, with_jinv])
def test_what_is_right_passes_every_fault(tmp_path, writer):
    tally = enumerate_faults(work(writer), tmp_path, seeds=20)
    assert tally.wrong == [] and tally.trials.keys() == KINDS.keys()
    tally = random_kills(work(writer), tmp_path, 50)
    assert tally.wrong == []


@pytest.mark.parametrize("writer", WRONG)
def test_what_is_wrong_is_found(tmp_path, writer):
    tally = enumerate_faults(work(writer), tmp_path, seeds=20)
    assert any(WRONG[writer] in words for words in tally.wrong), tally.wrong


def test_operations_are_those_of_the_system(tmp_path):
    """As strace counts those of one write: no byte goes past the disk."""
    with Disk(tmp_path) as disk:
        write_bytes(tmp_path / "file", OLD)
        with (tmp_path / "file").open("ab") as file:
            file.write(b"more")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "link").symlink_to("nothing")
        shutil.rmtree(tmp_path / "folder")
    names = "create truncate write open sync rename open sync unlink open write mkdir symlink open unlink rmdir"
    # A large write is one or several, as Python's buffers have it.
    assert [name for name, _ in groupby(name for name, _ in disk.operations)] == names.split()
    assert (tmp_path / "file").read_bytes() == OLD + b"more" and disk.open == {}


def test_who_is_killed_does_nothing_more_and_holds_no_lock(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(Killed), Disk(tmp_path, Fault(KINDS["killed"], 2)) as disk:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            os.write(descriptor, b"mine")
        finally:
            path.unlink()
    assert disk.open == {} and path.read_bytes() == b""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_descriptor_that_is_given_again_at_once_is_followed(tmp_path):
    """Another thread opened a file between a close and its note: what it synced was then lost in a power loss."""
    given = []
    with Disk(tmp_path) as disk:
        close = disk.real["close"]

        def closed(descriptor):
            close(descriptor)
            if not given:
                given.append(os.open(tmp_path / "b", os.O_CREAT | os.O_RDWR))

        disk.real["close"] = closed
        descriptor = os.open(tmp_path / "a", os.O_CREAT | os.O_RDWR)
        os.close(descriptor)
        assert given == [descriptor] and disk.open == {descriptor: str(tmp_path / "b")}
        os.close(descriptor)


def test_a_power_loss_takes_what_was_not_synced_and_nothing_else(tmp_path):
    (tmp_path / "safe").write_bytes(OLD)
    found = set()
    for seed in range(40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "old").write_bytes(OLD)
        with Disk(folder, Fault(KINDS["power loss"], 0, seed)) as disk:
            right(folder / "a")
            (folder / "b").write_bytes(NEW)
            os.rename(folder / "old", folder / "new")
        disk.lose()
        assert (folder / "a").read_bytes() == NEW
        assert (folder / "old").exists() != (folder / "new").exists()
        b = (folder / "b").read_bytes() if (folder / "b").exists() else None
        found.add("none" if b is None else "empty" if not b else "whole" if b == NEW else "other")
    assert found == {"none", "empty", "whole", "other"}
