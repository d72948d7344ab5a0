"""Checks of a finished tree: no cycles, bounded size and depth, every tensor inside its storage, and its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jinv.errors import shorten
from jinv_convert.reader import limits
from jinv_convert.reader.source import Source
from jinv_convert.reader.types import Storage, TensorRef


def check_tree(source: Source, tree: Any, containers_limit: int = limits.MAX_NODES) -> list[TensorRef]:
    """The tensors of a tree, each named by its keys and inside its bounds; raises `UnsafeInputError`."""
    tensors: dict[int, TensorRef] = {}
    written: dict[int, int] = {}  # nodes of a container written out in full: shared ones can multiply without end
    open_ids: set[int] = set()
    frames: list[tuple[Any, str, Iterator[tuple[str, Any]], int]] = []

    def enter(value: Any, name: str) -> None:
        if len(frames) >= limits.MAX_DEPTH:
            raise source.refuse(f"{shorten(name)}: nested deeper than {limits.MAX_DEPTH}")
        open_ids.add(id(value))
        frames.append((value, name, _children(value, name), 1))

    root_is_container = isinstance(tree, (dict, list, tuple))
    if not root_is_container:
        _leaf(source, tree, "the whole file", tensors)
        return list(tensors.values())
    enter(tree, "")
    while frames:
        value, name, children, nodes = frames.pop()
        for child_name, child in children:
            if not isinstance(child, (dict, list, tuple)):
                _leaf(source, child, child_name, tensors)
                nodes += 1
            elif id(child) in written:
                nodes += written[id(child)]
            elif id(child) in open_ids:
                raise source.refuse(f"{shorten(child_name)}: contains itself")
            else:
                frames.append((value, name, children, nodes))
                enter(child, child_name)
                break
            if nodes > containers_limit:
                raise source.refuse(f"{shorten(child_name)}: more than {containers_limit} values when written out")
        else:
            open_ids.discard(id(value))
            written[id(value)] = nodes
            if frames:
                parent = frames.pop()
                frames.append((*parent[:3], parent[3] + nodes))
    check_total(source, list(tensors.values()))
    return list(tensors.values())


def _children(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    prefix = f"{name} / " if name else ""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        yield f"{prefix}{key}", child


def _leaf(source: Source, value: Any, name: str, tensors: dict[int, TensorRef]) -> None:
    if isinstance(value, TensorRef) and id(value) not in tensors:
        value.name = name
        check_tensor(source, value)
        tensors[id(value)] = value


def check_tensor(source: Source, tensor: TensorRef) -> None:
    """Raises `UnsafeInputError` unless the tensor lies inside its storage and is of a bearable size."""
    if (wrong := _wrong(source, tensor)) is not None:
        raise source.refuse(f"tensor {shorten(tensor.name)!r}: {wrong}")


def _wrong(source: Source, tensor: TensorRef) -> str | None:
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    if len(shape) != len(strides):
        return f"{len(shape)} sizes and {len(strides)} strides"
    if len(shape) > limits.MAX_RANK:
        return f"{len(shape)} dimensions, the limit is {limits.MAX_RANK}"
    if min((offset, *shape, *strides)) < 0:
        return f"a negative number in size {shape}, stride {strides} or offset {offset}"
    # Counting empty dimensions as 1 bounds the shape of empty tensors too.
    itemsize = tensor.itemsize
    logical, limit = math.prod([n or 1 for n in shape]) * itemsize, limits.max_logical_bytes(source.size)
    if logical > limit:
        return f"size {shape} needs {logical} bytes, the limit for this file is {limit}"
    length, end = tensor.window[1], tensor.last + 1
    if max(offset, end) * itemsize > length:
        where = f"size {shape}, stride {strides}, offset {offset}"
        return f"{where} ends at element {end} of a storage of {length // itemsize}"
    return None


def check_total(source: Source, tensors: list[TensorRef]) -> None:
    """Raises `UnsafeInputError` where different tensors together exceed the limit; aliases count once."""
    total = sum({tensor.view: tensor.nbytes for tensor in tensors}.values())
    limit = limits.max_logical_bytes(source.size)
    if total > limit:
        raise source.refuse(f"{len(tensors)} tensors need {total} bytes, the limit for this file is {limit}")


def slack_warnings(tensors: list[TensorRef], storages: list[Storage]) -> list[str]:
    """Names up to five storages of which less than half is used: usually slices saved with all of their storage."""
    used: dict[int, int] = {}
    for tensor in tensors:
        used[id(tensor.storage)] = used.get(id(tensor.storage), 0) + tensor.nbytes
    slack = [s for s in storages if id(s) in used and s.size > 2 * used[id(s)]]
    return [f"storage {shorten(s.key)}: {s.size} bytes, of which tensors use {used[id(s)]}" for s in slack[:5]]
