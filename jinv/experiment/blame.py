"""Whose function failed: of what a plugin's raises, while it is bound or traced, name, file and line are said."""

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jinv.errors import JinvError, UsageError, first_line
from jinv.experiment.vocabulary import Vocabulary

TABLES = {
    "terms": "terms.",
    "augmentations": "augment.",
    "projections": "project.",
    "parameterizations": "parameterization ",
    "schedules": "schedule ",
}
"""How a config names what is of each kind."""


@contextmanager
def blaming(vocabulary: Vocabulary) -> Iterator[None]:
    """What is raised here in a function that jinv does not bring becomes a line that names it; all else is as it was.

    Raises:
      UsageError: that line.
    """
    try:
        yield
    except Exception as error:
        cause = error if not isinstance(error, JinvError) else error.__cause__
        blamed = _blamed(cause, vocabulary) if isinstance(cause, Exception) else None
        if blamed is None:
            raise
        raise blamed from error


def _blamed(error: Exception, vocabulary: Vocabulary) -> UsageError | None:
    """Which function of one's own raised it, where, and what; None where none did."""
    own = _own(vocabulary)
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for frame, _ in frames:
        name = frame.f_code.co_qualname.partition(".")[0]
        kind = own.get((id(frame.f_globals), name))
        if kind is None:
            continue
        line = [line for inner, line in frames if inner.f_globals is frame.f_globals][-1]
        plugin = vocabulary.origin(kind, name)
        place = f"{plugin.name if plugin else frame.f_code.co_filename}:{line}"
        said = f"cannot be carried out: {type(error).__name__} at {place}: {first_line(error)}"
        said += f"; `jinv check {plugin.name}` says more" if plugin else ""
        return UsageError.of(f"{TABLES[kind]}{name}", said)
    return None


def _own(vocabulary: Vocabulary) -> dict[tuple[int, str], str]:
    """The kinds of functions that jinv does not bring, by where they are defined and their names."""
    found: dict[tuple[int, str], str] = {}
    for kind in TABLES:
        for function in getattr(vocabulary, kind).values():
            inner: Any = inspect.unwrap(function)
            if inner.__module__.partition(".")[0] != "jinv":
                found[id(inner.__globals__), inner.__qualname__.partition(".")[0]] = kind
    return found
