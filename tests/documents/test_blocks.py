"""The documents' blocks are carried out, in order, in a folder of each document's own in which its files lie.

Commands of jinv's run in this process as they stand, but with the networks of conftest.py, the smaller settings of
smaller.py and what that lists as changed. So do the first commands of configs that name CIFAR-10's networks.
"""

import argparse
import re
import runpy
import shlex
import shutil
import sys
import tomllib
import traceback
import warnings
from glob import glob
from pathlib import Path

import pytest

from jinv.cli import main
from jinv.errors import JinvError
from jinv.experiment.bind import check_recipe
from jinv.experiment.plugin_names import GROUP
from jinv.recipe.declaration import checked
from jinv.recipe.packaged import DISTILLATIONS, TRAININGS, find_config
from jinv.recipe.read import check_config, read_config, read_table
from jinv.recipe.training import DistillationRecipe, TrainingRecipe
from jinv.runs.synthesize import run
from tests.documents.blocks import NAMES, ROOT, blocks, commands, header, lines
from tests.documents.smaller import (
    CHANGED,
    PARSED_ALONE,
    PYTHON,
    SAME_PROGRAM,
    changed,
    is_placed,
    smaller,
    why_parsed_alone,
)
from tests.documents.test_documents import check_command
from tests.small_runs import save_tiny

pytestmark = pytest.mark.usefixtures("unoptimized")

TEXT = {"ARCHITECTURE.md": 1, "docs/clusters.md": 1}
"""Text blocks that are no code: a drawing; what tests/slurm/array_run.py has printed, which takes a cluster."""

MADE = {"docs/robustness.md": [f"runs/robustness/eps{eps}" for eps in (0, 2, 4, 8)]}
"""Runs that a command leaves which is parsed alone."""


@pytest.fixture(scope="module")
def demo(world):
    """A run of the demo, of four small images."""
    settings = smaller(["synthesize", "demo"])[3:]
    run(read_config(find_config("demo"), [*settings, "evaluate.verifiers=[]"]), world / "demo_run")
    return world / "demo_run"


@pytest.fixture
def folder(world, demo, tmp_path, monkeypatch):
    """A document's own folder. Two runs lie in it: runs/demo, and runs/begun, a run of which a batch is still to be made."""
    here = tmp_path / "here"
    shutil.copytree(world, here, ignore=shutil.ignore_patterns("demo_run"))
    shutil.copytree(demo, here / "runs" / "demo")
    monkeypatch.chdir(here)
    return here


def carry_out(name, text):
    """Execute a document's Python and its commands in order; returns Python's namespace. Tracebacks name its lines."""
    namespace = {"__name__": "__main__"}
    for block in blocks(text):
        if block.language == "python":
            code = block.text
            for pattern, replacement in PYTHON:
                code = re.sub(pattern, replacement, code)
            exec(compile("\n" * (block.line - 1) + code, name, "exec"), namespace)
        elif block.language == "sh":
            for line in lines(block.text):
                for words in commands(changed(line)):
                    carry_out_command(words)
    return namespace


def carry_out_command(words):
    """Carry a shell command out, or look at it as far as that goes.

    Raises:
      AssertionError: it fails, or is of a program that is not known here.
    """
    if why_parsed_alone(words):
        check_command(words)
        if words[:2] == ["python", "-m"]:
            parse_arguments(words[2], words[3:])
    elif words[0] == "mkdir":
        assert words[1] == "-p" and all(is_placed(Path(path)) for path in words[2:])
        for path in words[2:]:
            Path(path).mkdir(parents=True, exist_ok=True)
    else:
        assert words[0] == "jinv", f"{words[0]}: neither carried out nor listed in PARSED_ALONE"
        words = [found for word in words for found in sorted(glob(word)) or [word]]
        code = main(smaller(words[1:]))
        assert code == 0, f"{shlex.join(words)}: exit code {code}"
        if words[1] == "convert" and Path(words[-1]).parent == Path("models"):
            save_tiny(words[-1], 0, name="one_block")  # what goes on with it compiles sooner


class Parsed(BaseException):
    """A program has read its arguments."""


def parse_arguments(module, arguments):
    """Let a module read its command line as `python -m` would, and go no further."""

    def parse(self, given=None, *_):
        original(self, given)
        raise Parsed

    original = argparse.ArgumentParser.parse_args
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a module that is imported already
        patch.setattr(sys, "argv", [module, *arguments])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            runpy.run_module(module, run_name="__main__")


def documents_with(*languages):
    """The documents that have a block of one of these languages."""
    return [name for name in NAMES if any(block.language in languages for block in blocks((ROOT / name).read_text()))]


@pytest.mark.parametrize("name", documents_with("python", "sh"))
def test_a_documents_code_runs(name, folder):
    if name == "README.md":
        shutil.rmtree(folder / "runs")  # its first command makes the demo
    for path in MADE.get(name, ()):
        shutil.copytree(folder / "runs/demo", folder / path)
    text = (ROOT / name).read_text()
    namespace = carry_out(name, text)
    if "```python" in text:
        assert namespace["jinv"].__name__ == "jinv"
    if name == "README.md":
        assert {"daisy.png", "volcano.png"} <= {path.name for path in folder.glob("*.png")}
        assert namespace["result"].pictures.shape == (2, 32, 32, 3)
        assert "colorfulness" in namespace["result"].metrics[-1].terms
        assert namespace["gradient"].shape == namespace["pictures"].shape == (1, 32, 32, 3)
        assert (folder / "runs/demo/evaluation.json").is_file()


def first_commands():
    """The packaged configs of CIFAR-10 whose networks come with jinv, or can: by their name, the first command of the header."""
    paths = sorted(path for path in (ROOT / "configs").rglob("*.toml") if "cifar10_resnet20" in path.read_text())
    found = {path.relative_to(ROOT / "configs").with_suffix("").as_posix(): header(path) for path in paths}
    return {name: line for name, line in found.items() if " train " not in line}


@pytest.mark.parametrize("name", [name for name in first_commands() if not name.startswith("distillation/")])
def test_a_cifar_configs_first_command_needs_nothing_but_images(name, folder):
    # Those of distillations are in docs/distillation.md, which is carried out.
    line = first_commands()[name]
    shutil.rmtree(folder / "models")
    for words in commands(changed(line)):
        named = [word.removeprefix("configs/").removesuffix(".toml") for word in words]
        assert named[2] == name
        carry_out_command(named)


def test_every_cifar_config_begins_with_such_a_command():
    """But for trainings, none names a CIFAR network without saying how to do with what comes with jinv."""
    named = {
        path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        for path in (ROOT / "configs").rglob("*.toml")
        if re.search(r"resnet20_cifar10|^model = .*resnet20", path.read_text(), re.MULTILINE)
    }
    named = {name for name in named if not name.startswith("training/")}
    assert named <= first_commands().keys() and len(named) > 8


@pytest.mark.parametrize("name", documents_with("toml"))
def test_a_documents_settings_are_settings(name):
    for block in blocks((ROOT / name).read_text()):
        if block.language == "toml":
            check_settings(tomllib.loads(block.text))


def check_settings(fragment):
    """Raise unless a part of a config, added to one that comes with jinv, is right, or a part of a project's is read by jinv."""
    if "project" in fragment:
        assert list(fragment["project"]) == ["entry-points"] and list(fragment["project"]["entry-points"]) == [GROUP]
    elif "train" in fragment:
        path = find_config("training/cifar10_resnet20", TRAININGS)
        checked(TrainingRecipe, merged(read_table(path), fragment), where=str(path), folder=path.parent)
    elif "images" in fragment:
        path = find_config("distillation/cifar10", DISTILLATIONS)
        checked(DistillationRecipe, merged(read_table(path), fragment), where=str(path), folder=path.parent)
    else:
        check_recipe(check_config(merged(read_table(find_config("demo")), fragment)))


def merged(table, other):
    """A table with another one's entries in it, tables within tables alike."""
    nested = {
        key: merged(table[key], value)
        for key, value in other.items()
        if isinstance(value, dict) and isinstance(table.get(key), dict)
    }
    return {**table, **other, **nested}


@pytest.mark.parametrize(
    "text",
    [
        "log_gradient = true",
        "[image]\nlabel = 3",
        "[terms.feature_statistics]\ndistance = 'wassserstein'",
        "[terms.no_such_term]",
        "train = 'a'\n[attack]\nepss = 3",
        "[images.real]\nreel = 'a'",
        "[project.entry-points.'jinv.plugin']",
    ],
)
def test_settings_that_are_none_are_refused(text):
    with pytest.raises((AssertionError, JinvError)):
        check_settings(tomllib.loads(text))


@pytest.mark.parametrize("name", NAMES)
def test_text_is_no_code(name):
    found = [block for block in blocks((ROOT / name).read_text()) if block.language == "text"]
    assert len(found) == TEXT.get(name, 0), f"{name}: a text block is not listed in TEXT, or no longer there"


def test_nothing_is_listed_that_no_document_has():
    written = "\n".join((ROOT / name).read_text() for name in NAMES)
    code = [
        line
        for name in NAMES
        for b in blocks((ROOT / name).read_text())
        if b.language == "sh"
        for line in lines(b.text)
    ]
    for pattern, *_ in CHANGED:
        assert any(re.search(pattern, line) for line in code), f"CHANGED: {pattern}"
    for pattern, _ in PARSED_ALONE:
        assert any(re.match(pattern, line) for line in code), f"PARSED_ALONE: {pattern}"
    assert all(name in written for name in SAME_PROGRAM)


@pytest.mark.parametrize(
    ("text", "wrong", "error"),
    [
        ("```python\nimport jinv\njinv.nothing\n```\n", "jinv.nothing", AttributeError),
        ("text\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", "assert x == 2", AssertionError),
    ],
)
def test_a_block_that_breaks_is_told_with_its_line(text, wrong, error):
    with pytest.raises(error) as caught:
        carry_out("made_up.md", text)
    lines = [frame.lineno for frame in traceback.extract_tb(caught.tb) if frame.filename == "made_up.md"]
    assert [text.splitlines()[line - 1] for line in lines] == [wrong]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("curl -O https://example.org/a.pth", "curl: neither carried out nor listed"),
        ("jinv report runs/none", "jinv report runs/none: exit code 5"),
        ("mkdir -p /elsewhere", "assert"),
        ("python -m benchmarks.growth --no-such-option 3", "SystemExit"),
    ],
)
def test_a_command_that_fails_or_is_not_known_fails(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, SystemExit)) as caught:
        carry_out("made_up.md", f"```sh\n{line}\n```\n")
    assert said in f"{caught.type.__name__} {caught.value}"
    assert not list(tmp_path.iterdir())
