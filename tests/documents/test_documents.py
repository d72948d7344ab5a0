"""Documents say what is true: their commands can be typed, what they name is there. test_blocks.py carries their code out."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from jinv.cli import COMMANDS, make_parser
from jinv.errors import JinvError
from jinv.recipe.packaged import DISTILLATIONS, TRAININGS, find_config
from jinv.recipe.read import read_config
from jinv.recipe.training import DistillationRecipe, TrainingRecipe, read_training
from jinv.recipe.variations import read_variations
from tests.documents.blocks import NAMES, ROOT, blocks, commands, spans
from tools import structure

ABOUT_CODE = ("ARCHITECTURE.md", "CONTRIBUTING.md")

COMMAND = re.compile(r"(jinv|make|pytest|pip|python|git) [^=]")
MADE_BY_RUNS = ("config.toml",)
SPOKEN_OF = re.compile(r"jinv ([a-z]+(?:-[a-z]+)*)(?: (--[\w-]+))?")
"""A command or an option in a sentence; in a shell block it would be typed whole."""
PLACEHOLDER = re.compile(r"[A-Z0-9_]+(\.\w+)?")
SOURCE = re.compile(r"(\.ci|jinv|convert|configs|docs|tests|tools|benchmarks)/[\w./-]*|[\w-]+\.(md|toml)")
DOTTED = re.compile(r"(jinv|jinv_convert)(\.\w+)+")


def check_command(words):
    """Raise unless a command is one that there is, with options, targets, extras and files that there are."""
    program, *arguments = words[1:] if words[0] == "srun" else words
    if program == "jinv":
        check_jinv(arguments)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments and set(arguments) <= set(targets), f"make {arguments}: targets are {targets}"
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        (named,) = re.findall(r"\[(.*)\]", arguments[-1])
        assert arguments[0] == "install" and set(named.split(",")) <= extras.keys(), f"pip {arguments}"
    elif program == "pytest":
        files = [word for word in arguments if word.endswith(".py")]
        assert files and all((ROOT / file).is_file() for file in files), f"pytest {arguments}"
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), f"python -m {arguments[1]}: there is no such module"
    elif program == "python" and arguments[0] != "-c":
        assert (ROOT / arguments[0]).is_file(), f"python {arguments[0]}: there is no such file"
    elif program.startswith(".venv/bin/"):
        assert importlib.util.find_spec(Path(program).name.replace("-", "_")), f"{program}: nothing installs it"
    else:
        assert program in ("python", "mkdir"), f"{program}: this test knows nothing of such a command"


def check_jinv(arguments):
    try:
        parsed = make_parser().parse_args(arguments)
    except SystemExit as leaving:  # --help
        assert leaving.code == 0
        return
    config = getattr(parsed, "config", None)
    other = {"train": (TRAININGS, TrainingRecipe), "distill": (DISTILLATIONS, DistillationRecipe)}.get(arguments[0])
    if other and config is not None:
        if not PLACEHOLDER.fullmatch(config):
            read_training(find_config(config, other[0]), other[1], tuple(parsed.overrides))
    elif config is not None and not PLACEHOLDER.fullmatch(config):
        config = ROOT / config if (ROOT / config).is_file() else find_config(config)
        if getattr(parsed, "vary", None):
            read_variations(config, parsed.vary, overrides=parsed.overrides, zipped=parsed.zip)
        else:
            read_config(config, parsed.overrides)
    if getattr(parsed, "folder", None) is not None and not PLACEHOLDER.fullmatch(parsed.folder):
        assert (ROOT / parsed.folder / "sheets.toml").is_file(), f"jinv reproduce {parsed.folder}"


def find(dotted):
    """What a dotted name stands for.

    Raises:
      ImportError, AttributeError: nothing.
    """
    name, *parts = dotted.split(".")
    value = importlib.import_module(name)
    for part in parts:
        fields = getattr(value, "__annotations__", {}) | getattr(value, "model_fields", {})
        name = f"{name}.{part}"
        known = hasattr(value, part) or part in fields
        value = getattr(value, part, fields.get(part)) if known else importlib.import_module(name)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_every_block_has_a_language_that_is_checked(name):
    text = (ROOT / name).read_text()
    assert text.count("```") == 2 * len(blocks(text)), "a fence is not closed, or is indented"
    assert {block.language for block in blocks(text)} <= {"python", "sh", "toml", "text"}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_a_document_can_be_typed(name):
    text = (ROOT / name).read_text()
    for block in blocks(text):
        if block.language == "sh":
            for words in commands(block.text):
                check_command(words)
    for span in spans(text):
        if spoken_of := SPOKEN_OF.fullmatch(span):
            command, option = spoken_of.groups()
            parser = argparse.ArgumentParser()
            COMMANDS[command].add_arguments(parser)
            assert option is None or option in parser._option_string_actions, f"{name}: {span}"
        elif COMMAND.match(span) and "..." not in span:
            check_command(shlex.split(span))


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_path_of_a_document_is_there(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", text):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"
    for span in spans(text):
        if SOURCE.fullmatch(span):
            found = (ROOT / span).exists() or any((ROOT / "configs").rglob(span))
            assert found or span in MADE_BY_RUNS, f"{name} names {span}"


@pytest.mark.parametrize("name", NAMES)
def test_every_dotted_name_of_a_document_is_there(name):
    for span in spans((ROOT / name).read_text()):
        match = DOTTED.match(span)
        if match and not span.startswith("jinv.toml"):
            find(match[0])


@pytest.mark.parametrize("name", ABOUT_CODE)
def test_every_identifier_of_a_document_about_code_is_one(name):
    modules = structure.read_modules(ROOT)
    known = {part for module in modules for part in module.split(".")} | {"jax", "jinv", "torch", "jnp", "self"}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name | ast.arg | ast.Attribute | ast.FunctionDef | ast.ClassDef | ast.keyword):
                known |= {getattr(node, "id", None), getattr(node, "arg", None), getattr(node, "attr", None)}
                known |= {getattr(node, "name", None)}
    for span in spans((ROOT / name).read_text()):
        if re.fullmatch(r"\w+", span) and span not in ("make", "convert"):
            assert span in known, f"{name} names {span}"


def test_the_rooms_of_the_table_are_those_that_there_are_in_their_order():
    table = re.findall(r"^\| `([\w/.]+)`", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    order = [room.strip() for layer in contract["layers"] for room in layer.split("|")]
    named = [re.sub(r"(/|\.py)$", "", path).replace("/", ".").replace("convert", "jinv_convert") for path in table]
    assert [room for room in order if room in named] == named and len(named) == len(order)
    rooms = {module.room for module in structure.read_modules(ROOT).values()} - {"jinv", "benchmarks", "tools"}
    assert rooms == set(named)


@pytest.mark.parametrize(
    "command",
    [
        "jinv synthesise demo",
        "jinv synthesize dmo",
        "jinv synthesize demo --set image.cuont=4",
        "jinv synthesize configs/none.toml",
        "jinv synthesize demo --reume",
        "jinv sweep configs/demo.toml --vary sed=[0,1]",
        "jinv reproduce configs/peers",
        "make demos",
        "pip install -e '.[embeded]'",
        "pytest tests/test_none.py",
        "python -m benchmarks.none",
        "python tools/none.py",
        "rm -r runs",
    ],
)
def test_a_command_that_is_none_is_refused(command):
    (words,) = commands(command)
    with pytest.raises((AssertionError, JinvError)):
        check_command(words)


def test_a_name_that_is_none_is_refused():
    for dotted in ("jinv.core.loop.Synthesis.walk", "jinv.runs.none", "jinv.none", "jinv_convert.none.x"):
        with pytest.raises((ImportError, AttributeError)):
            find(dotted)
    assert find("jinv.core.types.Forward.norm_stats") is not None
