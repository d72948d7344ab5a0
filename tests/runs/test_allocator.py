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
faults = []
for _ in range(4):
    buffer = libc.malloc(50_000_000)
    libc.memset(buffer, 1, 50_000_000)
    libc.free(buffer)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-2])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc's allocator has these settings")
def test_freed_memory_is_kept_for_the_next_buffer():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 10
    assert faults("leave") > 1000


def test_other_systems_are_left_alone(monkeypatch):
    from jinv.runs import allocator

    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
