"""What a conversion can be told besides the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinv.models.classifier import Clamp
from jinv.models.origins import Origin


@dataclass(frozen=True)
class ConversionOptions:
    """What the user knows better than the file, or wants otherwise.

    `mean` and `std` are in units where white is 1; `select` answers which of several sets of weights; `strip` is left out
    before every name; `clamp` is the robustness package's clipping of pixels to [0, 1], which checkpoints do not record;
    `labels` is a file of class names in the order of the outputs, which they do not record either. `unverified` takes a
    file that is called as a published one is and has another sha256. `training` names the pipeline that trained the
    network, for `jinv.judge.relations`; `origin` is what is known of the file by the name that it was fetched under.
    """

    architecture: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    num_classes: int | None = None
    labels: str | Path | None = None
    select: str | None = None
    strip: str | None = None
    clamp: Clamp = False
    ignore_extra: bool = False
    allow_float8: bool = False
    check_crc: bool = True
    unverified: bool = False
    training: str | None = None
    origin: Origin | None = None
