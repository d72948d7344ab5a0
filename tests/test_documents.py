"""Documents say what is true: their Python runs, their commands parse, what they name is there.

Python blocks are executed as they stand, one document after the other in one namespace each, in an empty folder in which
a small run lies as `runs/demo`. Two things are other than a reader has them, so that a block takes seconds: under the names of
the embedded networks there are networks of one block per stage, with random weights and ImageNet's classes, and numbers of
steps and pixels are smaller (`SMALLER`). The notebooks, which tests/test_notebooks.py executes, have the real ones.
"""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
import traceback
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jinv.cli import COMMANDS, make_parser
from jinv.errors import JinvError
from jinv.models.architecture import EMBEDDED, IMAGENET_MEAN, IMAGENET_STD
from jinv.models.registry import ARCHITECTURES
from jinv.recipe.packaged import DISTILLATIONS, TRAININGS, find_config
from jinv.recipe.read import read_config
from jinv.recipe.training import DistillationRecipe, TrainingRecipe, read_training
from jinv.recipe.variations import read_variations
from jinv.runs.synthesize import run
from jinv.weights.cache import CONVERTER_VERSION, keep
from jinv.weights.file import NetworkMetadata, save_converted
from jinv.weights.labels import class_names
from tools import structure

ROOT = Path(structure.__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
ABOUT_CODE = ("ARCHITECTURE.md", "CONTRIBUTING.md")

SMALLER = ((r"\b112\b", "32"), (r"(steps\W{1,4})\d+", r"\g<1>2"))
"""What replaces what in a Python block before it is executed."""

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(jinv|make|pytest|pip|python|git) [^=]")
MADE_BY_RUNS = ("config.toml",)
SPOKEN_OF = re.compile(r"jinv ([a-z]+(?:-[a-z]+)*)(?: (--[\w-]+))?")
"""A command or an option in a sentence; in a shell block it would be typed whole."""
PLACEHOLDER = re.compile(r"[A-Z0-9_]+(\.\w+)?")
SOURCE = re.compile(r"(\.ci|jinv|convert|configs|docs|tests|tools|benchmarks)/[\w./-]*|[\w-]+\.(md|toml)")
DOTTED = re.compile(r"(jinv|jinv_convert)(\.\w+)+")


class Block(NamedTuple):
    """A fenced block of a document; `line` is that of its first line."""

    language: str
    text: str
    line: int


def blocks(text):
    """The fenced blocks of a Markdown text."""
    return [
        Block(match["language"], match["text"], text.count("\n", 0, match.start("text")) + 1)
        for match in FENCE.finditer(text)
    ]


def spans(text):
    """The code within a Markdown text's sentences, whitespace as one space."""
    return [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text))]


def commands(text):
    """The commands of a shell block as lists of words."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index(";") if ";" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def execute(document, name):
    """Execute a document's Python blocks in one namespace, which is returned; tracebacks name its lines."""
    namespace = {"__name__": "__main__"}
    for block in blocks(document):
        if block.language == "python":
            text = block.text
            for pattern, replacement in SMALLER:
                text = re.sub(pattern, replacement, text)
            exec(compile("\n" * (block.line - 1) + text, name, "exec"), namespace)
    return namespace


def check_command(words):
    """Raise unless a command is one that there is, with options, targets, extras and files that there are."""
    program, *arguments = words
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


@pytest.fixture
def small_networks(one_block, tmp_path, monkeypatch):
    """Networks of one block per stage, with random weights, under the names of the embedded ones."""
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    architecture = ARCHITECTURES[one_block]
    shapes = jax.eval_shape(architecture.make(1000).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for seed, name in enumerate(EMBEDDED):
        random = np.random.default_rng(seed)
        variables = {
            path: random.uniform(0.5, 1.5, leaf.shape)
            if path.endswith(("var", "scale"))
            else random.normal(size=leaf.shape) * (2 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5
            for path, leaf in flatten_dict(shapes, sep="/").items()
        }
        metadata = NetworkMetadata(
            architecture=one_block,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            input_size=architecture.input_size,
            num_classes=1000,
            source={"file": name, "sha256": f"{seed:064x}"},
            class_names=class_names("imagenet"),
        )
        path = tmp_path / "cache" / f"{name}-{EMBEDDED[name].sha256[:16]}-v{CONVERTER_VERSION}.safetensors"
        save_converted(path, {key: value.astype(np.float32) for key, value in variables.items()}, metadata)
        keep(path)  # else it would count as somebody else's


@pytest.fixture
def elsewhere(small_networks, tmp_path, monkeypatch):
    """An empty folder in which a run lies as runs/demo."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    small = ["image.count=2", "image.size=16", "evaluate.verifiers=[]", "stages.0.size=16", "stages.0.steps=1"]
    none = ["stages.1.size=16", "stages.1.steps=0"]
    (folder / "runs").mkdir()
    run(read_config(find_config("demo"), small + none), folder / "runs" / "demo")
    return folder


@pytest.mark.parametrize("name", [n for n in NAMES if "```python" in (ROOT / n).read_text()])
def test_a_documents_python_runs(name, elsewhere):
    namespace = execute((ROOT / name).read_text(), name)
    assert namespace["jinv"].__name__ == "jinv"
    if name == "README.md":
        assert [path.name for path in sorted(elsewhere.glob("*.png"))] == ["daisy.png", "volcano.png"]
        assert namespace["result"].pictures.shape == (2, 32, 32, 3)
        assert "colorfulness" in namespace["result"].metrics[-1].terms
        assert namespace["gradient"].shape == namespace["pictures"].shape == (1, 32, 32, 3)
        assert (elsewhere / "runs/demo/evaluation.json").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_block_has_a_language_that_is_checked(name):
    text = (ROOT / name).read_text()
    assert text.count("```") == 2 * len(blocks(text)), "a fence is not closed, or is indented"
    assert {block.language for block in blocks(text)} <= {"python", "sh", "text"}


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
    ("text", "wrong", "error"),
    [
        ("```python\nimport jinv\njinv.nothing\n```\n", "jinv.nothing", AttributeError),
        ("text\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", "assert x == 2", AssertionError),
    ],
)
def test_a_block_that_breaks_is_told_with_its_line(text, wrong, error):
    with pytest.raises(error) as caught:
        execute(text, "made_up.md")
    lines = [frame.lineno for frame in traceback.extract_tb(caught.tb) if frame.filename == "made_up.md"]
    assert [text.splitlines()[line - 1] for line in lines] == [wrong]


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
