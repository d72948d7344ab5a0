"""The documents, and what is code in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tools import structure

ROOT = Path(structure.__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")


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


def lines(text):
    """The lines of a shell block, continued ones as one, without those that are comments alone."""
    joined = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in joined if shlex.split(line, comments=True)]


def commands(text):
    """The commands of a shell block as lists of words; where their output goes is left out."""
    for line in lines(text):
        words = shlex.split(line, comments=True)
        while words:
            end = words.index(";") if ";" in words else len(words)
            command = words[:end]
            yield command[: command.index(">")] if ">" in command else command
            words = words[end + 1 :]


def header(config):
    """The first command in a packaged config's header."""
    found = (line[2:] for line in config.read_text().splitlines() if line.startswith(("# jinv ", "# mkdir ")))
    return next(found)
