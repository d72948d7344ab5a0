"""One batch over several devices: each holds a share of the images and a copy of everything else.

Nothing in the step knows of it. jit splits the work where its arguments lie, so per-image work stays where its image is
and sums over the batch, batch statistics among them, run over all devices.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def batch_sharding(devices: Sequence[jax.Device]) -> NamedSharding:
    """The first axis of an array split evenly over `devices`."""
    return NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"))


def place(tree: Any, sharding: NamedSharding | None, count: int, *, axis: int = 0) -> Any:
    """`tree` with every array of `count` entries along `axis` split over the devices, every other one on each of them.

    None leaves it. In a sweep the images are the second axis.
    """
    if sharding is None:
        return tree
    split = NamedSharding(sharding.mesh, PartitionSpec(*[None] * axis, "batch"))

    def put(leaf: Any) -> Any:
        shape = np.shape(leaf)
        fits = len(shape) > axis and shape[axis] == count
        return jax.device_put(leaf, split) if fits else replicate(leaf, sharding)

    return jax.tree.map(put, tree)


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """`tree` on every device of `sharding`; None leaves it."""
    return tree if sharding is None else jax.device_put(tree, NamedSharding(sharding.mesh, PartitionSpec()))
