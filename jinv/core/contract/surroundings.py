"""What a function can read besides its arguments: Python's generators, clocks, the date, the number of its process."""

import datetime
import inspect
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SECONDS = 40_000_003
"""By which clocks are moved, and more of it each time: more than float32 rounds away of seconds since 1970, more than a year."""

PROCESSES = 100_003


@contextmanager
def surroundings(function: Callable[..., Any], *, drawn: int = 0, moved: int = 0) -> Iterator[None]:
    """Generators that are nobody's in particular are set to `drawn`, clocks, date and process `moved` times; later all is as it was.

    Two readings of a clock at hand are one number in float32, and a process has one number: neither is found out by calling twice.
    Clocks move in this thread alone, by the names in the modules and in the function's own (`from time import time`).
    """
    states = random.getstate(), np.random.get_state()
    stand_ins = {id(real): (real, other) for real, other in _others(moved)}
    names = vars(time), vars(os), vars(datetime), inspect.unwrap(function).__globals__
    found = [(space, name, value) for space in names for name, value in space.items() if id(value) in stand_ins]
    try:
        random.seed(drawn)
        np.random.seed(drawn)
        for space, name, value in found:
            space[name] = stand_ins[id(value)][1]
        yield
    finally:
        for space, name, value in found:
            space[name] = value
        random.setstate(states[0])
        np.random.set_state(states[1])


def moved_for_good() -> None:
    """Clocks and the date are others from now on, in every thread: of a process that is there for this alone."""
    stand_ins = {id(real): other for real, other in _others(1, everywhere=True)}
    for space in (vars(time), vars(datetime)):
        for name, value in list(space.items()):
            space[name] = stand_ins.get(id(value), value)


def _others(moved: int, *, everywhere: bool = False) -> Iterator[tuple[Any, Any]]:
    """(what reads a clock, the date or a process, what says something else, in this thread or everywhere)."""
    here, now = threading.get_ident(), time.time

    def is_here() -> bool:
        return everywhere or threading.get_ident() == here

    def later(real: Callable[..., Any], by: int) -> Callable[..., Any]:
        return lambda *which: real(*which) + by if is_here() else real(*which)

    def of_later(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda seconds=None: real(later(now, moved * SECONDS)() if seconds is None else seconds)

    def in_words(form: str, *moment: Any) -> str:
        return written(form, *(moment or (local(later(now, moved * SECONDS)()),)))

    written, local = time.strftime, time.localtime
    yield written, in_words
    if hasattr(time, "clock_gettime"):
        yield time.clock_gettime, later(time.clock_gettime, moved * SECONDS)
        yield time.clock_gettime_ns, later(time.clock_gettime_ns, moved * SECONDS * 10**9)

    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        yield getattr(time, name), later(getattr(time, name), moved * SECONDS)
        yield getattr(time, f"{name}_ns"), later(getattr(time, f"{name}_ns"), moved * SECONDS * 10**9)
    for convert in (time.localtime, time.gmtime, time.ctime):
        yield convert, of_later(convert)
    for number in (os.getpid, os.getppid):
        yield number, later(number, moved * PROCESSES)
    for real in (datetime.datetime, datetime.date):
        yield real, _dated(real, lambda: datetime.timedelta(seconds=moved * SECONDS * is_here()))


def _dated(real: Any, later: Callable[[], datetime.timedelta]) -> Any:
    """A date that says of now that it is later; any other is as it was."""

    class Dated(type(real)):  # type: ignore[misc]
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real)

    def moved(way: Callable[..., Any]) -> Any:
        return staticmethod(lambda *args: way(*args) + later())

    ways = [name for name in ("now", "utcnow", "today") if hasattr(real, name)]
    return Dated(real.__name__, (real,), {name: moved(getattr(real, name)) for name in ways})
