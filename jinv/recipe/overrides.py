"""`key.path=value`: what the command line changes in a config's table."""

import tomllib
from pathlib import Path
from typing import Any

from jinv.errors import UsageError

PATHS = ("model", "student", "image.init", "image.init_reference", "evaluate.verifiers", "evaluate.reference")


def parse_override(override: str, flag: str = "--set", example: str = "image.count=4") -> tuple[str, Any]:
    """(key.path, value) of `key.path=value`; the value is read as TOML, or as a string where it is not TOML."""
    path, separator, text = override.partition("=")
    if not separator or not all(path.strip().split(".")):
        raise UsageError(f"{flag} {override}: expected key.path=value, for example {flag} {example}")
    try:
        return path.strip(), tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), text.strip()


def _typed(value: Any) -> Any:
    """What is typed on the command line is where the user stands, where such a file is; else as in the config."""
    is_path = isinstance(value, str) and ("/" in value or "." in value) and Path(value).exists()
    return str(Path(value).resolve()) if is_path else value


def set_value(table: dict[str, Any], path: str, value: Any, *, where: str) -> None:
    """Set `key.path` of a config's table, in place; the message of an impossible path begins with `where`."""
    keys = path.split(".")
    if path in PATHS:
        value = [_typed(item) for item in value] if isinstance(value, list) else _typed(value)
    target: Any = table
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(target, list):
            if not key.isdigit() or int(key) >= len(target):
                raise UsageError(
                    f"{where}: {'.'.join(keys[:position])} has entries 0 to {len(target) - 1}, not {key!r}"
                )
        elif not isinstance(target, dict):
            raise UsageError(f"{where}: {'.'.join(keys[:position])} is a value, not a table")
        if last:
            target[int(key) if isinstance(target, list) else key] = value
        elif isinstance(target, list):
            target = target[int(key)]
        else:
            target = target.setdefault(key, {})
