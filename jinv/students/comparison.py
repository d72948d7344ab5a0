"""Sources of images beside one another: what their students recognise, and how far that is from what real images' do."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from jinv.record.distillation import Source, Student
from jinv.record.estimate import Estimate


def compared(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Each source beside the first one of real images, as far as there is one."""
    real = next((source for source in sources if source.kind == "real"), None)
    if real is None:
        return sources
    return tuple(
        source
        if source is real
        else source.model_copy(update={"behind": difference(shares(source.students), shares(real.students))})
        for source in sources
    )


def shares(students: Sequence[Student]) -> np.ndarray:
    """The share that each student recognises."""
    return np.array([student.right / student.count for student in students])


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """The difference of two means with Welch's 95 % interval (Welch 1947); unknown ends where one has a single value."""
    value = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        return Estimate(value)
    parts = [x.var(ddof=1) / len(x) for x in (a, b)]
    if not sum(parts):
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    half = float(stdtrit(freedom, 0.975)) * sum(parts) ** 0.5
    return Estimate(value, value - half, value + half)
