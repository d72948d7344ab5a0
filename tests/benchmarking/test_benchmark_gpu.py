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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*SMALL, "--verifier", "efficientnet_lite1"], "--verifier: random weights have no accuracy"),
        (["--stages", "8:99"], "two times --log-every"),
        (["--model", "resnet51"], "resnet51"),
        (["--model", "resnet50", "--stages", "8:100"], "--stages 8 px: resnet50 takes 32 px or more"),
        (["--checkpoint", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (["--checkpoint", "cifar10_resnet20", "--verifier", "/nowhere.safetensors"], "/nowhere.safetensors"),
    ],
)
def test_what_could_not_be_measured_is_refused_before_the_card_is_paid_for(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "synthesize", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(SystemExit) as ended:
        gpu.main([*arguments, "--on-cpu"])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_a_peak_is_told_where_it_is_the_precisions_own(monkeypatch):
    """A card knows the most that the process ever had of it."""
    peaks = iter([0, 5, 5, 5, 5, 9])
    monkeypatch.setattr(gpu, "_peak_bytes", lambda: next(peaks))
    monkeypatch.setattr(gpu, "synthesize", lambda *_: (None, {"seconds_of_steps": 1.0}))
    monkeypatch.setattr(gpu, "matmul_flops_per_second", lambda *_: 1.0)
    monkeypatch.setattr(gpu, "forward_flops", lambda *_: 1)
    recipe = gpu.make_recipe(2, [gpu.StageArgument(8, 2)], "float32", 1)

    def measured():
        return gpu.measure(None, recipe, verifier=None, random_weights=True, matmul_size=8)

    assert [measured().get("peak_bytes") for _ in range(3)] == [5, None, 9]
