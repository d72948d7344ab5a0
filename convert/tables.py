"""Where in a checkpoint's tree weights can lie: every table of named tensors in it, and which of them come first.

Training scripts bury the weights under a container key, in lists, beside optimizers, averages and metrics.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from jinv.errors import ModelMismatchError, shorten
from jinv_convert.reader import Checkpoint, Opaque, TensorRef, UnreadTensor

CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "last")
AVERAGED_CONTAINERS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model", "model_ema_state_dict")
OPTIMIZERS = ("optim", "sched", "scaler", "amp", "lr_")
"""What begins so holds tensors of the weights' shapes that are no weights."""
MAX_DEPTH = 4
MAX_VISITED = 10_000
MAX_LISTED = 32
"""Of a list, how many parts are looked into: weights in lists are few."""
SHOWN = 8
NAME = 40
"""Characters of a name in a message."""
UNREAD = -1


class Table(NamedTuple):
    """A mapping with tensors in it, and the keys that lead to it from the root of the file.

    `rank` is the most dimensions that one of its named tensors has, `UNREAD` where none of them is read.
    """

    keys: tuple[str, ...]
    entries: dict[Any, Any]
    rank: int

    @property
    def named(self) -> bool:
        """Whether it lies under a key that means weights."""
        return any(key in CONTAINERS + AVERAGED_CONTAINERS for key in self.keys)


class Tables(NamedTuple):
    """The tables that are meant, and those that lie beside them."""

    meant: list[Table]
    beside: list[Table]


def find_tables(checkpoint: Checkpoint) -> Tables:
    """Every table of weights: meant are those under known container keys, else the tree itself, else all.

    Raises:
      ModelMismatchError: there is none, which is said of what there is.
    """
    tree = checkpoint.tree
    if checkpoint.container == "numpy pickle":
        tree = _with_lists_named(tree)
    found = list(_search(tree))
    # A scalar is a metric; a vector alone may be one; a network has matrices. What is not read counts last.
    for least in (2, 1, 0, UNREAD):
        if tables := [table for table in found if table.rank >= least]:
            break
    else:
        raise ModelMismatchError(f"{checkpoint.path}: {_nothing(tree)}")
    named = [table for table in tables if table.named]
    root = [table for table in tables if not table.keys]
    meant = named or root or tables
    taken = {table.keys for table in meant}
    return Tables(meant, [table for table in found if table.keys not in taken])


def _search(tree: Any) -> Iterator[Table]:
    """Tables with a tensor in them, outermost first."""
    queue: deque[tuple[tuple[str, ...], Any]] = deque([((), tree)])
    for _ in range(MAX_VISITED):
        if not queue:
            return
        keys, value = queue.popleft()
        if isinstance(value, dict) and (rank := _rank(value)) >= UNREAD:
            yield Table(keys, value, rank)
        if len(keys) == MAX_DEPTH:
            continue
        for key, child in _children(value):
            if isinstance(child, dict | list | tuple) and not key.lower().startswith(OPTIMIZERS):
                queue.append(((*keys, key), child))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((key, child) for key, child in value.items() if isinstance(key, str))
    elif isinstance(value, list | tuple):
        yield from ((str(index), child) for index, child in enumerate(islice(value, MAX_LISTED)))


def _rank(entries: dict[Any, Any]) -> int:
    """The most dimensions that a named tensor of the table has, `UNREAD` where none is read, below it where there is none."""
    ranks = [
        len(value.shape) if isinstance(value, TensorRef) else UNREAD
        for key, value in entries.items()
        if isinstance(key, str) and isinstance(value, TensorRef | UnreadTensor)
    ]
    return max(ranks, default=UNREAD - 1)


def _nothing(tree: Any) -> str:
    if isinstance(tree, Opaque):
        return f"a pickled object ({shorten(tree.name, NAME)}) and no state dict; save model.state_dict() instead"
    objects = {key: value for key, value in _children(tree) if isinstance(value, Opaque)}
    for key in (*CONTAINERS, *AVERAGED_CONTAINERS, *objects):
        if key in objects:
            what = f"{shorten(key, NAME)!r} is a pickled object ({shorten(objects[key].name, NAME)})"
            return f"no state dict in it; {what}: save {key if key.isidentifier() else 'model'}.state_dict()"
    return f"no state dict in it, only {_describe(tree)}"


def _describe(tree: Any) -> str:
    if isinstance(tree, dict):
        return (
            "the keys " + ", ".join(repr(shorten(str(key), NAME)) for key in islice(tree, 10))
            if tree
            else "an empty dict"
        )
    if isinstance(tree, TensorRef):
        return f"a tensor of shape {tree.shape}, without a name"
    if isinstance(tree, list | tuple):
        return f"a list of {len(tree)} things, none of which is a table of named tensors"
    return "nothing" if tree is None else f"a value ({shorten(repr(tree), NAME)})"


def _with_lists_named(tree: dict[Any, Any]) -> dict[Any, Any]:
    """{"conv1": [kernel, bias]}, as Keras gives a layer's weights, by torch's names and in torch's layout.

    Keras' kernels are (height, width, in, out) and (in, out). Views: no value is touched.
    """
    result: dict[Any, Any] = {}
    for layer, value in tree.items():
        if isinstance(value, list | tuple) and 1 <= len(value) <= 2 and all(isinstance(v, TensorRef) for v in value):
            named = {f"{layer}.weight": _as_torch_has_it(value[0])}
            if len(value) == 2:
                named[f"{layer}.bias"] = value[1]
        else:
            named = {layer: value}
        if taken := named.keys() & result.keys():
            raise ModelMismatchError(f"the name {min(map(str, taken))!r} comes up twice")
        result |= named
    return result


def _as_torch_has_it(kernel: TensorRef) -> TensorRef:
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(kernel.shape))
    if axes is None:
        return kernel
    shape, strides = (tuple(values[axis] for axis in axes) for values in (kernel.shape, kernel.strides))
    return TensorRef(shape, kernel.dtype, kernel.storage, kernel.offset, strides, kernel.window, kernel.name)
