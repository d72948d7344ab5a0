"""A process of a job is watched by one that does nothing else: jax's runtime ends a process whose peer is gone from within,
with a stack trace and no exit code that means anything, and nothing in that process can do anything about it.

The child is forked before jax is imported. What it ends with it says itself; where it cannot, its parent does.
"""

import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from jinv.commands.output import Forgiving
from jinv.errors import Interrupted, JinvError, UsageError
from jinv.signals import heard

Work = Callable[[Callable[[], None]], int]
"""Given what is to be called once all processes are together; returns the exit code."""

LOST = "a process of the job was lost; start all of them again with --resume"

BROKEN = (
    "gloo",
    "nccl",
    "unavailable",
    "deadline_exceeded",
    "aborted",
    "cancelled",
    "connection",
    "coordination",
    "peer",
)
"""What a collective's error says where another process is gone; out of memory, or a wrong shape, say other things."""

STATUS = re.compile("[A-Z_]+: ")
"""How what the runtime says of an error begins."""

FATAL = re.compile(rb"distributed service detected fatal errors")
NOISE = re.compile(rb"coordination|distributed service")
"""What the runtime says of its peers once one is lost, and of what follows from it."""

GREETING = re.compile(
    rb"(\[Gloo\] Rank|is connected to|peer ranks\.|Expected number of connected peer ranks is :|\d+|\s)+"
)
"""What gloo says when peers find each other: in pieces, which those of two devices' threads come between."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCONT)
TOGETHER = "together"


class Remote(Exception):
    """What the child said of an error, for `--debug`."""


def supervised(work: Work, late: str) -> int:
    """Carry `work` out in a child process; returns its exit code, raises its error. Signals are handed on to it.

    Args:
      late: what to say where the processes of the job were not together in time.

    Raises:
      Interrupted: a process of the job was lost. UsageError: they were not together in time.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    fork = multiprocessing.get_context("fork")
    reports, report = fork.Pipe(duplex=False)
    words, word = os.pipe()
    child = fork.Process(target=_child, args=(work, report, word))
    with _forwarding(child):
        child.start()
        report.close()
        os.close(word)
        said = _pass_on(words)
        child.join()
    found = []
    with suppress(EOFError):
        while True:
            found.append(reports.recv())
    for result in found:
        if isinstance(result, tuple):
            error, trace = result
            raise error from Remote(trace)
        if isinstance(result, int):
            return result
    if child.exitcode == -signal.SIGINT:
        raise KeyboardInterrupt
    raise _unsaid(child.exitcode or 0, TOGETHER in found, late, said) from Remote(
        b"".join(said).decode(errors="replace")
    )


def _unsaid(code: int, together: bool, late: str, said: deque[bytes]) -> JinvError:
    """What it means that a child ended without having said how."""
    fatal = any(FATAL.search(line) for line in said)
    if fatal and not together:
        return UsageError(late)
    if fatal:
        return Interrupted(LOST)
    if -code in (signal.SIGTERM, signal.SIGKILL):
        return Interrupted(
            f"this process of the job was ended by signal {-code}; start all of them again with --resume"
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return JinvError(f"the process that computed ended with {how}; --debug shows its last words")


@contextmanager
def _forwarding(child: Any) -> Iterator[None]:
    """Signals go to the child, which is in a group of its own: a terminal's Ctrl-C would reach it twice."""
    asked = 0

    def forward(number: int, _: Any) -> None:
        nonlocal asked
        asked += number == signal.SIGINT
        if child.pid is not None:
            with suppress(ProcessLookupError):
                # The second Ctrl-C ends it, also where it waits for others and hears nothing.
                os.kill(child.pid, signal.SIGKILL if asked > 1 else number)
        if asked > 1:
            raise KeyboardInterrupt

    with heard(dict.fromkeys(FORWARDED, forward)):
        yield


def _pass_on(words: int) -> deque[bytes]:
    """Show what the child's runtime says, but for what it says of its peers; returns the last lines of all."""
    last: deque[bytes] = deque(maxlen=100)
    silent = False
    with os.fdopen(words, "rb") as lines:
        for line in lines:
            last.append(line)
            silent = silent or NOISE.search(line) is not None
            if not silent and not GREETING.fullmatch(line):
                with suppress(OSError, ValueError):
                    os.write(sys.stderr.fileno(), line)
    return last


def _child(work: Work, report: Connection, word: int) -> None:
    """Never returns. Python's words go where they always go; those of the runtime, which knows file descriptors, to the parent."""
    os.setpgid(0, 0)
    listening = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    for number in listening:
        signal.signal(number, signal.SIG_DFL)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, Forgiving(os.fdopen(os.dup(descriptor), "w", buffering=1, encoding="utf-8")))
        os.dup2(word, descriptor)
    os.close(word)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def together() -> None:
        report.send(TOGETHER)
        if signal.SIGINT in listening:  # until here Python would not hear it: the runtime waits for the others
            signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        result: Any = work(together)
    except BaseException as error:
        known = _lost(error) or error
        result = known, traceback.format_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        report.send(result)
    except Exception:  # what cannot be sent
        report.send((RuntimeError(str(result[0])), result[1]))
    # At once: jax would wait for the others here, who may be gone.
    os._exit(0)


def _lost(error: BaseException) -> Interrupted | None:
    """What an error of jax's means where it comes of another process' end, or None."""
    # A ValueError where a program of a single device runs within the call.
    said = str(error)
    if isinstance(error, RuntimeError | ValueError) and STATUS.match(said) and any(w in said.lower() for w in BROKEN):
        return Interrupted(LOST)
    return None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(Interrupted.exit_code)
