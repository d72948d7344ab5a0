"""What the benchmark of long runs reads of a run is there."""

from benchmarks.long_run import measured_run
from tests.small_runs import save_tiny


def test_a_runs_memory_and_its_units_seconds_are_read(tmp_path):
    save_tiny(tmp_path / "net.safetensors", 0)
    found = measured_run(tmp_path, 6, 2)
    assert found["images"] == 6 and len(found["unit_seconds"]) == 2 and min(found["unit_seconds"]) > 0
    assert found["peak_bytes"] > 100 << 20 and found["report_bytes"] > 1000
