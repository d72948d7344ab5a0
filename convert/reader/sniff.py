"""What kind of file this is, by its first bytes; what it is instead where it is no checkpoint."""

from __future__ import annotations

from typing import Literal

from jinv_convert.reader.source import Source

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip-compressed: decompress it first (gunzip)"),
    (b"BZh", "bzip2-compressed: decompress it first (bunzip2)"),
    (b"\xfd7zXZ", "xz-compressed: decompress it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed: decompress it first (unzstd)"),
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF", "an HDF5 file (Keras?), not a PyTorch checkpoint"),
    (b"\x93NUMPY", "a .npy array, not a PyTorch checkpoint"),
    (b"7z\xbc\xaf", "a 7z archive: extract the checkpoint first"),
    (b"Rar!", "a RAR archive: extract the checkpoint first"),
)
_TAR_MEMBERS = (b"storages", b"tensors", b"pickle", b"./storages", b"./tensors", b"./pickle")


def container_of(source: Source) -> Literal["zip", "legacy", "safetensors"]:
    """The container; raises `UnsafeInputError` that says what the file is instead."""
    if not source.size:
        raise source.refuse("the file is empty")
    head = source.read(0, min(source.size, 512))
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise source.refuse(what)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise source.refuse("an HTML or XML page, probably an error page of the download: fetch the file again")
    if head[257:262] == b"ustar":
        if head[:100].rstrip(b"\0") in _TAR_MEMBERS:
            raise source.refuse("torch's tar container (0.1.9 and earlier): re-save it with an old torch")
        raise source.refuse("a tar archive: extract the checkpoint first; if it is one of torch 0.1.9, re-save it")
    if head.startswith(b"\x80"):
        return "legacy"
    header = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{" and (header <= source.size or head[6:8] == b"\0\0"):
        return "safetensors"
    tail = source.read(max(0, source.size - 22), min(22, source.size))
    if tail.startswith(b"PK\x05\x06"):
        raise source.refuse("a zip archive with data in front of it")
    raise source.refuse("neither a PyTorch checkpoint (zip or legacy) nor safetensors")
