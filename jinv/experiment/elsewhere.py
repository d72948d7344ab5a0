"""The same functions in another process, where all that is no argument is otherwise: is each the same program there?

Which function reads what cannot be told by its text: a clock may be a default argument, in a table, or asked in a thread. Here
clock, hash order, working directory and the values of variables are others before the plugin is executed, and what Python or the
system draws is another anyway. Run as a program it says, as JSON, what the functions come to.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from jinv.core.contract.suite import program
from jinv.core.contract.surroundings import moved_for_good
from jinv.errors import UsageError
from jinv.experiment.plugin_names import VARIABLE, is_module, named_plugins
from jinv.experiment.plugins import load_plugins

SECONDS = 300
"""So long is waited for a process."""

CAUSES = {
    "clock": "reads a clock or the date",
    "environment": "reads a variable of the environment",
    "folder": "depends on the folder where one stands",
    "hashing": "depends on the order of a set, or on hash(), which are others in every process",
}
"""What can be otherwise, and what is said of a function that is another program then."""

IN_EVERY_PROCESS = (
    "is another program in every process: it draws (random, secrets, uuid) or reads the number of its process"
)
TOGETHER = (
    "is another program where clock, variables, folder and the order of sets are others, if not where one of them is"
)

Names = Sequence[tuple[str, str]]
"""(kind, name) of functions."""

_PYTHON = ("<frozen os>", "<frozen _collections_abc>", os.__file__)


class Asked(NamedTuple):
    """A process at work, and the folder that it stands in, if one of its own."""

    process: "subprocess.Popen[str]"
    folder: "tempfile.TemporaryDirectory[str] | None"

    def answer(self) -> dict[tuple[str, str], str]:
        """What each function comes to.

        Raises:
          UsageError: the plugins cannot be executed there.
        """
        found: dict[str, Any]
        try:
            said, _ = self.process.communicate(timeout=SECONDS)
            found = (
                json.loads(said.splitlines()[-1]) if said.strip() else {"failed": "the process ended without a word"}
            )
        except (subprocess.TimeoutExpired, ValueError) as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            self.end()
        if "failed" in found:
            raise UsageError(f"in another process: {found['failed']}")
        return {(kind, name): value for kind, name, value in found["programs"]}

    def end(self) -> None:
        """Nothing is left of it, whether it has answered or not."""
        self.process.kill()
        self.process.wait()
        if self.folder is not None:
            self.folder.cleanup()


def ask(plugins: Iterable[str], names: Names, otherwise: Iterable[str] = (), seed: int = 1) -> Asked:
    """Begin a process that says what functions of plugins come to, where what `otherwise` names of `CAUSES` is so."""
    otherwise = set(otherwise)
    everything = [name for name, _ in named_plugins(*plugins)]
    task = {
        "plugins": [name if is_module(name) else str(Path(name).resolve()) for name in everything],
        "names": list(names),
        "otherwise": sorted(otherwise),
    }
    folder = tempfile.TemporaryDirectory() if "folder" in otherwise else None
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | {
        "PYTHONHASHSEED": str(seed + ("hashing" in otherwise)),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, json.dumps(task)], env=environment, cwd=folder.name if folder else None,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return Asked(process, folder)


def why(plugins: Sequence[str], names: Names) -> dict[tuple[str, str], str]:
    """In words, by (kind, name), on what each of these functions depends: one thing is otherwise at a time.

    Raises:
      UsageError: another process says nothing at all.
    """
    asked = [ask(plugins, names, causes) for causes in ([], [], *([cause] for cause in CAUSES))]
    try:
        first = asked[0].answer()
        again, *others = map(_answer, asked[1:])
    finally:
        for one in asked:
            one.end()
    found = dict(zip(CAUSES, others, strict=True))
    said = {}
    for name in names:
        these = [words for cause, words in CAUSES.items() if found[cause].get(name) != first.get(name)]
        said[name] = IN_EVERY_PROCESS if first.get(name) != again.get(name) else ", and ".join(these) or TOGETHER
    return said


def _answer(asked: Asked) -> dict[tuple[str, str], str]:
    try:
        return asked.answer()
    except UsageError:  # then no function is what it is elsewhere
        return {}


class _Environment(type(os.environ)):  # type: ignore[misc]
    """Variables that have another value for files in `folders`, and are set where they are not."""

    folders: frozenset[str]

    def __getitem__(self, name: str) -> str:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename in _PYTHON:
            frame = frame.f_back
        if frame is None or os.path.dirname(frame.f_code.co_filename) not in self.folders:
            return str(super().__getitem__(name))
        value = self._data.get(self.encodekey(name))
        text = "4" if value is None else self.decodevalue(value)
        return str(int(text) + 1) if text.isdecimal() else f"{text}_"


@contextmanager
def _quiet() -> Any:
    """What plugins print is not among the answers."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)


def main(text: str) -> None:
    """Answer a task of `ask`."""
    task = json.loads(text)
    with _quiet():
        try:
            said: dict[str, Any] = {"programs": _programs(task)}
        except BaseException as error:
            said = {"failed": str(error)}
    print(json.dumps(said), flush=True)


def _programs(task: dict[str, Any]) -> list[tuple[str, str, str]]:
    if "clock" in task["otherwise"]:
        moved_for_good()
    if "environment" in task["otherwise"]:
        files = (name for name in task["plugins"] if not is_module(name))
        os.environ.__class__ = _Environment
        os.environ.folders = frozenset(map(os.path.dirname, files))  # type: ignore[attr-defined]
    vocabulary = load_plugins(*task["plugins"])
    return [(kind, name, program(kind, name, getattr(vocabulary, kind)[name])) for kind, name in task["names"]]


if __name__ == "__main__":
    main(sys.argv[1])
