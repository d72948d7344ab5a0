"""`key.path=value`: what the command line changes in a config's table."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from jinv.errors import UsageError
from jinv.recipe import toml
from jinv.recipe.checking import shown
from jinv.recipe.paths import typed


def changed_by(options: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By key which option changed it: of words `key.path=value`, by option."""
    return {word.partition("=")[0].strip(): option for option, words in options.items() for word in words}


def split_override(override: str, flag: str = "--set", example: str = "image.count=4") -> tuple[str, str]:
    """(key.path, the value's text) of `key.path=value`."""
    path, separator, text = override.partition("=")
    path = path.strip()
    if not separator or not all(path.split(".")):
        raise UsageError(f"{flag} {override[:200]}: expected key.path=value, for example {flag} {example}")
    return path, text


def parse_override(override: str, flag: str = "--set", example: str = "image.count=4") -> tuple[str, Any]:
    """(key.path, value) of `key.path=value`; the value is read as TOML, or as a string where it is not TOML."""
    path, text = split_override(override, flag, example)
    try:
        table = toml.loads(f"value = {text}", f"{flag} {path}")
    except tomllib.TOMLDecodeError:
        text = text.strip()
        if text[:1] in ("[", "{"):  # no text begins so; a shell takes the quotes inside away
            what, such = ("list", '["a", "b"]') if text[0] == "[" else ("table", '{name = "a"}')
            raise UsageError(
                f"{flag} {path}: {shown(text)} is no {what} as TOML has them: texts inside need quotes, and the whole needs others "
                f"for the shell, such as {flag} '{path}={such}'"
            ) from None
        return path, text
    # Text with lines of its own may be TOML that says more than one value.
    return path, table["value"] if table.keys() == {"value"} else text.strip()


def set_value(table: dict[str, Any], path: str, value: Any, *, where: str) -> None:
    """Set `key.path` of a config's table, in place; the message of an impossible path begins with `where`.

    The texts in `value` are marked as typed, so that paths among them are where the user stands.
    """
    keys = path.split(".")
    if len(keys) > toml.MAXIMUM_DEPTH:
        raise UsageError(f"{where[:200]}: {len(keys)} keys in one another, more than {toml.MAXIMUM_DEPTH}")
    target: Any = table
    for position, key in enumerate(keys):
        name = ".".join(keys[:position])
        if isinstance(target, list):
            if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(target)):
                raise UsageError(f"{where}: {name} has entries 0 to {len(target) - 1}, not {key!r}")
        elif not isinstance(target, dict):
            raise UsageError(f"{where}: {name} is a value, not a table")
        place: Any = int(key) if isinstance(target, list) else key
        if position == len(keys) - 1:
            target[place] = typed(value)
        elif isinstance(target, list):
            target = target[place]
        else:
            target = target.setdefault(place, {})
