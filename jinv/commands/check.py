"""`jinv check`: does a function of one's own keep what jinv's own keep?"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinv.commands.arguments import add_plugins, check_output
from jinv.errors import NumericalError, UsageError, legible, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from jinv.core.contract.findings import Finding
    from jinv.experiment.elsewhere import Asked
    from jinv.experiment.vocabulary import Vocabulary

HELP = "check terms, augmentations, parameterizations, schedules and metrics, your own too, against the contract that jinv's keep"

VIOLATED = NumericalError.exit_code


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    what = "a .py file or module of your own, or a name of jinv terms (default: every name)"
    command.add_argument("what", nargs="*", metavar="FILE_OR_NAME", help=what)
    command.add_argument("--json", type=Path, metavar="FILE", help="also write what was found as JSON")
    add_plugins(command)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit code: 0 where everything is kept, 7 where something is violated."""
    from jinv.commands.compilation import ready_to_compute
    from jinv.console import Waiting, make_console, say
    from jinv.core.contract.suite import check
    from jinv.experiment.elsewhere import CAUSES, ask
    from jinv.files import is_stream, write_text

    if arguments.json is not None:
        check_output(arguments.json, "--json")
    ready_to_compute()
    functions, passed_over = _functions(arguments.what, arguments.plugins)
    console = make_console(stderr=arguments.json is not None and is_stream(arguments.json))
    plugins = [*arguments.plugins, *(word for word in arguments.what if word not in {f.name for f in functions})]
    own = [function for function in functions if function.own]
    names = [(function.kind, function.name) for function in own]
    # Of two hash seeds: one may leave a small set in the order that it has here.
    elsewhere = [ask(plugins, names, CAUSES, seed) for seed in (1, 2)] if own else []
    try:
        with Waiting(make_console(stderr=True)) as waiting:
            for function in waiting.watch(functions, "functions checked", len(functions)):
                function.findings = check(function.kind, function.name, function.function)
        _compare(own, elsewhere, plugins)
    finally:
        for asked in elsewhere:
            asked.end()
    for kind in dict.fromkeys(function.kind for function in functions):
        console.print(_table(kind, [function for function in functions if function.kind == kind]))
    for function in functions:
        for finding in function.findings:
            if finding.found is not None:
                say(console, function.line(finding))
    for why in passed_over:
        say(console, f"passed over: {why}")
    broken = [function for function in functions if function.violated]
    if arguments.json is not None:
        found = {"violated": len(broken), "functions": [function.to_json() for function in functions]}
        write_text(arguments.json, json.dumps(legible(found), indent=1) + "\n")
    count = f"{len(functions)} function{'s' if len(functions) > 1 else ''}"
    say(console, f"{len(broken)} of {count} violate the contract" if broken else f"{count}: the contract is kept")
    return VIOLATED if broken else 0


@dataclass
class Checked:
    """A function, where it is, and what the checks say of it."""

    kind: str
    name: str
    function: Any
    file: str
    findings: "tuple[Finding, ...]" = ()
    own: bool = False

    @property
    def first_line(self) -> int:
        """Where it begins."""
        import inspect

        code: Any = inspect.unwrap(self.function).__code__
        return int(code.co_firstlineno)

    @property
    def violated(self) -> bool:
        """Does any check say so?"""
        return any(finding.violated for finding in self.findings)

    def line(self, finding: "Finding") -> str:
        """One finding in a line."""
        remark = "remark: " if finding.remark else ""
        advice = f"; {finding.advice}" if finding.advice else ""
        return f"{self.file}:{self.first_line}: {self.name}: {remark}{finding.check}: {finding.found}{advice}"

    def to_json(self) -> dict[str, Any]:
        """The function's entry in the file of `--json`."""
        findings = [finding._asdict() | {"violated": finding.violated} for finding in self.findings]
        for finding in findings:
            del finding["program"]
        return {
            "kind": self.kind,
            "name": self.name,
            "file": self.file,
            "line": self.first_line,
            "violated": self.violated,
            "checks": findings,
        }


def _compare(functions: Sequence[Checked], elsewhere: "Sequence[Asked]", plugins: Sequence[str]) -> None:
    """What other processes say of functions that are pure here: a violation of those that come to something else there."""
    from jinv.core.contract.findings import Finding
    from jinv.experiment.elsewhere import why

    pure = {(f.kind, f.name): program for f in functions for program in (p.program for p in f.findings) if program}
    others: set[tuple[str, str]] = set()
    for asked in elsewhere:
        try:
            found = asked.answer()
        except UsageError:  # the plugin cannot even be executed there
            found = {}
        others |= {name for name, program in pure.items() if found.get(name) != program}
    said = why(plugins, sorted(others)) if others else {}
    for function in functions:
        if words := said.get((function.kind, function.name)):
            advice = "a function's value is of its arguments alone: what else it needs is a hyperparameter"
            new = Finding("pure", words, advice)
            function.findings = tuple(new if finding.check == "pure" else finding for finding in function.findings)


def _functions(words: Sequence[str], plugins: Sequence[str]) -> tuple[list[Checked], list[str]]:
    """What the words name, all that there is where there are none, and what of their files was passed over.

    Raises:
      UsageError: a word that is neither a name nor a module. As `load_plugins`.
    """
    from jinv.core.contract.suite import SUITES
    from jinv.experiment.plugin_names import is_module
    from jinv.experiment.plugins import find_module, load_plugins, read_plugin

    files = [word for word in words if not is_module(word)]
    vocabulary = load_plugins(*plugins, *files)
    known = [name for kind in SUITES for name in getattr(vocabulary, kind)]
    wanted: dict[tuple[str, str], None] = {}
    passed_over: list[str] = []
    for word in words:
        if word in known:
            wanted |= {(kind, word): None for kind in SUITES if word in getattr(vocabulary, kind)}
            continue
        if is_module(word) and find_module(word) is None:
            raise UsageError(f"check: {word} is no name of jinv terms, no module and no .py file{nearest(word, known)}")
        plugin = read_plugin(word)
        vocabulary = vocabulary.with_plugin(plugin)
        wanted |= {(kind, name): None for kind, names in plugin.functions.items() for name in names}
        passed_over += plugin.passed_over.values()
    everything = ((kind, name) for kind in SUITES for name in getattr(vocabulary, kind))
    return [_placed(vocabulary, kind, name) for kind, name in (wanted if words else everything)], passed_over


def _placed(vocabulary: "Vocabulary", kind: str, name: str) -> Checked:
    import inspect

    import jinv

    function, plugin = getattr(vocabulary, kind)[name], vocabulary.origin(kind, name)
    file = inspect.unwrap(function).__code__.co_filename
    if plugin is not None:
        return Checked(kind, name, function, plugin.file, own=True)
    return Checked(kind, name, function, os.path.relpath(file, Path(jinv.__file__).parents[1]))


def _table(kind: str, functions: Sequence[Checked]) -> "Table":
    """Of each function, which checks it keeps, violates, and was not asked because of that."""
    from rich.table import Column
    from rich.text import Text

    from jinv.console import add, table

    checks = list(dict.fromkeys(f.check for function in functions for f in function.findings))
    shown = table(Column(kind, no_wrap=True), "kept", "violated", "not asked", title=kind.capitalize())
    for function in functions:
        said = {finding.check: finding for finding in function.findings}
        kept = [c for c in checks if c in said and not said[c].violated]
        violated = [c for c in checks if c in said and said[c].violated]
        rest = [c for c in checks if c not in said]
        cells = Text(", ".join(kept), "green"), Text(", ".join(violated), "bold red"), Text(", ".join(rest), "dim")
        add(shown, function.name, *cells)
    return shown
