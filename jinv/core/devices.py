"""One batch over several devices: each holds a share of the images and a copy of everything else; in a sweep maybe
instead a share of the settings, which need nothing of one another.

Nothing in the step knows of it. jit splits the work where its arguments lie, so per-image work stays where its image is
and sums over the batch, batch statistics among them, run over all devices. Those may belong to several processes
(`jax.distributed`): each then has the whole array at hand and keeps its own devices' shares.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SETTINGS = "settings"
"""The name of the mesh axis over which a sweep's settings are split."""


def batch_sharding(devices: Sequence[jax.Device]) -> NamedSharding:
    """The first axis of an array split evenly over `devices`."""
    return NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"))


def settings_sharding(devices: Sequence[jax.Device]) -> NamedSharding:
    """A sweep's first axis, its settings, split evenly over `devices`."""
    return NamedSharding(Mesh(np.array(devices), (SETTINGS,)), PartitionSpec(SETTINGS))


def splits_settings(sharding: NamedSharding | None) -> bool:
    """Whether it is a sweep's settings that `sharding` splits, not its images."""
    return sharding is not None and sharding.mesh.axis_names == (SETTINGS,)


def place(tree: Any, sharding: NamedSharding | None, count: int, *, axis: int = 0) -> Any:
    """`tree` with every array of `count` entries along `axis` split over the devices, every other one on each of them.

    None leaves it. In a sweep the settings are the first axis, the images the second.
    """
    if sharding is None:
        return tree
    split = NamedSharding(sharding.mesh, PartitionSpec(*[None] * axis, *sharding.mesh.axis_names))

    def put(leaf: Any) -> Any:
        shape = np.shape(leaf)
        fits = len(shape) > axis and shape[axis] == count
        return _put(leaf, split) if fits else replicate(leaf, sharding)

    return jax.tree.map(put, tree)


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """`tree` on every device of `sharding`; None leaves it."""
    if sharding is None:
        return tree
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _put(leaf, everywhere), tree)


def whole(array: Any) -> np.ndarray:
    """All of an array, in this process. Where other processes hold shares of it they have to ask for it too."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    """A leaf where `sharding` has it."""
    if sharding.is_fully_addressable or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    # device_put of an array that each process has compares them all first, over the network.
    here = np.asarray(leaf)
    return jax.make_array_from_callback(here.shape, sharding, lambda index: here[index])
