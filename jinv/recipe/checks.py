"""Checks of a config's values: each method returns the value, or notes a problem and returns the default."""

import difflib
import math
from collections.abc import Sequence
from typing import Any

Size = tuple[int, int]

MAXIMUM_SIZE = 4096


class Checker:
    """Collects every problem, so that one run shows them all."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def keys(self, table: dict[str, Any], known: Sequence[str], prefix: str) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f" (did you mean '{prefix}{close[0]}'?)" if close else f" (known: {', '.join(known)})"
                self.problem(f"unknown key '{prefix}{key}'{hint}")

    def table(self, parent: dict[str, Any], key: str, *, required: bool = False) -> dict[str, Any]:
        value = parent.get(key)
        if value is None:
            if required:
                self.problem(f"the table [{key}] is missing")
            return {}
        if not isinstance(value, dict):
            self.problem(f"{key}: {value!r} must be a table, [{key}]")
            return {}
        return value

    def entry(self, parent: dict[str, Any], key: str, prefix: str) -> dict[str, Any]:
        value = parent[key]
        if isinstance(value, dict):
            return dict(value)
        self.problem(f"{prefix}{key}: {value!r} must be a table, [{prefix}{key}]")
        return {}

    def tables(self, parent: dict[str, Any], key: str, prefix: str) -> list[tuple[dict[str, Any], str]]:
        """The tables of a list, [[key]], each with the prefix of its keys."""
        value = parent.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.problem(f"{prefix}{key}: must be a list of tables, [[{prefix}{key}]]")
            return []
        return [(entry, f"{prefix}{key}[{i}].") for i, entry in enumerate(value)]

    def integer(
        self, table: dict[str, Any], key: str, prefix: str, *, default: Any, low: int,
        high: int | None = None, required: bool = False,
    ) -> Any:  # fmt: skip
        if key not in table:
            if required:
                self.problem(f"{prefix}{key}: needed")
            return default
        value = table[key]
        span = f"from {low} to {high}" if high is not None else f"of at least {low}"
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            self.problem(f"{prefix}{key}: {value!r} must be a whole number {span}")
            return default
        return value

    def size(self, table: dict[str, Any], key: str, prefix: str, *, default: Size | None) -> Size | None:
        value = table.get(key)
        if value is None:
            return default
        pair = [value, value] if isinstance(value, int) else value
        good = isinstance(pair, list) and len(pair) == 2
        if not good or any(isinstance(v, bool) or not isinstance(v, int) or not 1 <= v <= MAXIMUM_SIZE for v in pair):
            self.problem(
                f"{prefix}{key}: {value!r} must be a number of pixels from 1 to {MAXIMUM_SIZE}, or [height, width]"
            )
            return default
        return pair[0], pair[1]

    def choice(self, table: dict[str, Any], key: str, prefix: str, choices: Sequence[str], default: Any) -> Any:
        value = table.get(key, default)
        if value not in choices:
            self.problem(f"{prefix}{key}: {value!r} must be one of {', '.join(map(repr, choices))}")
            return default
        return value

    def boolean(self, table: dict[str, Any], key: str, prefix: str, *, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            self.problem(f"{prefix}{key}: {value!r} must be true or false")
            return default
        return value

    def text(self, table: dict[str, Any], key: str, prefix: str, *, required: bool = False) -> Any:
        value = table.get(key)
        if value is None:
            if required:
                self.problem(f"{prefix}{key}: needed")
            return None
        if not isinstance(value, str) or not value:
            self.problem(f"{prefix}{key}: {value!r} must be a text")
            return None
        return value

    def texts(self, table: dict[str, Any], key: str, prefix: str) -> list[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self.problem(f"{prefix}{key}: {value!r} must be a list of texts")
            return []
        return value

    def bounds(self, table: dict[str, Any], key: str, default: tuple[float, float]) -> tuple[float, float]:
        value = table.get(key, list(default))
        good = isinstance(value, list) and len(value) == 2 and all(_finite(v) for v in value)
        if not good or value[0] >= value[1]:
            self.problem(f"{key}: {value!r} must be [low, high] with low < high")
            return default
        return float(value[0]), float(value[1])

    def number_or_schedule(self, table: dict[str, Any], key: str, prefix: str, *, default: float) -> None:
        value = table.setdefault(key, default)
        if isinstance(value, dict):
            if not isinstance(value.get("schedule"), str):
                self.problem(
                    f"{prefix}{key}: a schedule is a table with 'schedule', such as {{schedule = \"warmup_cosine\", peak = 0.2}}"
                )
            return
        if not _finite(value) or value < 0:
            self.problem(f"{prefix}{key}: {value!r} must be a finite number of at least 0, or a schedule's table")

    def name_or_table(self, table: dict[str, Any], key: str, prefix: str, default: str) -> Any:
        value = table.get(key, default)
        if isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("name"), str)):
            return value
        self.problem(f'{prefix}{key}: {value!r} must be a name, or a table such as {{name = "adam", b1 = 0.5}}')
        return default


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
