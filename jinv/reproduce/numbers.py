"""What was measured of a run, as plain values with 95 % intervals, and how two runs' figures compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jinv.record.estimate import Estimate

Order = Literal["above", "below", "overlap"]


@dataclass(frozen=True)
class Numbers:
    """What was measured of one run; None or empty where it was not.

    own, own_confidence: images that the inverted network itself recognises, and its geometric mean confidence, at the
    last step and in its own units. own_files: those it recognises from the 8-bit files, which cut off what no clipping
    kept within black and white. verifiers: by stranger to the inverted network, from the files, by sibling where no stranger
    judged. kernel_distance (in its features) and norm_distance: by any other network. Two runs compare in the eyes of the
    same network alone.
    class_confidence: mean confidence of the verifiers in the wanted class, by class. steps_to_confidence: steps until
    the inverted network's confidence (the geometric mean over images) first reached 0.9, None if it never did.
    """

    name: str
    size: int = 0
    own: Estimate | None = None
    own_confidence: float | None = None
    own_files: Estimate | None = None
    verifiers: Mapping[str, Estimate] = field(default_factory=dict)
    class_confidence: Mapping[str, float] = field(default_factory=dict)
    high_frequency: Estimate | None = None
    variation: Estimate | None = None
    frequency: Estimate | None = None
    kernel_distance: Mapping[str, Estimate] = field(default_factory=dict)
    norm_distance: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    steps_to_confidence: int | None = None


def order_of(a: Estimate, b: Estimate) -> Order:
    """Does a's 95 % interval lie above b's, below it, or do they overlap?"""
    return "above" if a.low > b.high else "below" if a.high < b.low else "overlap"


def agreed(orders: Sequence[Order]) -> Order:
    """What all of them say, "overlap" where they differ or there is none."""
    return orders[0] if orders and all(order == orders[0] for order in orders) else "overlap"


def compare(a: Numbers, b: Numbers) -> Order:
    """Do the verifiers recognise more of a's images than of b's? All of those that judged both have to agree."""
    return agreed([order_of(a.verifiers[name], b.verifiers[name]) for name in judged_both(a.verifiers, b.verifiers)])


def distances(a: Numbers, b: Numbers) -> tuple[Order, str]:
    """Is a farther from real images than b in the features of every network that judged both? And the sentence."""
    common = judged_both(a.kernel_distance, b.kernel_distance)
    order = agreed([order_of(a.kernel_distance[name], b.kernel_distance[name]) for name in common])
    pairs = (f"{a.kernel_distance[n]} against {b.kernel_distance[n]} in {n}'s features" for n in common)
    return order, f" Distance to real images (KID): {' and '.join(pairs)}." if common else ""


def judged_both(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The networks that both have a figure of."""
    return [name for name in a if name in b]
