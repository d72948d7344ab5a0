"""What the few known functions of a checkpoint mean, written anew: none of them is the function it is named after.

Each takes the tuple of arguments that the file gives and returns a plain value or a description of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jinv.errors import ModelMismatchError
from jinv_convert.reader.limits import MAX_KEY_CHARS, MAX_KEY_PARTS, MAX_RANK
from jinv_convert.reader.types import DTYPES, UNREAD_BYTES, Opaque, Storage, TensorRef, UnreadTensor

PLAIN_TENSORS = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
PARAMETERS = frozenset({"torch.nn.parameter.Parameter"})
SCALAR_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


class Malformed(Exception):
    """Something that can't be; the machine adds file and place."""


@dataclass(unsafe_hash=True, slots=True, repr=False)
class Known(Opaque):
    """A known name. As a value of the tree it is as inert as any other."""

    call: Callable[[Any], Any] | None = None


@dataclass(unsafe_hash=True, slots=True, repr=False)
class StorageType(Opaque):
    """A storage class; `dtype` is None for the untyped one."""

    dtype: str | None = None


@dataclass(unsafe_hash=True, slots=True, repr=False)
class NumpyDtype(Opaque):
    """A numpy dtype on its way to a scalar; BUILD brings its byte order."""

    code: str = ""
    order: str = field(default="<", compare=False)

    def build(self, state: Any) -> None:
        """Takes the order from numpy's state tuple `(version, order, ...)`."""
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|")):
            raise Malformed("a numpy dtype with another state than numpy's")
        self.order = "<" if state[1] == "|" else state[1]


@dataclass(eq=False, slots=True, repr=False)
class StorageView:
    """What a persistent id stands for: a window (start, length, in bytes) of a storage; `dtype` None: untyped."""

    storage: Storage
    dtype: str | None
    window: tuple[int, int]

    def __repr__(self) -> str:
        return f"<storage {self.storage.key!r}>"


def set_item(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Sets a key for the first time; raises for keys that are no plain values, or made to collide."""
    parts = _parts(key)
    for part in parts:
        # Tensors are compared by identity, as torch does: optimizers keep their state by parameter.
        if not (part is None or isinstance(part, (str, int, float, bytes, Opaque, TensorRef, StorageView))):
            raise Malformed(f"a dict key that is a {type(part).__name__}")
        if isinstance(part, (str, bytes)) and len(part) > MAX_KEY_CHARS:
            raise Malformed(f"a dict key of {len(part)} characters, the limit is {MAX_KEY_CHARS}")
        if isinstance(part, int) and not -(1 << 63) <= part < 1 << 64:
            # Python's hash of an int is a remainder: wide ones can be chosen so that all collide.
            raise Malformed("a dict key that is no 64-bit integer")
    if key in target and any(isinstance(part, Opaque) for part in parts):
        # Two paths, two dates: different to whoever wrote them, and their names are all that is known here.
        key = (key, Opaque(f"number {len(target)}"))
    # dill sets a function's __name__ twice; weights must be unambiguous.
    if key in target and any(isinstance(v, (TensorRef, StorageView, dict, list, tuple)) for v in (value, target[key])):
        raise Malformed(f"dict key {key!r:.120} set twice")
    target[key] = value


def _parts(key: Any) -> list[Any]:
    """What a key consists of, tuples in tuples too."""
    parts: list[Any] = []
    rest = [key]
    # Hashing a key goes through all of it, and down: an empty tuple in a tuple in a tuple is a part of each depth.
    for _ in range(MAX_KEY_PARTS):
        if not rest:
            return parts
        part = rest.pop()
        if isinstance(part, tuple):
            rest += part[: MAX_KEY_PARTS + 1]
        else:
            parts.append(part)
    raise Malformed(f"a dict key of more than {MAX_KEY_PARTS} parts")


def dtype_name(dtype: Any) -> str:
    """`float32` for `torch.float32`, `complex64`, which is not read, too; raises `ModelMismatchError` for unknown ones."""
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Opaque) else ""
    if name not in DTYPES and name not in UNREAD_BYTES:
        raise ModelMismatchError(f"dtype {name or 'unknown'} is none of {', '.join(DTYPES)}")
    return name


def arguments(args: Any, low: int, high: int) -> tuple[Any, ...]:
    """The arguments as a tuple of `low` to `high` values."""
    if not isinstance(args, tuple) or not low <= len(args) <= high:
        raise Malformed(f"a call with {len(args) if isinstance(args, tuple) else 'no'} arguments, not {low} to {high}")
    return args


def _ints(values: Any, what: str) -> tuple[int, ...]:
    # bool is an int to isinstance, and no size.
    if not isinstance(values, (tuple, list)) or any(type(value) is not int for value in values):
        raise Malformed(f"{what} is not a tuple of integers")
    return tuple(values)


def _tensor(view: Any, dtype: str | None, offset: Any, shape: Any, strides: Any) -> TensorRef | UnreadTensor:
    if not isinstance(view, StorageView):
        raise Malformed("a tensor on something that is no storage")
    if dtype is None:
        raise Malformed("a tensor without a dtype on an untyped storage")
    if type(offset) is not int:
        raise Malformed("a storage offset that is no integer")
    # Thousands of sizes would be copied for every tensor; the tree's check says of some too many whose they are.
    if any(isinstance(sizes, (tuple, list)) and len(sizes) > 16 * MAX_RANK for sizes in (shape, strides)):
        raise Malformed(f"a tensor of more than {MAX_RANK} dimensions")
    if dtype in UNREAD_BYTES:
        return UnreadTensor(f"a {dtype} tensor")
    shape, strides = _ints(shape, "a tensor's size"), _ints(strides, "a tensor's stride")
    return TensorRef(shape, dtype, view.storage, offset, strides, view.window)


def tensor_v1(args: Any) -> TensorRef | UnreadTensor:
    """(storage, offset, size, stride)"""
    view, offset, shape, strides = arguments(args, 4, 4)
    return _tensor(view, getattr(view, "dtype", None), offset, shape, strides)


def tensor_v2(args: Any) -> TensorRef | UnreadTensor:
    """(storage, offset, size, stride, requires_grad, hooks, metadata=None)"""
    args = arguments(args, 6, 7)
    _no_lazy_bits(args[6:])
    return tensor_v1(args[:4])


def tensor_v3(args: Any) -> TensorRef | UnreadTensor:
    """(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None), on an untyped storage"""
    args = arguments(args, 7, 8)
    _no_lazy_bits(args[7:])
    return _tensor(args[0], dtype_name(args[6]), *args[1:4])


def _no_lazy_bits(metadata: tuple[Any, ...]) -> None:
    if metadata and metadata[0]:
        raise Malformed("a tensor whose values are not its bytes (lazy conjugate or negative)")


def parameter(args: Any) -> TensorRef | UnreadTensor:
    """(tensor, requires_grad=True, hooks, state=None); torch 0.3 and before gave the tensor alone"""
    tensor = arguments(args, 1, 4)[0]
    if not isinstance(tensor, TensorRef | UnreadTensor):
        raise Malformed("a Parameter of something that is no tensor")
    return tensor


def check_parameter_state(state: Any) -> None:
    """What BUILD may give a tensor: torch 0.3's (requires_grad, volatile, hooks), which change no value."""
    if not isinstance(state, tuple) or len(state) > 4:
        raise Malformed("BUILD on a tensor with another state than torch 0.3's")
    for part in state:
        if not (part is None or part is True or part is False or (isinstance(part, dict) and not part)):
            raise Malformed("BUILD on a tensor with another state than torch 0.3's")


def tensor_from_type(args: Any) -> Any:
    """(rebuild function, class, its arguments, state): a tensor for torch's own classes, opaque for subclasses."""
    function, kind, inner, _ = arguments(args, 4, 4)
    if not isinstance(function, Known) or function.call is None or not isinstance(kind, Opaque):
        raise Malformed("a tensor of an unknown kind")
    return function.call(inner) if kind.name in PLAIN_TENSORS else Opaque(kind.name)


def unread_tensor(args: Any) -> UnreadTensor:
    """Kinds of tensors that are not read; refused where they are among the weights."""
    return UnreadTensor("a quantised, sparse, nested, meta or wrapped tensor")


def ordered_dict(args: Any) -> dict[Any, Any]:
    """() or, from Python 2, (list of pairs,)"""
    args = arguments(args, 0, 1)
    result: dict[Any, Any] = {}
    pairs = args[0] if args else ()
    if not isinstance(pairs, (list, tuple)):
        raise Malformed("an OrderedDict of something that is no list")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Malformed("an OrderedDict of something other than pairs")
        set_item(result, pair[0], pair[1])
    return result


def counter(args: Any) -> dict[Any, Any]:
    """() or (dict,)"""
    args = arguments(args, 0, 1)
    if args and not isinstance(args[0], dict):
        raise Malformed("a Counter of something that is no dict")
    return dict(args[0]) if args else {}


def default_dict(args: Any) -> dict[Any, Any]:
    """() or (factory,); the factory is never needed."""
    arguments(args, 0, 1)
    return {}


def size(args: Any) -> tuple[int, ...]:
    """(sizes,)"""
    return _ints(arguments(args, 1, 1)[0], "a torch.Size")


def device(args: Any) -> Opaque:
    """(type, index=None): where a tensor was does not matter"""
    arguments(args, 1, 2)
    return Known("torch.device")


def layout(args: Any) -> Opaque:
    """(name,): strided or sparse, of a tensor that is not here"""
    arguments(args, 1, 1)
    return Known("torch.layout")


def encode(args: Any) -> bytes:
    """(text, "latin1"): how protocol 2 writes bytes"""
    text, encoding = arguments(args, 2, 2)
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1") or any(c > "\xff" for c in text):
        raise Malformed("bytes that are no latin-1 text")
    return text.encode("latin-1")


def no_bytes(args: Any) -> bytes:
    """(): how protocol 2 writes empty bytes"""
    arguments(args, 0, 0)
    return b""


def numpy_dtype(args: Any) -> Opaque:
    """(code, align, copy)"""
    code = arguments(args, 1, 3)[0]
    return NumpyDtype("numpy.dtype", code) if isinstance(code, str) and code in SCALAR_CODES else Opaque("numpy.dtype")


def numpy_scalar(args: Any) -> Any:
    """(dtype, bytes): a Python number, as accuracies and epochs often are"""
    dtype, data = arguments(args, 2, 2)
    if not isinstance(dtype, NumpyDtype):
        return Opaque("numpy.scalar")
    if not isinstance(data, bytes) or len(data) != int(dtype.code[1:]):
        raise Malformed(f"a numpy {dtype.code} scalar of another number of bytes")
    return np.frombuffer(data, dtype.order + dtype.code)[0].item()
