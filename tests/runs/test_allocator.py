"""Page faults, which are repeatable, instead of seconds."""

import subprocess
import sys

import pytest

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


def test_other_systems_are_left_alone(monkeypatch):
    from jinv.runs import allocator

    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
