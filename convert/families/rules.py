"""From torch names to Flax paths, exactly once: every tensor of the file has one place, and every place one tensor.

Needs only names and shapes, so that a mismatch is known before any weight is read.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate, islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jinv.errors import ModelMismatchError, UsageError, shorten
from jinv.models.architecture import Architecture
from jinv.models.ops import for_shapes
from jinv.models.registry import ARCHITECTURES, get_architecture
from jinv_convert.families.family import Family, Shapes
from jinv_convert.families.table import FAMILIES

COUNTER = ".num_batches_tracked"
LISTED, LISTED_CHARACTERS = 10, 700
# torch's layout to Flax's, by the rank of a kernel: OIHW -> HWIO (depthwise and grouped alike), (out, in) -> (in, out).
TRANSPOSES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}

# Numbers of classes of well-known last layers: what ImageNet's usual 1000 names must not be given to.
HEADS = {
    1001: "ImageNet behind a background class, as TensorFlow numbers it",
    10450: "ImageNet-21k-P",
    11221: "ImageNet-21k-P",
    11821: "ImageNet-12k",
    21841: "ImageNet-22k",
    21843: "ImageNet-21k",
}
# Networks that share key names with ours and are something else: what they are, keys that only they have, what is near.
FOREIGN = (
    (
        "an EfficientNet with squeeze-and-excitation as lukemelas' EfficientNet-PyTorch names it",
        ("_conv_stem.weight", "_blocks.0._se_reduce.weight"),
        "efficientnet_b0",
    ),
    (
        "a timm MobileNetV3",
        ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "conv_head.bias"),
        "mobilenet_v3_large",
    ),
    (
        "a timm EfficientNet",
        ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.weight"),
        "efficientnet_b0",
    ),
    (
        "a timm EfficientNet-Lite or MobileNetV2",
        ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pwl.weight"),
        "efficientnet_lite0",
    ),
    ("a timm RegNet", ("stem.conv.weight", "s1.b1.conv1.conv.weight"), "regnet_y_400mf"),
    ("a vision transformer", ("cls_token", "pos_embed"), "resnet50"),
)


class Target(NamedTuple):
    """Where a torch tensor goes: `params/conv1/kernel`, the axes of its transpose, and whether its inputs are BGR."""

    path: str
    transpose: tuple[int, ...]
    bgr: bool = False

    def laid_out(self, array: np.ndarray) -> np.ndarray:
        """A view of a torch tensor as Flax has it: the same values, transposed, of inputs red, green and blue."""
        return np.flip(array, 1).transpose(self.transpose) if self.bgr else array.transpose(self.transpose)


def family_of(architecture: Architecture) -> Family:
    """The rules of the architecture's family."""
    return FAMILIES[architecture.family]


@lru_cache(maxsize=64)
def expected_targets(architecture: Architecture, num_classes: int) -> Mapping[str, tuple[Target, tuple[int, ...]]]:
    """Published torch name -> (target, torch shape) of every leaf of the Flax module; nothing is computed.

    Tracing a deep network takes a second, and a validation asks four times: kept, and not to be changed.
    """
    module, size, family = architecture.make(num_classes), architecture.min_size, family_of(architecture)
    with for_shapes():
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    expected = {}
    for path, leaf in flatten_dict(variables, sep="/").items():
        transpose = TRANSPOSES[len(leaf.shape)]
        torch_shape = tuple(leaf.shape[transpose.index(axis)] for axis in range(len(transpose)))
        name = family.torch_name(path)
        expected[name] = (Target(path, transpose, name == family.bgr), torch_shape)
    return expected


def map_state_dict(
    architecture: str, shapes: Shapes, *, ignore_extra: bool = False, num_classes: int | None = None
) -> dict[str, Target]:
    """Torch name -> target for every tensor that the network takes.

    Missing, doubled and misshapen tensors are a `ModelMismatchError` that counts them all and names the first ten; so
    are extra ones unless `ignore_extra`. `num_batches_tracked` and what the family does not read are optional and never
    part of the result.
    """
    known = get_architecture(architecture)
    family = family_of(known)
    if num_classes is not None and num_classes < (0 if family.can_lack_head else 1):
        raise UsageError(f"num_classes {num_classes}: at least 1")
    expected = expected_targets(known, known.num_classes if num_classes is None else num_classes)
    targets: dict[str, Target] = {}
    first_spelling: dict[str, str] = {}
    problems, head_problems = [], 0
    for name, shape in shapes.items():
        published = family.published_name(name)
        if published in first_spelling:
            problems.append(f"{shorten(name)!r} and {shorten(first_spelling[published])!r} are the same tensor")
            continue
        first_spelling[published] = name
        if published not in expected:
            counts_batches = f"{published.removesuffix(COUNTER)}.running_mean" in expected
            unread = family.is_unread(published) or (published.endswith(COUNTER) and counts_batches)
            if not ignore_extra and not unread:
                problems.append(f"extra {shorten(name)!r}")
            continue
        target, torch_shape = expected[published]
        if tuple(shape) != torch_shape:
            problems.append(f"{shorten(name)!r} has shape {tuple(shape)}, expected {torch_shape}")
            head_problems += published.startswith(f"{family.head}.")
        targets[name] = target
    problems += [f"missing {name!r}" for name in expected if name not in first_spelling]
    if problems:
        hint = ""
        if head_problems == len(problems):
            classes = shapes.get(f"{family.head}.weight", (0,))[:1]
            hint = _other_classes(classes[0]) if classes and classes[0] > 0 else ""
        raise ModelMismatchError(f"not a {architecture}: {_first(problems)}{hint}")
    return targets


def _other_classes(number: int) -> str:
    what = f"{HEADS[number]}, which are numbered in an order of their own; " if number in HEADS else ""
    return f" (another number of classes: {what}--num-classes {number}, and --labels FILE names them)"


def detect_architecture(shapes: Shapes) -> str:
    """The one registered architecture that keys and shapes fit; `ModelMismatchError` says what was found otherwise.

    Of those that neither tells apart, the one that the others are alike.
    """
    for title, keys, near in FOREIGN:
        if all(key in shapes for key in keys):
            raise ModelMismatchError(f"this is {title}, which jinv does not have; nearest: {near}")
    found = {module: family for module, family in FAMILIES.items() if family.matches(shapes)}
    described = {
        module: family.describe({family.published_name(key): shape for key, shape in shapes.items()})
        for module, family in found.items()
    }
    candidates = {}
    for name, architecture in ARCHITECTURES.items():
        if architecture.family in found and architecture.alike is None:
            module = architecture.make(architecture.num_classes)
            attributes = described[architecture.family].items()
            candidates[name] = {key: value for key, value in attributes if getattr(module, key) != value}
    exact = [name for name, differences in candidates.items() if not differences]
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise ModelMismatchError(f"ambiguous: fits {', '.join(exact)}; choose with --architecture")
    if candidates:
        near = min(candidates, key=lambda name: len(candidates[name]))
        differences = ", ".join(f"{key} {shorten(str(value))}" for key, value in candidates[near].items())
        titles = " or ".join(family.title for family in found.values())
        raise ModelMismatchError(f"unknown network: {titles} with {differences}; nearest: {near}")
    raise ModelMismatchError(_unknown(shapes))


def alike(name: str) -> list[Architecture]:
    """Other networks with the very names and shapes of this one's."""
    return [
        architecture
        for architecture in ARCHITECTURES.values()
        if architecture.alike and architecture.alike.other == name
    ]


def is_known(shapes: Shapes) -> bool:
    """Whether names and shapes have what marks a family, or a network that is known by name and not to be had."""
    return any(all(key in shapes for key in keys) for _, keys, _ in FOREIGN) or any(
        family.matches(shapes) for family in FAMILIES.values()
    )


def _unknown(shapes: Shapes) -> str:
    if not shapes:
        return "unknown network: no tensors"
    missing = {
        family.title: [key for key in family.markers if key not in shapes]
        + [key for key in family.absent if key in shapes]
        for family in FAMILIES.values()
    }
    found = (
        f"unknown network: {len(shapes)} tensors ({', '.join(repr(shorten(name)) for name in islice(shapes, 3))}, ...)"
    )
    norms = "" if any(name.endswith(".running_mean") for name in shapes) else ", no BatchNorm statistics"
    near = min(missing, key=lambda title: len(missing[title]))
    family = next(family for family in FAMILIES.values() if family.title == near)
    if 2 * len(missing[near]) > len(family.markers):
        return f"{found}{norms}; none of the networks that jinv models lists has such names"
    lacking = missing[near][0]
    verb = "but has" if lacking in shapes else "but lacks"
    return f"{found}{norms}; nearest: {near}, {verb} {lacking!r}"


def _first(problems: Iterable[str]) -> str:
    problems = list(problems)
    # Names can be long and shapes of many dimensions: as many as fit into a message that is still read.
    lengths = accumulate(len(problem) + 2 for problem in problems[:LISTED])
    shown = max(1, sum(length <= LISTED_CHARACTERS for length in lengths))
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    return f"{len(problems)} problem{'s' * (len(problems) != 1)}: {'; '.join(problems[:shown])}{more}"
