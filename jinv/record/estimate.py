"""A measured value with the ends of its interval, as files hold it and findings compare it."""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer


def _end(unknown: float) -> tuple[BeforeValidator, PlainSerializer]:
    """JSON has no infinity: an end that is unknown is null there."""
    return (
        BeforeValidator(lambda end: unknown if end is None else end),
        PlainSerializer(lambda end: end if math.isfinite(end) else None),
    )


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95 % interval; without one, as of a single picture, they are infinite.

    A share of images has its whole number of them in `count`, which its file states beside it.
    """

    value: float
    low: Annotated[float, *_end(-math.inf)] = -math.inf
    high: Annotated[float, *_end(math.inf)] = math.inf
    count: Annotated[int | None, Field(exclude=True)] = None

    @property
    def right(self) -> int:
        """How many of `count` images the share is, 0 for what is no share."""
        right = self.value * (self.count or 0)
        return round(right) if math.isfinite(right) else 0

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        if self.count is not None:
            return f"{self.right} of {self.count} ({100 * self.low:.0f} to {100 * self.high:.0f} %)"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"
