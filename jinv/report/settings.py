"""Many settings of one experiment as values: what was varied, what came of it; and as lines across parallel axes.

Inselberg (1985), The plane with parallel coordinates: an axis per column, a line per setting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinv.report.charts import EXTENT, format_number

Value = float | int | str | bool | None
"""Of a setting in a column; None is not known."""

Kind = Literal["varied", "objective", "held out", "outcome"]

LOGARITHMIC_FROM = 50
"""An axis of positive numbers is logarithmic where the largest is so many times the smallest."""


@dataclass(frozen=True)
class Column:
    """better: which way a value is better, "" where nobody can say. share: its values are parts of 1. note: what has to be said."""

    name: str
    kind: Kind
    better: Literal["", "higher", "lower"] = ""
    share: bool = False
    note: str = ""

    def text(self, value: Value) -> str:
        """A value as the page and the terminal say it."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if self.share:
            return f"{100 * value:.3g} %"
        return str(value) if isinstance(value, int) else format_number(value)


@dataclass(frozen=True)
class SettingRow:
    """A setting with its value in every column; `run` is its directory, None where there are no images. `problem`: why not."""

    name: str
    run: Path | None
    values: tuple[Value, ...]
    problem: str = ""
    best: bool = False

    @property
    def number(self) -> str:
        """Its number, with which its directory's name begins."""
        return self.name.partition("_")[0]


@dataclass(frozen=True)
class SettingsTable:
    """All settings of a sweep or of a search, the best first. notices: what has to be known before the figures are believed."""

    title: str
    lead: str
    columns: tuple[Column, ...]
    rows: tuple[SettingRow, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """A column across which lines run: where it stands, in percent, and its ticks, in percent from the top."""

    column: int
    name: str
    kind: Kind
    at: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """A setting's line: the SVG path, its heights (percent from the top; None breaks it), and its rank, 1 the best, 0 the last."""

    row: int
    path: str
    heights: tuple[float | None, ...]
    rank: float


def parallel_axes(table: SettingsTable) -> tuple[list[Axis], list[Line]]:
    """Axes for all columns whose values differ, and every setting's line across them; none where fewer than two differ."""
    chosen = [c for c in range(len(table.columns)) if _differ([row.values[c] for row in table.rows])]
    if len(chosen) < 2:
        return [], []
    axes, scaled = [], []
    for place, c in enumerate(chosen):
        heights, ticks = _scaled(table.columns[c], [row.values[c] for row in table.rows])
        scaled.append(heights)
        axes.append(Axis(c, table.columns[c].name, table.columns[c].kind, 100 * place / (len(chosen) - 1), ticks))
    lines = []
    for index in range(len(table.rows)):
        mine = tuple(column[index] for column in scaled)
        rank = 1 - index / max(len(table.rows) - 1, 1)
        lines.append(Line(index, _path(mine, axes), mine, rank))
    return axes, lines


def _differ(values: Sequence[Value]) -> bool:
    return len({value for value in values if _drawn(value)}) > 1


def _drawn(value: Value) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _scaled(column: Column, values: Sequence[Value]) -> tuple[list[float | None], tuple[tuple[float, str], ...]]:
    """Each value's height in percent from the top, and the ticks."""
    known = [value for value in values if _drawn(value)]
    if any(isinstance(value, str | bool) for value in known):
        words = list(dict.fromkeys(column.text(value) for value in known))
        places = {word: 100 * (place + 0.5) / len(words) for place, word in enumerate(words)}
        shown = list(places.items())[:: math.ceil(len(places) / 12)]
        heights = [places[column.text(v)] if _drawn(v) else None for v in values]
        return heights, tuple((at, word) for word, at in shown)
    numbers = [float(value) for value in known]  # type: ignore[arg-type]
    low, high = min(numbers), max(numbers)
    logarithmic = low > 0 and high / low >= LOGARITHMIC_FROM

    def down(value: float) -> float:
        if logarithmic:
            return 100 * (1 - math.log(value / low) / math.log(high / low))
        return 100 * (1 - (value - low) / (high - low))

    distinct = sorted(set(numbers))
    if len(distinct) > 6:
        middle = [low * (high / low) ** (i / 4) if logarithmic else low + (high - low) * i / 4 for i in range(1, 4)]
        distinct = [low, *middle, high]
    heights = [down(float(v)) if _drawn(v) else None for v in values]  # type: ignore[arg-type]
    return heights, tuple((down(value), _tick(column, value, known)) for value in distinct)


def _tick(column: Column, value: float, known: Sequence[Value]) -> str:
    whole = all(isinstance(one, int) for one in known) and value == int(value)
    return column.text(int(value) if whole else value)


def _path(heights: Sequence[float | None], axes: Sequence[Axis]) -> str:
    """An SVG path, interrupted where a value is not known."""
    parts, pen = [], False
    for axis, height in zip(axes, heights, strict=True):
        if height is not None:
            parts.append(f"{'L' if pen else 'M'}{EXTENT * axis.at / 100:.1f} {EXTENT * height / 100:.1f}")
        pen = height is not None
    return "".join(parts)
