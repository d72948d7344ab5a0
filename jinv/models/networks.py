"""The networks that a run inverts: one, or the members of a committee."""

import functools
from dataclasses import dataclass, replace
from typing import Any

from jax import Array

from jinv.core.choices import MemberDraw
from jinv.core.types import Forward, ForwardFunction, Image, Labels
from jinv.errors import ModelMismatchError, UsageError
from jinv.models.classifier import Classifier


@dataclass(frozen=True)
class Networks:
    """Networks of the same classes. Images are in the first one's units and restated for the others.

    `shares` say how much each counts, and sum to one; `draw` whether a step asks all of them, see `core.committee`. All
    but the first may lack a head: they are asked for their statistics.

    Raises:
      ModelMismatchError: two networks' class names differ, or the first has none.
      UsageError: one is to be drawn by lot, and some have no head.
    """

    members: tuple[Classifier, ...]
    shares: tuple[float, ...] = (1.0,)
    draw: MemberDraw = "all"

    def __post_init__(self) -> None:
        if not self.first.class_names:
            raise ModelMismatchError.of(
                "model",
                f"{self.first.architecture} has no head, hence no classes; "
                "it can only follow a classifier, model = [CLASSIFIER, IT], and is asked for its statistics",
            )
        for other in self.members[1:]:
            if other.class_names:
                self.first.check_classes(other, "model")
            elif self.draw == "one":
                raise UsageError.of(
                    "committee.draw", f"'one' asks one network of everything; {other.architecture} has no head"
                )

    @property
    def first(self) -> Classifier:
        """The network in whose units images are, and whose class names are everyone's."""
        return self.members[0]

    @property
    def name(self) -> str:
        """The architectures, in words."""
        return " + ".join(member.architecture for member in self.members)

    @property
    def variables(self) -> Any:
        """A network's own, a committee's as a tuple: what its forwards take."""
        return self.first.variables if len(self.members) == 1 else tuple(m.variables for m in self.members)

    @property
    def can_remat(self) -> bool:
        """Whether every member is built of blocks that can be computed again."""
        return all(member.can_remat for member in self.members)

    @property
    def forwards(self) -> tuple[ForwardFunction, ...]:
        """Each member's forward, of images in the first one's units."""
        others = (functools.partial(_restated, self.first, member) for member in self.members[1:])
        return self.first.forward, *others

    def with_members(self, members: tuple[Classifier, ...]) -> "Networks":
        """The same committee of the same networks, each computed another way."""
        return replace(self, members=members)


def _restated(first: Classifier, member: Classifier, variables: Any, image: Image, labels: Labels) -> Forward:
    own: Array = first.restated(image, member)
    return member.forward(variables, own, labels)._replace(image=image)
