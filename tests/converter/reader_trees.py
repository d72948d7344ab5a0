"""The tensors of a tree, of jinv's reader and of torch alike, as comparable bytes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jinv_convert.reader import Checkpoint, TensorRef

Contents = dict[str, tuple[tuple[int, ...], str, bytes]]


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a tree that is no container, with its keys joined by " / "."""
    if isinstance(tree, dict | list | tuple):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, f"{name} / {key}" if name else str(key))
    else:
        yield name, tree


def contents(checkpoint: Checkpoint) -> Contents:
    """Shape, dtype and bytes of every tensor that jinv read."""
    found: Contents = {}
    for name, value in leaves(checkpoint.tree):
        if isinstance(value, TensorRef):
            array = value.numpy()
            assert array.shape == value.shape and array.nbytes == value.nbytes
            assert array.flags["C_CONTIGUOUS"] and array.dtype.isnative
            found[name] = (array.shape, str(array.dtype), array.tobytes())
    return found


def torch_contents(tree: Any) -> Contents:
    """The same of what torch read."""
    import torch

    found: Contents = {}
    for name, value in leaves(tree):
        if isinstance(value, torch.Tensor):
            raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
            found[name] = (tuple(value.shape), str(value.dtype).removeprefix("torch."), raw.tobytes())
    return found


def plain(tree: Any, convert: Callable[[Any], np.ndarray]) -> Any:
    """A tree with every tensor replaced by its values."""
    if isinstance(tree, dict):
        return {key: plain(value, convert) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value, convert) for value in tree]
    return convert(tree).tolist() if hasattr(tree, "numpy") else tree
