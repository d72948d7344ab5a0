"""What is applied to plain pixels after every update, before they are clipped: images outside are brought back inside.

A projection is written for a batch, `(image (N, H, W, C), *, hyperparameters) -> Image`, and stands outside the optimizer and its
gradient. The ones that jinv has are keys of their own, `clip` and a stage's `low_pass`; others come from plugins.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jinv.core.schedules import at_step
from jinv.core.signatures import positional, returned
from jinv.core.types import Image


class Projection(NamedTuple):
    """A projection with its hyperparameters bound; numbers may be schedules of the stage's step."""

    name: str
    function: Callable[..., Image]
    hyperparameters: Mapping[str, Any]


def is_projection(function: Callable[..., Any]) -> bool:
    """The signature is the registration: (image, *, hyperparameters) that returns an `Image`."""
    gives = returned(function)
    return positional(function) == ("image",) and (gives == Image or repr(gives) == repr(Image))


def project(projections: Sequence[Projection], image: Image, step: jax.Array | int) -> Image:
    """The image after every projection, in order."""
    for projection in projections:
        image = projection.function(image, **at_step(projection.hyperparameters, step)).astype(image.dtype)
    return image
