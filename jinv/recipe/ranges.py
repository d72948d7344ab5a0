"""`low:high` on the command line: the points of a sweep's range, or between what a search looks.

    jinv sweep   1e-5:1e-1:log8   eight points whose logarithms are evenly spaced, both ends among them
                 0:1:lin5, 0:1:5  five evenly spaced points
    jinv search  0.01:0.2         anything between; whole numbers where both ends are written as such
                 1e-5:1e-1:log    likewise, drawn by its logarithm

A text is a range, and no TOML, where it has a colon outside quotes and brackets: TOML would take `10:20:30` for a time of day.
"""

import math
import re
from dataclasses import dataclass

from jinv.errors import UsageError

MAXIMUM_POINTS = 1000
_RANGE = re.compile(r"([^:]*):([^:]*)(?::([^:]*))?")
_SPACING = re.compile(r"(lin|log)?(\d{1,6})")
FEWEST_DIGITS, MOST_DIGITS = 3, 17


@dataclass(frozen=True)
class Interval:
    """Between what a search looks, both ends included; `logarithmic`: by the number's logarithm."""

    low: int | float
    high: int | float
    logarithmic: bool = False


def is_range(text: str) -> bool:
    """Whether a value of the command line is meant as a range."""
    return ":" in text and text.lstrip()[:1] not in tuple("[{\"'")


def points_of(text: str, where: str) -> list[int | float]:
    """The points of `low:high:COUNT`, `low:high:linCOUNT` or `low:high:logCOUNT`, from low to high.

    Whole numbers where both ends are written as such and every point is one. Points between the ends are rounded, so that
    they are what a setting's name says of them: by at most a hundredth of the way to the next one.

    Raises:
      UsageError: not such a range; the message begins with `where`.
    """
    low, high, rest = _parts(text, where, "low:high:log8, low:high:lin8 or low:high:8")
    spacing = _SPACING.fullmatch(rest or "")
    if spacing is None:
        said = f"{rest[:40]!r} must be" if rest else "how many points? Say"
        raise UsageError(f"{where}: {said} a number of points such as 8, lin8 or log8, as in 1e-5:1e-1:log8")
    logarithmic, count = spacing[1] == "log", int(spacing[2])
    if not 2 <= count <= MAXIMUM_POINTS:
        raise UsageError(f"{where}: {count} points; a range has from 2 to {MAXIMUM_POINTS}, its ends among them")
    _check_ends(low, high, logarithmic, where)
    exact = [_point(low, high, place / (count - 1), logarithmic) for place in range(count)]
    exact[0], exact[-1] = float(low), float(high)
    near = [round(x) if abs(x - round(x)) <= 1e-9 * abs(x) else None for x in exact]
    if isinstance(low, int) and isinstance(high, int) and None not in near:
        points: list[int | float] = [x for x in near if x is not None]
    else:
        points = [low, *_rounded(exact), high]
    if len(set(points)) < count:
        raise UsageError(f"{where}: {count} points between {low} and {high} are not {count} different numbers")
    return points


def interval_of(text: str, where: str) -> Interval:
    """What `low:high` or `low:high:log` says; raises as `points_of`."""
    low, high, rest = _parts(text, where, "low:high or low:high:log")
    if rest not in (None, "log", "lin"):
        raise UsageError(f"{where}: {rest[:40]!r} must be log or nothing, as in 1e-5:1e-1:log")
    _check_ends(low, high, rest == "log", where)
    if isinstance(low, int) and isinstance(high, int):
        return Interval(low, high, rest == "log")
    return Interval(float(low), float(high), rest == "log")


def _parts(text: str, where: str, form: str) -> tuple[int | float, int | float, str | None]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{where}: {text[:80]!r} must be {form}")
    low, high = (_number(part, where) for part in match.group(1, 2))
    return low, high, match[3] if match[3] is None else match[3].strip()


def _number(text: str, where: str) -> int | float:
    try:
        value = int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text) else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: {text[:40]!r} must be a finite number: a range is low:high")
    return value


def _check_ends(low: float, high: float, logarithmic: bool, where: str) -> None:
    if not low < high:
        raise UsageError(f"{where}: {low}:{high} must begin below its end")
    if logarithmic and low <= 0:
        raise UsageError(f"{where}: {low} must be above 0 where points are spaced by their logarithms")


def _point(low: float, high: float, part: float, logarithmic: bool) -> float:
    if logarithmic:
        return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
    return low + part * (high - low)


def _rounded(exact: list[float]) -> list[float]:
    """The points between the ends, in as few digits as say all of them well enough."""
    inner = exact[1:-1]
    allowed = [0.01 * min(x - before, after - x) for before, x, after in zip(exact, inner, exact[2:], strict=False)]
    for digits in range(FEWEST_DIGITS, MOST_DIGITS):
        found = [float(f"{x:.{digits - 1}e}") for x in inner]
        if all(abs(y - x) <= most for x, y, most in zip(inner, found, allowed, strict=True)):
            return found
    return inner
