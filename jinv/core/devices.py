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


def place(tree: Any, sharding: NamedSharding | None, count: int) -> Any:
    """`tree` with every array of `count` rows split over the devices and every other one on each; None leaves it."""
    if sharding is None:
        return tree

    def put(leaf: Any) -> Any:
        shape = np.shape(leaf)
        return jax.device_put(leaf, sharding) if shape and shape[0] == count else replicate(leaf, sharding)

    return jax.tree.map(put, tree)


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """`tree` on every device of `sharding`; None leaves it."""
    return tree if sharding is None else jax.device_put(tree, NamedSharding(sharding.mesh, PartitionSpec()))
