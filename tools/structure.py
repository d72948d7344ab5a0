"""Holds the house to its measures: short files and functions, few parameters, no circles among imports.

`python tools/structure.py [REPOSITORY]` prints a line for each offender, then rooms, imports between rooms and circles; it
exits with 1 where there is an offender. `make lint` runs it.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAXIMUM_FILE = 330
MAXIMUM_FUNCTION = 60
MAXIMUM_PARAMETERS = 8

ROOTS = {"jinv": "jinv", "convert": "jinv_convert", "benchmarks": "benchmarks", "tools": "tools"}
"""Each folder and the name by which it is imported."""

EXCEPTION = ("jinv.weights.load", "jinv_convert.pipeline")
"""An embedded checkpoint is converted when it is first loaded; the converter stands on the weights' room."""

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Module:
    """A source file, read and parsed; `name` is what an import calls it, a package's own file is called as the package."""

    name: str
    path: Path
    lines: int
    tree: ast.Module

    @property
    def package(self) -> str:
        """What its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def room(self) -> str:
        """jinv's folders and files are rooms of their own; the converter is one, and so are the benchmarks."""
        first, *rest = self.name.split(".")
        return f"{first}.{rest[0]}" if first == "jinv" and rest else first


def read_modules(repository: Path) -> dict[str, Module]:
    """Every module under `ROOTS`, by name."""
    modules = {}
    for folder, imported_as in ROOTS.items():
        for path in sorted((repository / folder).rglob("*.py")):
            parts = [imported_as, *path.relative_to(repository / folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            modules[name] = Module(name, path.relative_to(repository), len(text.splitlines()), ast.parse(text))
    return modules


def oversized(module: Module) -> Iterator[str]:
    """A line for the file, and for each of its functions, that is beyond a measure."""
    if module.lines > MAXIMUM_FILE:
        yield f"{module.path}: {module.lines} lines, at most {MAXIMUM_FILE}"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where = f"{module.path}:{node.lineno}: {node.name}"
        assert node.end_lineno is not None
        if (lines := node.end_lineno - node.lineno + 1) > MAXIMUM_FUNCTION:
            yield f"{where} has {lines} lines, at most {MAXIMUM_FUNCTION}"
        if (count := len(_parameters(node.args))) > MAXIMUM_PARAMETERS:
            yield f"{where} has {count} parameters, at most {MAXIMUM_PARAMETERS}"


def _parameters(arguments: ast.arguments) -> list[str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    rest = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [argument.arg for argument in named + rest if argument.arg not in ("self", "cls")]


def import_graph(modules: Mapping[str, Module]) -> dict[str, frozenset[str]]:
    """What each module imports, when it is called and for the type checker alone included; but for `EXCEPTION`."""
    graph = {name: frozenset(_imported(module, modules)) - {name} for name, module in modules.items()}
    user, used = EXCEPTION
    return graph | {user: graph[user] - {used}} if user in graph else graph


def _imported(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.package.split(".")[: len(module.package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            # `from jinv.core import synthesis` is the module where there is one, else a name of the package's own file.
            names = [full if (full := f"{base}.{alias.name}") in modules else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name in modules)


def circles(graph: Graph) -> list[list[str]]:
    """One circle, its first module repeated at its end, through each module that is in any and in none of those before."""
    found: list[list[str]] = []
    for start in sorted(graph):
        if not any(start in circle for circle in found) and (circle := _shortest_circle(graph, start)):
            found.append(circle)
    return found


def _shortest_circle(graph: Graph, start: str) -> list[str] | None:
    paths, seen = [[start]], {start}
    while paths:
        longer = []
        for path in paths:
            for following in sorted(graph[path[-1]]):
                if following == start:
                    return [*path, start]
                if following not in seen:
                    seen.add(following)
                    longer.append([*path, following])
        paths = longer
    return None


def main(repository: Path) -> int:
    """Print the offenders and the summary; returns the exit code."""
    modules = read_modules(repository)
    graph = import_graph(modules)
    rings = circles(graph)
    offenders = [line for module in modules.values() for line in oversized(module)]
    offenders += [f"{modules[ring[0]].path}: imports in a circle: {' -> '.join(ring)}" for ring in rings]
    for line in offenders:
        print(line)
    rooms = {module.room for module in modules.values()}
    pairs = [(modules[a].room, modules[b].room) for a, imported in graph.items() for b in imported]
    between = [pair for pair in pairs if pair[0] != pair[1]]
    print(
        f"structure: {len(modules)} modules in {len(rooms)} rooms, {len(between)} imports between rooms "
        f"({len(set(between))} pairs), {len(rings)} circles, {len(offenders)} offenders"
    )
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
