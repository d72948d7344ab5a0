"""The structure check, on repositories made up for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.structure import circles, main

TOOL = Path(__file__).resolve().parents[2] / "tools" / "structure.py"


@pytest.fixture
def check(tmp_path, capsys):
    """What is said of files {path: text}, a line each, without the summary."""

    def check(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        code = main(tmp_path)
        *lines, summary = capsys.readouterr().out.splitlines()
        assert code == (1 if lines else 0) and summary.endswith(f"{len(lines)} offenders")
        return lines

    return check


def function(lines, parameters="x"):
    return f"def f({parameters}):\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize("wrap", ["{}", "class A:\n    {}", "async {}", "def g():\n    {}"])
def test_a_function_of_sixty_lines_and_eight_parameters_passes_and_one_more_does_not(check, wrap):
    def text(lines, parameters):
        return wrap.format(function(lines, parameters).replace("\n", "\n    " if "\n" in wrap else "\n"))

    assert (
        check({"jinv/a.py": text(60 if wrap != "def g():\n    {}" else 59, "self, a, b, c, d, /, e, *, f, g, h")}) == []
    )
    line = 1 + wrap.count("\n")
    assert f"jinv/a.py:{line}: f has 61 lines, at most 60" in check({"jinv/a.py": text(61, "x")})
    for more in ("a, b, c, d, e, f, g, *h, **i", "a, b, c, /, d, e, f, *, g, h, i"):
        assert check({"jinv/a.py": text(2, more)}) == [f"jinv/a.py:{line}: f has 9 parameters, at most 8"]


def test_a_file_may_have_330_lines(check):
    assert check({"convert/a.py": "x = 1\n" * 330}) == []
    assert check({"convert/a.py": "x = 1\n" * 331}) == ["convert/a.py: 331 lines, at most 330"]


@pytest.mark.parametrize(
    "line",
    [
        "from jinv.b import y",
        "from jinv import b",
        "from . import b",
        "from .b import y",
        "import jinv.b",
        "import jinv.b as other",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jinv.b import y",
        "try:\n    from jinv.b import y\nexcept ImportError:\n    y = 1",
        "class A:\n    from jinv.b import y",
        "def f():\n    from jinv.b import y",
    ],
)
def test_an_import_that_leads_back_is_a_circle(check, line):
    files = {
        "jinv/__init__.py": "",
        "jinv/a.py": line,
        "jinv/b.py": "from jinv.c import z",
        "jinv/c.py": "import jinv.a",
    }
    assert check(files) == ["jinv/a.py: imports in a circle: jinv.a -> jinv.b -> jinv.c -> jinv.a"]


@pytest.mark.parametrize("line", ["import json", "from jinv import x", ""])
def test_imports_of_others_are_none(check, line):
    assert check({"jinv/__init__.py": "x = 1", "jinv/a.py": line, "jinv/b.py": "import jinv.a"}) == []


def test_loading_a_checkpoint_is_the_one_exception(check):
    files = {"convert/pipeline.py": "import jinv.weights.load", "jinv/weights/load.py": "import jinv_convert.pipeline"}
    assert check(files) == []
    assert check(files | {"jinv/weights/load.py": "import jinv_convert.b", "convert/b.py": "import jinv.weights.load"})


def test_the_converter_has_its_import_name(check):
    files = {"convert/a.py": "from jinv_convert.b import y", "convert/b.py": "from jinv_convert import a"}
    assert check(files) == ["convert/a.py: imports in a circle: jinv_convert.a -> jinv_convert.b -> jinv_convert.a"]


def test_every_circle_is_found_once():
    graph = {name: frozenset(to) for name, to in {"a": "b", "b": "ca", "c": "d", "d": "c", "e": "a", "f": ""}.items()}
    assert circles(graph) == [["a", "b", "a"], ["c", "d", "c"]]


def test_as_a_command_it_exits_with_one_where_something_is_wrong(tmp_path):
    (tmp_path / "jinv").mkdir()
    for lines, code in ((330, 0), (331, 1)):
        (tmp_path / "jinv" / "a.py").write_text("x = 1\n" * lines)
        assert subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True).returncode == code
