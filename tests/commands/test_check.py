"""What `jinv check` is given and cannot check: one line, and exit code 2, whatever a package does when it is imported."""

import sys

import pytest

from jinv.cli import main

TERM = "import jinv\n\n\ndef own(image: jinv.Image) -> jinv.Scalar:\n    return (image**2).mean()\n"


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("raise RuntimeError('boom')", "the plugin cannot be executed: RuntimeError: boom"),
        ("import sys\nsys.exit(3)", "the plugin cannot be executed: SystemExit: 3"),
        ("def (", "the plugin cannot be executed: SyntaxError: invalid syntax"),
        (
            "import no_such_module",
            "the plugin cannot be executed: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "from os import no_such_name",
            "the plugin cannot be executed: ImportError: cannot import name 'no_such_name'",
        ),
    ],
)
def test_a_package_that_fails_is_said_to(package, said, tmp_path, monkeypatch, capsys):
    name = f"package_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(package)
    (tmp_path / name / "sub.py").write_text(TERM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for words in ([f"{name}.sub"], [f"{name}.sub", "flip"]):
        assert main(["check", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"jinv: error: {name}.sub") and said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "word", ["no_such.sub", "json.no_such", "os.path.x", "__main__", ".sub", "sub.", "a b", "", "a\nb"]
)
def test_what_is_no_module_is_said_to_be_none(word, capsys):
    assert main(["check", word]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jinv: error: ") and error.count("\n") == 1 and "module" in error


def test_files_are_not_alike_for_their_ending(tmp_path, capsys):
    for name in ("xy.py", "my_prior.py"):
        (tmp_path / name).write_text(TERM)
    for name, hint in (("ab.py", ""), ("my_prio.py", " (did you mean 'my_prior.py'?)")):
        assert main(["check", str(tmp_path / name)]) == 5
        assert capsys.readouterr().err.endswith(f"No such file or directory{hint}\n")


def test_a_name_is_found_by_a_part_of_it_and_in_capitals(capsys):
    for word, name in (("FEAT", "sorted_features"), ("Flip", "flip")):
        assert main(["check", word]) == 2
        assert f"(did you mean '{name}'?)" in capsys.readouterr().err
