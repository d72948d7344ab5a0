"""Page faults, which are repeatable, instead of seconds."""

import subprocess
import sys

import pytest

from benchmarks.machine import huge_pages
from jinv.runs import allocator
from jinv.runs.allocator import huge_heap_bytes

PROGRAM = """
import ctypes, resource, sys
from jinv.runs.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
# Not through NumPy, which asks for huge pages by itself.
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
faults, size = [], int(sys.argv[2])
for _ in range(4):
    buffer = libc.malloc(size)
    libc.memset(buffer, 1, size)
    libc.free(buffer)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-2])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc's allocator has these settings")
def test_freed_memory_is_kept_for_the_next_buffer():
    def faults(how: str, size: int) -> int:
        command = [sys.executable, "-c", PROGRAM, how, str(size)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep", 50_000_000) < 10
    # Beyond what a C int can hold, as one buffer of a large batch is.
    assert faults("keep", 2_300_000_000) < 10
    assert faults("leave", 50_000_000) > 1000


HUGE_PROGRAM = """
import ctypes, re, resource, sys
from pathlib import Path
from jinv.runs.allocator import keep_freed_memory

if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
for _ in range(2):
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.memset(libc.malloc(64_000_000), 1, 64_000_000)
rollup, status = Path("/proc/self/smaps_rollup").read_text(), Path("/proc/self/status").read_text()
huge, = re.findall(r"AnonHugePages: +(\\d+)", rollup)
addresses, = re.findall(r"VmSize:\\s+(\\d+)", status)
resident, = re.findall(r"VmRSS:\\s+(\\d+)", status)
print(huge, addresses, resident)
"""


def _pages(how: str) -> tuple[float, float, float]:
    """A process of 64 MB: megabytes in huge pages, of addresses and in memory."""
    done = subprocess.run([sys.executable, "-c", HUGE_PROGRAM, how], check=True, capture_output=True, text=True)
    huge, addresses, resident = (float(number) / 1000 for number in done.stdout.split())
    return huge, addresses, resident


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not allocator._may_name_addresses(),
    reason="here addresses are limited, counted or written, huge pages are huger, or the allocator is another",
)
def test_the_heap_is_in_huge_pages_and_takes_no_more_memory():
    huge, addresses, resident = _pages("free")
    limited_huge, limited_addresses, limited_resident = _pages("limited")
    if huge_pages() in ("madvise", "always"):
        assert huge > 55
    if huge_pages() == "madvise":
        assert limited_huge < 55
    asked = huge_heap_bytes() / 1e6
    assert abs(addresses - limited_addresses - asked) < 64 + 0.05 * asked  # once, though asked twice
    assert abs(resident - limited_resident) < 20


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()


def test_where_what_is_allocated_is_written_no_addresses_are_named(monkeypatch):
    monkeypatch.setenv("MALLOC_PERTURB_", "85")
    assert not allocator._may_name_addresses()


def test_another_allocator_is_not_asked_for_addresses(monkeypatch):
    texts = {"/proc/self/maps": "7f00-7f01 r-xp /usr/lib/libjemalloc.so.2", "/proc/sys/vm/overcommit_memory": "0"}
    monkeypatch.setattr(allocator.Path, "read_text", lambda path: texts.get(str(path), "2097152"))
    assert not allocator._may_name_addresses()
    texts["/proc/self/maps"] = "7f00-7f01 r-xp /usr/lib/libc.so.6"
    assert allocator._may_name_addresses()
    texts["/proc/sys/vm/overcommit_memory"] = "2"
    assert not allocator._may_name_addresses()
