"""TOML from strangers: what Python's reader gives up on with an error of its own is said in words."""

import re
import sys
import tomllib
from typing import Any

from jinv.errors import UsageError
from jinv.recipe.checking import shown

MAXIMUM_DEPTH = 32
"""Tables and lists in one another; a config has four. Far below where copying or writing them would fail."""


def loads(text: str, where: str) -> dict[str, Any]:
    """The table that `text` is; the message of what cannot be read begins with `where`.

    Raises:
      UsageError: nested too deep, or a whole number too long to be one. TOMLDecodeError: not TOML.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise _too_deep(where, _key_at(text, _deepest(text))) from None
    except ValueError as error:
        digits = re.search(rf"\d[\d_]{{{sys.get_int_max_str_digits()},}}", text)
        if digits is None:
            raise UsageError(f"{where}: not valid TOML: {error}") from error
        raise UsageError(
            f"{where}: {_key_at(text, digits.start())}: a whole number of {len(digits[0])} digits is none of 64 bits, TOML's largest"
        ) from None
    _check_values(table, where)
    return table


def _check_values(table: dict[str, Any], where: str) -> None:
    found: list[tuple[str, Any, int]] = [("", table, 0)]
    while found:
        path, value, depth = found.pop()
        if depth > MAXIMUM_DEPTH:
            raise _too_deep(where, path)
        # The names of deeper ones would make a long message of little use.
        if isinstance(value, dict):
            named = [(f"{path}.{key}" if path else key, inner) for key, inner in value.items()]
        elif isinstance(value, list):
            named = [(f"{path}[{index}]", inner) for index, inner in enumerate(value)]
        else:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise UsageError(f"{where}: {path}: {shown(value)} is none of 64 bits, TOML's largest")
            continue
        found += [(name if depth < 6 else path, inner, depth + 1) for name, inner in named]


def _too_deep(where: str, key: str) -> UsageError:
    return UsageError(f"{where}: {key}: tables and lists are nested more than {MAXIMUM_DEPTH} deep")


def _deepest(text: str) -> int:
    """Where the brackets of a text that is nested too deep are first at their deepest."""
    depth = deepest = position = 0
    for index, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if depth > deepest:
            deepest, position = depth, index
    return position


def _key_at(text: str, position: int) -> str:
    """The key of the value at `position`, as far as lines tell; for a message, not for reading."""
    before = text[: text.find("\n", position) + 1 or None].splitlines()
    header, key = "", "?"
    for line in before:
        if match := re.match(r"\s*\[\[?\s*([\w\"'. -]+?)\s*\]\]?\s*(?:#.*)?$", line):
            header = f"{match[1]}."
        elif match := re.match(r"\s*([\w\"'. -]+?)\s*=", line):
            key = header + match[1]
    return key
