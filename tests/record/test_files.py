"""Where files come into being, on whatever lies at their path already and whatever the file system cannot do."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jinv.errors import RunConflictError, StorageError
from jinv.files import atomic_directory, atomic_path, check_writable, is_stream, write_bytes, write_text
from jinv.record.directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]


def python(code, *words, **options):
    command = [sys.executable, "-c", f"from jinv.files import *; import sys; {code}", *words]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False, **options)


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("old")
    (tmp_path / "link").symlink_to("far/file")
    (tmp_path / "second").symlink_to("link")
    write_text(check_writable(tmp_path / "second"), "new")
    assert (tmp_path / "second").is_symlink() and (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_text() == "new" and os.listdir(tmp_path / "far") == ["file"]


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("act", [check_writable, lambda path: write_bytes(path, b"x")])
def test_links_that_lead_nowhere_and_directories_are_refused(act, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("no/such")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to folder").symlink_to("folder")
    for name in ("loop", "gone", "folder", "to folder"):
        with pytest.raises(StorageError, match=name):
            act(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "gone", "loop", "to folder"]
    assert not os.listdir(tmp_path / "folder")


def test_a_socket_is_refused_and_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("plug")
        for act in (check_writable, lambda path: write_bytes(path, b"x")):
            with pytest.raises(StorageError, match="plug: is a socket"):
                act(Path("plug"))
    assert stat.S_ISSOCK(os.lstat("plug").st_mode) and os.listdir() == ["plug"]


def test_a_pipe_gets_the_bytes_and_stays_one(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    data = bytes(range(256)) * 1000
    write_bytes(check_writable(pipe), data)
    reader.join(30)
    assert got == [data] and stat.S_ISFIFO(pipe.lstat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@pytest.fixture
def device(tmp_path):
    """Makes a device like /dev/NAME: root, whose tests they may be, would lose the machine's own by a mistake of jinv's."""

    def device(name):
        if os.geteuid():
            return Path("/dev") / name
        try:
            os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.stat(f"/dev/{name}").st_rdev)
            (tmp_path / name).open("wb").close()
        except OSError as error:
            pytest.skip(f"no device can be made here: {error}")
        return tmp_path / name

    return device


@pytest.mark.parametrize("link", [False, True])
def test_a_device_stays_a_device(link, tmp_path, device):
    null = device("null")
    before = os.lstat(null)
    (tmp_path / "link").symlink_to(null)
    path = tmp_path / "link" if link else null
    write_text(check_writable(path), "x" * 100_000)
    after = os.lstat(null)
    assert (before.st_mode, before.st_rdev, before.st_ino) == (after.st_mode, after.st_rdev, after.st_ino)
    assert path.is_symlink() == link


def test_a_full_device_is_said(device):
    full = device("full")
    with pytest.raises(StorageError, match=f"{full}: cannot be written: {os.strerror(errno.ENOSPC)}"):
        write_bytes(full, b"x" * 100_000)


@pytest.mark.parametrize("path", ["link", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_gets_the_bytes_between_what_is_printed(path, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    path = str(tmp_path / path)
    code = "print('before'); write_text(check_writable(sys.argv[1]), 'bytes\\n'); print('after')"
    assert python(code, path, stdout=subprocess.PIPE).stdout == b"before\nbytes\nafter\n"
    with (tmp_path / "file").open("wb") as file:
        assert python(code, path, stdout=file).returncode == 0
    assert (tmp_path / "file").read_bytes() == b"before\nbytes\nafter\n"


def test_what_is_no_descriptor_of_this_process_is_none(tmp_path):
    assert not is_stream(tmp_path / "1") and not is_stream("1") and not is_stream(tmp_path)
    assert is_stream("/dev/null") and is_stream("/dev/stdin")


def test_a_mount_that_refuses_chmod_is_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "fchmod", "lchmod"):
        monkeypatch.setattr(os, name, refuse, raising=False)
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_mount_that_cannot_sync_is_written_and_one_that_fails_to_is_not(number, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(StorageError, match=os.strerror(number)):
            write_text(tmp_path / "file", "new")
        assert not os.listdir(tmp_path)
    else:
        write_text(tmp_path / "file", "new")
        assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_a_plain_open(umask, tmp_path):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "new")
        write_bytes(tmp_path / "private", b"new", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["n" * 255, "名" * 85, "é" * 127, os.fsdecode(b"\xff" * 255), "-rf", "a\nb"])
def test_the_longest_and_strangest_names_are_written(name, tmp_path):
    write_text(tmp_path / name, "new")
    assert os.listdir(tmp_path) == [name]


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "file").read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_run_directory_is_no_device_no_pipe_and_no_link_to_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nothing")
    for path, word in ((Path("/dev/null"), "a device"), (tmp_path / "pipe", "a pipe"), (tmp_path / "link", "nothing")):
        with pytest.raises(StorageError, match=word):
            RunDirectory(path).check(resume=False)


def test_a_run_in_a_linked_directory_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "there" / "images").mkdir(parents=True)
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "there" / "manifest.json").write_text("{}")
    (tmp_path / "there" / "away").symlink_to(tmp_path / "kept")
    (tmp_path / "run").symlink_to("there")
    RunDirectory(tmp_path / "run").remove()
    assert not os.listdir(tmp_path / "there") and (tmp_path / "run").is_symlink() and (tmp_path / "kept").exists()
    assert not RunDirectory(tmp_path / "run").check(resume=False)


def fill(folder, text="new"):
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text(text)


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "b"
    with atomic_directory(target) as folder:
        fill(folder)
        assert not target.exists() and folder.parent == target.parent
    assert (target / "deep" / "file").read_text() == "new" and os.listdir(tmp_path / "a") == ["b"]
    assert target.stat().st_mode & 0o777 == 0o777 & ~current_umask()
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "c") as folder:
        fill(folder)
        _ = 1 / 0
    assert os.listdir(tmp_path) == ["a"]


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_directory_takes_the_place_of_an_empty_one_and_of_a_full_one_on_demand(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_directory(tmp_path / "link") as folder:
        fill(folder)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "deep" / "file").exists()
    with pytest.raises(RunConflictError, match="already exists and is not empty"), atomic_directory(tmp_path / "link"):
        pass
    with atomic_directory(tmp_path / "link", replace=True) as folder:
        (folder / "other").touch()
    assert os.listdir(tmp_path / "real") == ["other"] and sorted(os.listdir(tmp_path)) == ["link", "real"]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file: cannot be written"), atomic_directory(tmp_path / "file"):
        pass


def test_all_of_a_directory_is_synced_before_it_is_there(tmp_path, monkeypatch):
    synced, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(os.fstat(number).st_ino), fsync(number)))
    monkeypatch.setattr(os, "rename", lambda *paths: (synced.append("rename"), rename(*paths)))
    with atomic_directory(tmp_path / "a") as folder:
        fill(folder)
        (folder / "link").symlink_to("/nowhere")
    inodes = [path.stat().st_ino for path in (tmp_path / "a", tmp_path / "a/deep", tmp_path / "a/deep/file")]
    assert set(inodes) <= set(synced[: synced.index("rename")]) and synced[-1] == tmp_path.stat().st_ino


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path):
    dead = tmp_path / ".a.00112233.tmp"
    others = [tmp_path / name for name in (".a.tmp", ".ab.00112233.tmp", ".a.0011223x.tmp")]
    for path in (dead, *others):
        path.mkdir()
    slow = pytest.raises(RunConflictError, match="already exists and is not empty")
    with slow, atomic_directory(tmp_path / "a") as first:
        fill(first, "slow")
        with atomic_directory(tmp_path / "a") as second:
            assert first.exists() and not dead.exists()
            fill(second, "fast")
    assert (tmp_path / "a" / "deep" / "file").read_text() == "fast"
    assert {path.name for path in tmp_path.iterdir()} == {"a", *(path.name for path in others)}
