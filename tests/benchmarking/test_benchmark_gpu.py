"""The GPU benchmark, in small on a CPU: it runs from end to end and says what was not measured. Nothing is timed."""

import json

import pytest

from benchmarks import gpu
from benchmarks.problem import _weights


@pytest.fixture(autouse=True)
def _leave_the_allocator_alone(monkeypatch):
    monkeypatch.setattr(gpu, "keep_freed_memory", lambda: True)


SMALL = ["--model", "resnet20", "--batch", "2", "--stages", "8:2", "--log-every", "1", "--matmul-size", "64"]


def test_a_small_run_on_a_cpu_says_what_ran_where(tmp_path, capsys):
    gpu.main([*SMALL, "--on-cpu", "--json", str(tmp_path / "gpu.json")])
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert (result["device"], result["weights"]) == ("cpu", "random")
    assert result["precisions"]["tf32"].startswith("not measured: precision: 'tf32' needs")
    for precision in ("float32", "bf16"):
        entry = result["precisions"][precision]
        assert entry["finite"] and entry["accuracy"] == "random weights: no accuracy"
        assert entry["seconds"] >= entry["seconds_of_steps"] > 0 and entry["fraction_of_matmul_peak"] > 0
    both = [result["precisions"][p] for p in ("float32", "bf16")]
    assert both[0]["last_total"] != both[1]["last_total"] and both[0]["flops"] == both[1]["flops"]
    assert "random weights: no accuracy" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_measured_unless_asked_for(tmp_path, capsys):
    gpu.main(["--model", "resnet20", "--json", str(tmp_path / "gpu.json")])
    precisions = json.loads((tmp_path / "gpu.json").read_text())["precisions"]
    assert set(precisions.values()) == {"not measured: no GPU was available"}
    assert capsys.readouterr().out.count("not measured") == 3


def test_flops_are_those_that_torch_counts():
    for name, size in (("resnet20", 32), ("mobilenet_v2", 32)):
        assert gpu.forward_flops(gpu.random_classifier(name), size) == _weights(name, size)[2]


def test_contradictory_arguments_are_refused(capsys):
    for arguments in ([*SMALL, "--verifier", "efficientnet_lite1"], ["--stages", "8:99"]):
        with pytest.raises(SystemExit):
            gpu.main(arguments)
    assert "two times --log-every" in capsys.readouterr().err
