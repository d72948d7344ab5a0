"""Fetches a published checkpoint into the cache: resumed where it stopped, its digest checked, never half there."""

import fcntl
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from jinv.errors import StorageError, UnsafeInputError
from jinv.files import sync_directory, write_bytes
from jinv.weights.cache import check_own, file_sha256, make_cache_directory
from jinv_convert.published import Published

CHUNK = 1 << 20
MAX_BYTES = 8 << 30
Progress = Callable[[int, int | None], None]


def download(
    published: Published,
    *,
    unverified: bool = False,
    progress: Progress | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
) -> Path:
    """The path of the published file in the cache, fetched where it is not there yet.

    A file without a published digest, or taken `unverified`, gets a .sha256 beside it, which later calls compare with.
    `timeout` is in seconds without a byte; `progress` gets (bytes so far, bytes in all or None).

    Raises:
      UnsafeInputError: the digest is not the published (or recorded) one.
      StorageError: not found, no connection, or the connection broke or stalled `attempts` times.
    """
    if unverified:
        published = replace(published, sha256="")
    path = make_cache_directory() / published.file_name
    record = path.with_name(path.name + ".sha256")
    expected = _recorded(record, published.sha256) or published.sha256
    if path.is_file() and expected and file_sha256(path).startswith(expected):
        return path
    if path.is_file() and not published.sha256 and expected:
        raise UnsafeInputError(f"{path}: changed since it was downloaded: its sha256 is not {expected}; remove it")
    fetch(published.url, path, published.sha256, progress=progress, timeout=timeout, attempts=attempts)
    write_bytes(record, os.fsencode(f"{file_sha256(path)}  {path.name}\n"), private=True)
    return path


def _recorded(record: Path, promised: str) -> str:
    """The whole digest that was found when the file was fetched, "" where there is none, or not the promised one.

    What is promised may be its first 8 digits, for which another file could be made.
    """
    try:
        check_own(record)
        digest = record.read_text(encoding="ascii").partition(" ")[0]
    except (UnsafeInputError, OSError, ValueError):
        return ""
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) and digest.startswith(promised) else ""


def fetch(
    url: str,
    path: Path,
    sha256: str = "",
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
) -> None:
    """Download `url` to `path` through `path`.part, which an interrupted call leaves for the next one to continue."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "ab") as file:
            _lock(file, path)
            if not sha256:  # without a digest nothing would tell that the old half belongs to another file
                file.truncate(0)
            _fill(url, file, progress, timeout, attempts)
            file.flush()
            os.fsync(file.fileno())
            if not (digest := file_sha256(part)).startswith(sha256):
                part.unlink()
                raise UnsafeInputError(
                    f"{url}: sha256 {digest} does not begin with {sha256}; the file was not kept (see --unverified)"
                )
            os.replace(part, path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StorageError(f"{path}: another process is downloading it") from None


def _fill(url: str, file: BinaryIO, progress: Progress | None, timeout: float, attempts: int) -> None:
    problem = ""
    for _ in range(attempts):
        try:
            if _continue(url, file, progress, timeout):
                return
            problem = f"the connection closed after {file.tell()} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing left to send (or never so long): the digest decides
                return
            problem = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                raise StorageError(f"{url}: {problem}") from None
        except TimeoutError:
            problem = f"nothing came for {timeout:g} s after {file.tell()} bytes"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            problem = f"no connection: {getattr(error, 'reason', None) or error or type(error).__name__}"
    raise StorageError(f"{url}: {problem} ({attempts} attempts); the same command continues where this one stopped")


def _continue(url: str, file: BinaryIO, progress: Progress | None, timeout: float) -> bool:
    """Append what is missing; whether the whole is there."""
    start = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(
        url, headers={"User-Agent": "jinv"} | ({"Range": f"bytes={start}-"} if start else {})
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if start and not (
            response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        ):
            file.truncate(0)  # the server sends the whole file again
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        done = start
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if done > MAX_BYTES:
                raise StorageError(f"{url}: more than {MAX_BYTES} bytes; not a checkpoint")
            if progress is not None:
                progress(done, total)
        file.flush()
    return total is None or done >= total
