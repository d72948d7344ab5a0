"""The networks of `jinv.models` as torch modules: what validation, benchmarks and tests compare with.

One file per family, named as in `jinv/models/`; the keys of a module's state dict are exactly those of the published
files. Written beside the Flax definitions, not derived from them, so that an error in one shows as a difference.
"""

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING

import flax.linen as flax_nn

from jinv.models.registry import get_architecture

if TYPE_CHECKING:
    from torch import nn


def make_reference(name: str, num_classes: int | None = None) -> "nn.Module":
    """The torch module of a registered architecture, in eval mode, with torch's own random weights."""
    architecture = get_architecture(name)
    return reference_for(architecture.make(num_classes or architecture.num_classes))


def reference_for(module: flax_nn.Module) -> "nn.Module":
    """The torch module with the same configuration as a Flax one: same class name, same fields (widths included)."""
    family = import_module(f"convert.reference.{type(module).__module__.rpartition('.')[2]}")
    # `remat` is how a gradient is computed, not what the network is.
    others = ("parent", "name", "remat")
    config = {field.name: getattr(module, field.name) for field in fields(module) if field.name not in others}
    return getattr(family, type(module).__name__)(**config).eval()
