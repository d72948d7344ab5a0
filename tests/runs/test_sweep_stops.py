"""A sweep that is stopped, again and again, ends with the bytes that it would have had: real processes, real signals."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_sweep_that_is_killed_or_asked_to_stop_ends_as_if_nobody_had(tmp_path):
    """Some stops at seeded moments, in processes of their own; `--count 100` in the module's own command."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.runs.kill_sweeps", "--count", "6", "--seed", "2"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 stops" in done.stdout and ", 0 sweeps differ" in done.stdout
