"""Geometry of line charts: values become percentages and SVG paths; the templates draw them.

The plotting area is stretched to whatever width there is, and texts are HTML placed by percentage, so a chart stays
readable on a telephone without any program running in the page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

EXTENT = 1000
"""Width and height of the SVG's own coordinates."""

MAXIMUM_POINTS = 500

SMALLEST, LARGEST = 1e-280, 1e280
"""What is drawn; beyond it sums and quotients are no numbers any more."""


@dataclass(frozen=True)
class Series:
    """One curve; `low` and `high` bound a band around it. `color` numbers the page's palette, None is the ink."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    color: int | None = 0


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis with a name: a stage."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Plot:
    """A chart on one scale of its y axis: tick texts at percentages from the top, and a path per series."""

    scale: str
    ticks: list[tuple[float, str]]
    paths: list[str]
    bands: list[str]


@dataclass(frozen=True)
class Chart:
    """All that a template needs to draw."""

    title: str
    caption: str
    series: list[dict[str, Any]]
    plots: list[Plot]
    x_ticks: list[tuple[float, str]]
    x_label: str
    spans: list[tuple[float, float, str]]
    data: dict[str, Any] = field(repr=False)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    caption: str = "",
    scales: Sequence[str] = ("linear",),
    spans: Sequence[Span] = (),
    x_label: str = "step",
    zero: bool = False,
) -> Chart | None:
    """A chart of `series`, None where not a single value is finite; `zero` makes a linear axis start there."""
    series = [_thinned(s) for s in series]
    xs = [x for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    if not xs:
        return None
    left = min([*xs, *(span.start for span in spans)])
    right = max([*xs, *(span.end for span in spans)])
    right = right if right > left else left + 1

    def across(x: float) -> float:
        return (x - left) / (right - left)

    plots = [plot for scale in scales if (plot := _plot(series, scale, across, zero))]
    shown = [
        {"name": s.name, "color": s.color, "last": format_number(_last(s.y)), "alone": len(s.x) == 1} for s in series
    ]
    data = {
        "left": left,
        "right": right,
        "label": x_label,
        "series": [{"name": s.name, "x": list(s.x), "y": [format_number(y) for y in s.y]} for s in series],
    }
    # Between steps, or epochs, there is nothing.
    whole = all(float(x).is_integer() for x in (left, right, *xs))
    shown_ticks = [t for t in nice_ticks(left, right, 6) if not whole or abs(t - round(t)) < 1e-9]
    ticks = [(100 * across(t), format_number(t)) for t in shown_ticks]
    placed = [(100 * across(s.start), 100 * (across(s.end) - across(s.start)), s.label) for s in spans]
    return Chart(title, caption, shown, plots, ticks, x_label, placed, data)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """At most about `count` round values within [low, high], in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def format_number(value: float) -> str:
    """Three significant digits, as a person would write them."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\N{THIN SPACE}")
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plot(series: Sequence[Series], scale: str, across: Any, zero: bool) -> Plot | None:
    values = [v for s in series for ys in (s.y, s.low or (), s.high or ()) for v in ys if _drawable(v, scale)]
    if not values:
        return None
    low, high = min(values), max(values)
    if scale == "log":
        low, high = math.log10(low), math.log10(high)
        if high - low < 0.3:
            low, high = low - 0.15, high + 0.15
    else:
        low = min(low, 0.0) if zero else low
        if high <= low:
            low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    margin = 0.04 * (high - low)
    bottom, top = (low if scale == "linear" and zero and low == 0 else low - margin), high + margin

    def down(y: float) -> float:
        return 1 - ((math.log10(y) if scale == "log" else y) - bottom) / (top - bottom)

    ticks = _log_ticks(bottom, top) if scale == "log" else nice_ticks(bottom, top, 6)
    return Plot(
        scale,
        [(100 * down(t), format_number(t)) for t in ticks],
        [_path(s.x, s.y, scale, across, down) for s in series],
        [_band(s, scale, across, down) for s in series],
    )


def _log_ticks(bottom: float, top: float) -> list[float]:
    """Powers of ten, with round values between them where those are few; within half a decade, evenly spaced ones."""
    powers = range(math.floor(bottom), math.ceil(top) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if bottom <= math.log10(f * 10.0**p) <= top]
        if len(ticks) >= 3:
            return ticks[:: math.ceil(len(ticks) / 7)]
    return [t for t in nice_ticks(10**bottom, 10**top, 6) if t > 0]


def _path(xs: Sequence[float], ys: Sequence[float], scale: str, across: Any, down: Any) -> str:
    """An SVG path, interrupted where a value cannot be drawn; a lone point becomes a dot (a line of length 0)."""
    parts: list[str] = []
    pen = False
    for position, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if not _drawable(y, scale):
            pen = False
            continue
        at = _point(across(x), down(y))
        parts.append(f"{'L' if pen else 'M'}{at}")
        following = ys[position + 1] if position + 1 < len(ys) else math.nan
        if not pen and not _drawable(following, scale):
            parts.append(f"L{at}")
        pen = True
    return "".join(parts)


def _band(series: Series, scale: str, across: Any, down: Any) -> str:
    if series.low is None or series.high is None:
        return ""
    rows = [
        (x, lo, hi)
        for x, lo, hi in zip(series.x, series.low, series.high, strict=True)
        if _drawable(lo, scale) and _drawable(hi, scale)
    ]
    if len(rows) < 2:
        return ""
    upper = [_point(across(x), down(hi)) for x, _, hi in rows]
    lower = [_point(across(x), down(lo)) for x, lo, _ in reversed(rows)]
    return "M" + "L".join([*upper, *lower]) + "Z"


def _point(across: float, down: float) -> str:
    return f"{EXTENT * across:.1f} {EXTENT * down:.1f}"


def _drawable(value: float, scale: str) -> bool:
    return abs(value) <= LARGEST and (value >= SMALLEST if scale == "log" else value == 0 or abs(value) >= SMALLEST)


def _thinned(series: Series) -> Series:
    """Every k-th point and the last: more than the screen has pixels only weighs the page down."""
    count = len(series.x)
    if count <= MAXIMUM_POINTS:
        return series
    stride = math.ceil(count / MAXIMUM_POINTS)
    chosen = sorted({*range(0, count, stride), count - 1})

    def pick(values: Sequence[float] | None) -> list[float] | None:
        return None if values is None else [values[i] for i in chosen]

    x, y = pick(series.x) or [], pick(series.y) or []
    return Series(series.name, x, y, pick(series.low), pick(series.high), series.color)


def _last(values: Sequence[float]) -> float:
    return next((v for v in reversed(values) if math.isfinite(v)), math.nan)
