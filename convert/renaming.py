"""A checkpoint's tensors under Flax's names: which network they are, of how many outputs, and what is left over."""

from dataclasses import dataclass

import numpy as np

from jinv.errors import ModelMismatchError
from jinv.models.architecture import Architecture
from jinv.models.registry import get_architecture
from jinv_convert.families.family import Shapes, axis
from jinv_convert.families.rules import COUNTER, detect_architecture, family_of, map_state_dict
from jinv_convert.options import ConversionOptions
from jinv_convert.reader import Checkpoint
from jinv_convert.state_dict import StateDict
from jinv_convert.tensor_checks import Findings, read_weights


@dataclass(frozen=True)
class Renamed:
    """The network's variables under Flax's names, and the file's tensors that are none of it."""

    architecture: Architecture
    num_classes: int
    variables: dict[str, np.ndarray]
    unread: list[str]
    ignored: list[str]
    findings: Findings


def rename(checkpoint: Checkpoint, state: StateDict, options: ConversionOptions) -> Renamed:
    """Recognise the network, unless it is stated, and give every tensor its place and its layout.

    Raises:
      ModelMismatchError: the tensors are not those of one known network, or no weights.
    """
    try:
        shapes = {name: ref.shape for name, ref in state.tensors.items()}
        known = get_architecture(options.architecture or detect_architecture(shapes))
        classes = _classes(known, shapes, options.num_classes)
        known = known.of_classes(classes)
        targets = map_state_dict(known.name, shapes, ignore_extra=options.ignore_extra, num_classes=classes)
        chosen = {name: state.tensors[name] for name in targets}
        weights, findings = read_weights(chosen, allow_float8=options.allow_float8)
    except ModelMismatchError as error:
        raise ModelMismatchError(f"{checkpoint.path}: {error}") from None
    variables = {
        target.path: np.ascontiguousarray(target.laid_out(weights.pop(name))) for name, target in targets.items()
    }
    family = family_of(known)
    left = [name for name in shapes if name not in targets and not name.endswith(COUNTER)]
    unread = [name for name in left if family.is_unread(family.published_name(name))]
    ignored = [name for name in left if name not in unread]
    return Renamed(known, classes, variables, unread, ignored, findings)


def _classes(known: Architecture, shapes: Shapes, asked: int | None) -> int:
    """The number of outputs: what was asked for, else what the file's last layer has, 0 of a network without one."""
    family = family_of(known)
    if asked is not None:
        return asked
    if family.lacks_head(shapes):
        return 0
    published = {family.published_name(name): shape for name, shape in shapes.items()}
    return axis(published, f"{family.head}.weight", 0) or known.num_classes
