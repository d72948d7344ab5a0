"""How far each layer's batch statistics were off, over the steps, as heat maps: a small PNG and texts beside it.

A page carries at most `MOST_COLUMNS` by `MOST_ROWS` cells however many steps and layers there are: neighbours are averaged.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jinv.images.codec import png_bytes
from jinv.record.metrics import StatisticsDistance
from jinv.report.charts import format_number, nice_ticks

MOST_COLUMNS, MOST_ROWS, MOST_NAMES = 240, 160, 32
DECADES = 3
"""Shown at most: what is smaller has the colour of the smallest."""

RAMP = ((250, 244, 228), (244, 196, 118), (224, 118, 62), (160, 47, 70), (44, 18, 58))
"""From near to far off."""


@dataclass(frozen=True)
class HeatMap:
    """All that a template needs: the cells as a data URL, names at percentages from the top, steps at percentages from the
    left, the colours for CSS, and the values at their ends."""

    title: str
    source: str
    rows: int
    names: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    legend: list[str]
    ramp: str = ", ".join("#{:02x}{:02x}{:02x}".format(*color) for color in RAMP)


class LayerSums:
    """Sums over the batches at every logged step, per network (mean's and variance's distance, layers)."""

    def __init__(self) -> None:
        self.sums: dict[int, list[np.ndarray]] = {}
        self.counts: dict[int, int] = {}

    def add(self, step: int, statistics: Sequence[StatisticsDistance]) -> None:
        """Take what was logged of a batch into account; lines of another run's layers are passed over."""
        values = [np.array([network.mean, network.variance], np.float64) for network in statistics]
        if step in self.sums and [v.shape for v in values] == [v.shape for v in self.sums[step]]:
            for total, value in zip(self.sums[step], values, strict=True):
                total += value
            self.counts[step] += 1
        elif step not in self.sums:
            self.sums[step], self.counts[step] = values, 1

    def maps(self, names: Sequence[Sequence[str]] = (), networks: Sequence[str] = ()) -> list[HeatMap]:
        """Two maps per network; `names` of its layers, numbers where they are not known."""
        steps, found = sorted(self.sums), []
        for place in range(len(self.sums[steps[0]]) if steps else 0):
            rows = [self.sums[step][place] / self.counts[step] for step in steps if place < len(self.sums[step])]
            if len({row.shape for row in rows}) != 1 or not rows[0].size:
                continue
            cells = np.stack(rows, axis=-1)
            known = list(names[place]) if place < len(names) and len(names[place]) == cells.shape[1] else None
            of = f" of {networks[place]}" if len(self.sums[steps[0]]) > 1 and place < len(networks) else ""
            for part, what in enumerate(("Layer means", "Layer variances")):
                drawn = _heat_map(f"{what}{of}", cells[part], known, steps)
                found += [drawn] if drawn else []
        return found


def _heat_map(title: str, cells: np.ndarray, names: list[str] | None, steps: list[int]) -> HeatMap | None:
    """The map of (layers, steps) values; None where none is finite and above zero."""
    shown = cells[np.isfinite(cells) & (cells > 0)]
    if not shown.size:
        return None
    high = math.log10(shown.max())
    low = max(math.log10(shown.min()), high - DECADES)
    low = low if high - low > 1e-3 else high - 0.1
    binned = _averaged(_averaged(cells, MOST_ROWS).T, MOST_COLUMNS).T
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.nan_to_num(np.clip((np.log10(binned) - low) / (high - low), 0, 1), nan=1.0)
    anchors = np.linspace(0, 1, len(RAMP))
    pixels = np.stack([np.interp(level, anchors, [color[c] for color in RAMP]) for c in range(3)], axis=-1)
    data = png_bytes(np.rint(pixels).astype(np.uint8))
    labels = names or [f"layer {number}" for number in range(len(cells))]
    every = math.ceil(len(labels) / MOST_NAMES)
    # A column per logged step: a step's place is that of its column.
    ticks = [min(range(len(steps)), key=lambda i: abs(steps[i] - t)) for t in nice_ticks(steps[0], steps[-1] + 1, 5)]
    return HeatMap(
        title,
        "data:image/png;base64," + base64.b64encode(data).decode(),
        min(len(cells), MOST_ROWS),
        [(100 * (row + 0.5) / len(labels), labels[row]) for row in range(0, len(labels), every)],
        [(100 * (i + 0.5) / len(steps), f"{steps[i]}") for i in dict.fromkeys(ticks)],
        [format_number(10**low), format_number(10**high)],
    )


def _averaged(cells: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, each the mean of neighbours."""
    count = len(cells)
    if count <= most:
        return cells
    edges = np.linspace(0, count, most + 1).astype(int)
    return np.stack([cells[a:b].mean(axis=0) for a, b in zip(edges, edges[1:], strict=False)])
