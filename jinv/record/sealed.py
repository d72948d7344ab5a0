"""Files that end with their own digest, so that a flipped bit is found before anything is made of them.

    the bytes, a line of JSON about them, and 64 hexadecimal digits: sha256 of all before

NumPy's readers look at the bytes alone. What belongs to a file is in it and comes into being with it: no crash parts them.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

DIGITS = 64
LONGEST_LINE = 4096


class DamagedError(Exception):
    """A file is not as it was written; says how, without its name."""


def seal(path: Path, about: dict[str, Any]) -> None:
    """End the file with a line about it, and its digest."""
    with path.open("ab") as file:
        file.write(b"\n" + json.dumps(about).encode() + b"\n")
    digest = digest_of(path)
    with path.open("ab") as file:
        file.write(digest.encode())


def unsealed(path: Path) -> dict[str, Any]:
    """The line about a file whose every bit is as it was written.

    Raises:
      DamagedError: it is not, or has no digest. FileNotFoundError: there is none.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - LONGEST_LINE - DIGITS))
            tail = file.read()
        if size <= DIGITS or tail[-DIGITS:] != digest_of(path, size - DIGITS).encode():
            raise DamagedError("its digest is another one than when it was written")
        about = json.loads(tail[:-DIGITS].splitlines()[-1])
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"it cannot be read: {error.strerror}") from error
    assert isinstance(about, dict)
    return about


def digest_of(path: Path, size: int | None = None) -> str:
    """sha256 of a file, or of its first `size` bytes, in hexadecimal digits; never the whole file in memory."""
    digest, rest = hashlib.sha256(), os.path.getsize(path) if size is None else size
    with path.open("rb") as file:
        while rest > 0 and (block := file.read(min(rest, 1 << 20))):
            digest.update(block)
            rest -= len(block)
    return digest.hexdigest()
