"""From a path to a `Checkpoint`."""

from __future__ import annotations

import os
from typing import Any

from jinv_convert.reader.legacy_container import read_legacy
from jinv_convert.reader.safetensors_container import read_safetensors
from jinv_convert.reader.sniff import container_of
from jinv_convert.reader.source import Source
from jinv_convert.reader.tree import check_tree, slack_warnings
from jinv_convert.reader.types import Checkpoint, Container, Storage
from jinv_convert.reader.zip_container import read_zip


def read_checkpoint(path: str | os.PathLike[str], *, check_crc: bool = True) -> Checkpoint:
    """Reads what a checkpoint file holds; tensors stay on disk until their `numpy()`.

    `check_crc=False` only warns of zip members with a missing or wrong checksum. Raises `UnsafeInputError` (malformed,
    corrupted or dangerous), `ModelMismatchError` (a dtype that no array here has), `StorageError` (missing, no file).
    """
    source = Source(path)
    container: Container = container_of(source)
    opaque: dict[str, None] = {}
    warnings: list[str] = []
    metadata: dict[str, str] = {}
    storages: list[Storage] = []
    tree: Any
    if container == "zip":
        tree, storages, warnings = read_zip(source, opaque, check_crc=check_crc)
    elif container == "legacy":
        tree, storages, container = read_legacy(source, opaque)
    else:
        tree, metadata = read_safetensors(source)
    tensors = check_tree(source, tree)
    warnings += slack_warnings(tensors, storages)
    if opaque:
        more = f" and {len(opaque) - 20} more" if len(opaque) > 20 else ""
        warnings.append(f"kept as inert names, never imported or read: {', '.join(list(opaque)[:20])}{more}")
    return Checkpoint(source.path, source.sha256(), container, tree, tuple(opaque), tuple(warnings), metadata)
