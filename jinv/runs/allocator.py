"""How this process's memory allocator keeps and lays out memory: XLA:CPU asks for a step's buffers anew in every step."""

import ctypes
import functools
import mmap
import os
import re
import sys
from pathlib import Path

# glibc's <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1
LARGEST_HEAP = 16 << 30
"""Bytes of the heap that are laid out in huge pages, at most; on smaller machines a quarter of the memory."""
_HUGE_PAGE = 2 << 20
_STRICT_OVERCOMMIT = "2"
_OTHERS = re.compile("jemalloc|tcmalloc|mimalloc")


def keep_freed_memory() -> bool:
    """Keep freed memory for the next step instead of returning it to the system; True where that could be arranged.

    glibc maps every large buffer on its own and unmaps it when freed: 20,000 page faults per step of EfficientNet-Lite0
    at 112 px, a third of its time. One heap that never shrinks has none, whatever the buffers' size: the largest threshold
    that could be named instead, 2 GiB, is below one buffer of a large batch. The heap is also asked to be in huge pages: a
    step walks through a gigabyte, of which a processor remembers where only some megabytes are when they are in pages of
    4 KiB. For the whole process and for good: large buffers of zeros are then written when they are made. Without effect
    on systems other than Linux with glibc. Call it before threads start, in the main one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    kept = all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER), mallopt(_ARENA_MAX, 1)])
    if kept:
        _ask_for_huge_pages(huge_heap_bytes())
    return kept


def huge_heap_bytes() -> int:
    """How much of the heap is asked to be in huge pages."""
    return min(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 4, LARGEST_HEAP)


@functools.cache
def _ask_for_huge_pages(num_bytes: int) -> None:
    """Lay out the heap's next `num_bytes` in huge pages, where the system gives them to those who ask (`madvise`).

    No memory is taken: the addresses are named once, and freed for the heap to grow into.
    """
    if not _may_name_addresses():
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(num_bytes)
    if not start:
        return
    aligned = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    libc.madvise(aligned, start + num_bytes - aligned, mmap.MADV_HUGEPAGE)
    libc.free(start)


def _may_name_addresses() -> bool:
    """Whether a large range that is never touched costs nothing, and huge pages are small enough to be worth one each."""
    import resource

    limits = (resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return False
    # Then what is allocated is written.
    if "MALLOC_PERTURB_" in os.environ or "perturb" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        overcommit = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
        huge_page = int(Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())
        maps = Path("/proc/self/maps").read_text()
    except (OSError, ValueError):
        return False
    return overcommit != _STRICT_OVERCOMMIT and huge_page <= _HUGE_PAGE and not _OTHERS.search(maps)
