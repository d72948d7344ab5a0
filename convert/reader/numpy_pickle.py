"""A plain pickle of dicts and lists of numpy arrays, as Keras-like packages keep their weights; executes nothing of it.

An array is four names and its bytes: `_reconstruct(ndarray, (0,), b"b")`, then BUILD with (version, shape, dtype,
Fortran order, bytes). Here it becomes a `TensorRef` whose bytes are in memory, which limits such files to some ten
megabytes an array and to `limits.MAX_TOTAL_STRING_BYTES` in all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jinv_convert.reader import rebuild
from jinv_convert.reader.limits import MAX_RANK
from jinv_convert.reader.rebuild import Known, Malformed, NumpyDtype
from jinv_convert.reader.source import MemoryBlob
from jinv_convert.reader.types import DTYPES, Opaque, Storage, TensorRef


class NumpyArray(TensorRef):
    """An array on its way: empty until BUILD brings what is in it."""

    __slots__ = ("built",)

    def __init__(self) -> None:
        super().__init__((0,), "uint8", Storage("numpy", 0), strides=(1,))
        self.built = False

    def build(self, state: Any) -> None:
        """Takes numpy's state `(version, shape, dtype, Fortran order, bytes)`."""
        if self.built:
            raise Malformed("a numpy array that is built twice")
        if not isinstance(state, tuple) or len(state) != 5:
            raise Malformed("a numpy array with another state than numpy's")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, NumpyDtype):
            raise Malformed("a numpy array of something else than numbers")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > MAX_RANK:
            raise Malformed("a numpy array whose shape is no tuple of sizes")
        if type(fortran) is not bool or not isinstance(data, bytes):
            raise Malformed("a numpy array whose values are not bytes")
        name = np.dtype(dtype.code).name
        if len(data) != math.prod(shape) * DTYPES[name].itemsize:
            raise Malformed(f"a numpy array of {len(data)} bytes, which shape {shape} of {name} does not fill")
        self.built, self.shape, self.dtype = True, shape, name
        self.strides = tuple(math.prod(shape[:i] if fortran else shape[i + 1 :]) for i in range(len(shape)))
        blob = MemoryBlob(np.frombuffer(data, np.uint8))
        self.storage, self.window = Storage("numpy", len(data), dtype.order == ">", blob), (0, len(data))


def holds_arrays(tree: Any) -> bool:
    """Whether a tree is a dict with arrays in it, or with lists of them, as packages keep weights."""
    if not isinstance(tree, dict):
        return False
    return any(
        isinstance(part, NumpyArray)
        for value in tree.values()
        for part in (value if isinstance(value, list | tuple) else (value,))
    )


def _reconstruct(args: Any) -> NumpyArray:
    """(ndarray, (0,), b"b"): an array of which nothing is known yet"""
    kind, shape, code = rebuild.arguments(args, 3, 3)
    if not isinstance(kind, Opaque) or kind.name != "numpy.ndarray" or shape != (0,) or code not in (b"b", "b"):
        raise Malformed("a numpy array that is not begun as numpy begins one")
    return NumpyArray()


NAMES: dict[tuple[str, str], Opaque] = {
    ("numpy.core.multiarray", "_reconstruct"): Known("numpy.core.multiarray._reconstruct", _reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): Known("numpy._core.multiarray._reconstruct", _reconstruct),
    ("numpy", "ndarray"): Known("numpy.ndarray"),
}
"""What these names mean in such a file; in a torch checkpoint, where arrays are no weights, they stay inert."""
