"""Errors that a user can act on: one line each, and the exit code of the command line.

A message names the file, key, value, limit and the nearest valid name, as far as they exist. Anything that is not a
`JinvError` is a defect of jinv (or of what it stands on) and keeps its traceback.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

V = TypeVar("V")
E = TypeVar("E", bound="JinvError")

MOST_LETTERS = 300
"""Of a line that another program has written."""

SHORTEST_PART = 4
"""Letters of a name that tell it from others."""


class JinvError(Exception):
    """Base of every error that jinv raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1

    key: str | None = None
    """The key of a config whose value is wrong, where it is one; the message begins with it."""

    def __init__(self, message: str) -> None:
        # One line whatever the checkpoint or config put into it: control characters would forge or hide output.
        super().__init__(_printable(message))
        self.said = str(self)
        """What is said without the key in front."""

    @classmethod
    def of(cls: "type[E]", key: str, said: str) -> "E":
        """The error of a config's key: `key: said`. Whoever knows the file, or the option that set it, names that."""
        error = cls(f"{key}: {said}")
        error.key, error.said = key, _printable(said)
        return error


class UsageError(JinvError, ValueError):
    """A wrong command, config value or unknown name."""

    exit_code = 2


class UnsafeInputError(JinvError):
    """A file that is unsafe, malformed or corrupted."""

    exit_code = 3


class ModelMismatchError(JinvError):
    """A readable file that does not match the model."""

    exit_code = 4


class StorageError(JinvError):
    """A missing file, an unwritable directory, a full disk."""

    exit_code = 5


class RunConflictError(JinvError):
    """A run directory that already exists or belongs to another configuration."""

    exit_code = 6


class NumericalError(JinvError):
    """A loss or an image that is no longer finite."""

    exit_code = 7


class MemoryLimitError(JinvError):
    """More memory needed than there is."""

    exit_code = 8


class Interrupted(JinvError):
    """Stopped by a signal in a state that `--resume` continues."""

    exit_code = 75


def legible(value: V) -> V:
    """A text, or a plain value with texts in it, as UTF-8 can hold it.

    Names of files are bytes, and those that are no UTF-8 are surrogates in Python; they are shown as `\\xff`.
    """
    shown: Any = value
    if isinstance(value, str):
        shown = value if value.isascii() else re.sub("[\ud800-\udfff]", _escaped, value)
    elif isinstance(value, dict):
        shown = {legible(key): legible(inner) for key, inner in value.items()}
    elif type(value) is list:
        shown = [legible(inner) for inner in shown]
    elif type(value) is tuple:
        shown = tuple(legible(inner) for inner in shown)
    return shown  # type: ignore[no-any-return]


def _escaped(match: "re.Match[str]") -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def nearest(name: str, candidates: Iterable[str], ending: str = "") -> str:
    """` (did you mean 'x'?)` for the closest candidate, or an empty string where none is close.

    Neither capitals nor an `ending` that all names have make two alike or unlike; a part of a longer name is close to it.
    """
    known = {candidate.removesuffix(ending).lower(): candidate for candidate in candidates}
    asked = name.removesuffix(ending).lower()
    parts = [one for one in known if len(asked) >= SHORTEST_PART and asked in one]
    matches = difflib.get_close_matches(asked, known, n=1, cutoff=0.55) or sorted(parts, key=len)
    return f" (did you mean {known[matches[0]]!r}?)" if matches else ""


def shorten(name: str, length: int = 80) -> str:
    """A name that fits on a line, however long it is and whatever it is written in."""
    shown = _printable(name[: length + 1])
    return name if len(shown) <= length and len(name) <= length else f"{shown[: length - 3]}..."


def _printable(message: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in legible(message))


@contextmanager
def naming(key: str, *, another: bool = False) -> Iterator[None]:
    """Of what is wrong here it is said which key of the config asked for it; a stop is nobody's fault.

    another: it is about another config, whose keys are none of this one's.
    """
    try:
        yield
    except Interrupted:
        raise
    except JinvError as error:
        if another or error.key is None:
            raise type(error).of(key, str(error)) from error
        raise type(error).of(f"{key}.{error.key}", error.said) from error


@contextmanager
def naming_option(option: str) -> Iterator[None]:
    """As `naming`, of what an option of the command line asked for; no key of a config is at fault then."""
    try:
        yield
    except Interrupted:
        raise
    except JinvError as error:
        raise type(error)(f"{option}: {error}") from error


def first_line(error: Exception) -> str:
    """What an error says first, cut where it is long, or its type's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:MOST_LETTERS] if lines else type(error).__name__
