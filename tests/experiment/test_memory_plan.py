"""What a run needs, from the compiler; what cannot fit is refused before anything is written."""

import pytest

from jinv.cli import main
from jinv.errors import MemoryLimitError, UsageError
from jinv.experiment import memory
from jinv.experiment.bind import Measured
from jinv.experiment.experiment import bind_experiment
from jinv.experiment.inputs import Inputs
from jinv.experiment.memory import parse_bytes
from jinv.experiment.shared import Shared
from jinv.recipe.read import check_config
from jinv.recipe.recipe import replaced
from tests.compiling import without_optimization
from tests.networks import tiny_classifier
from tests.small_runs import CONFIG, save_tiny

RECIPE = check_config(
    {
        "model": "tiny",
        "image": {"size": 32, "labels": [1], "count": 8},
        "stages": [{"size": 16, "steps": 2}, {"size": 32, "steps": 2}],
        "terms": {"cross_entropy": {}, "feature_statistics": {}},
    }
)


@pytest.mark.parametrize(
    ("text", "expected"), [("8GB", 8 * 10**9), ("7.5 GiB", int(7.5 * 2**30)), ("500mb", 5 * 10**8), ("123", 123)]
)
def test_amounts_of_memory(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["much", "8 apples", "-1GB", "0GB", "1e3"])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(UsageError, match="8GB"):
        parse_bytes(text)


def experiment(recipe=RECIPE, blocks=0):
    inputs = Inputs(tiny_classifier(blocks=blocks), [1] * 8, (32, 32), None, Measured())
    return bind_experiment(recipe, inputs, shared=Shared({"tiny": inputs.classifier}))


def test_the_step_needs_less_in_chunks_and_more_for_more_images():
    def needed(batch, chunk=None):
        return memory.step_bytes(experiment().varied(chunk=chunk, remat=False), batch)

    whole, twice, chunks = needed(8), needed(16), needed(8, chunk=1)
    activations = 4 * 8 * 32 * 32 * 4  # the one norm layer's input: 4 channels of 8 images of 32 px in float32
    image = 4 * 8 * 32 * 32 * 3
    assert whole > activations + 3 * image and twice > 1.5 * whole
    assert 3 * image < chunks < 0.8 * whole


def test_the_command_prints_a_line_per_way_and_runs_nothing(tmp_path, capsys, monkeypatch):
    save_tiny(tmp_path / "tiny.safetensors", 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(
        CONFIG.replace("stages]]\nsize = 16", "stages]]\nsize = 8").replace("size = 16", "size = 8")
    )
    needs = iter((10_000, 20_000, 4_000, 8_000, 6_000, 12_000, 2_000, 4_000))
    monkeypatch.setattr(memory, "step_bytes", lambda *_: next(needs))
    monkeypatch.setattr(memory, "resident_bytes", lambda: 50_000)
    assert main(["synthesize", "--memory", "small.toml", "--set", "image.batch=2"]) == 0
    monkeypatch.setattr(memory, "step_bytes", lambda *_: 10_000)
    assert main(["synthesize", "small.toml", "--memory", "100 apples"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "resnet20, 2 images of 8x8 px" in lines[0] and "budget" in lines[1]
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "neither (as given)", "image.chunk = 1", "remat = true", "image.chunk = 1, remat = true"]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.toml", "tiny.safetensors"]


def test_the_largest_batch_is_what_the_budget_leaves(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1_000)
    # 600 bytes whatever the batch, 50 an image: of 8, and of 16 images.
    monkeypatch.setattr(memory, "step_bytes", lambda experiment, batch: 600 + 50 * batch)
    plans = list(memory.plans(experiment(), budget=3_100))
    assert [(plan.buffers, plan.per_image, plan.largest_batch) for plan in plans] == [(1_000, 50, 30)] * 4
    plans = list(memory.plans(experiment().varied(chunk=2, remat=True), 900))
    assert [plan.name for plan in plans][0] == "image.chunk = 2, remat = true (as given)"
    assert {plan.largest_batch for plan in plans} == {0}


def test_a_run_that_evidently_cannot_fit_is_refused_and_one_in_chunks_is_not(monkeypatch):
    one = experiment(blocks=1)
    # 19 norm inputs of 4, 8 and 16 channels at 32, 16 and 8 px would be ResNet-20's; the tiny one has 3 + 2 + 2 of them.
    inputs = 3 * 4 * 32**2 + 2 * 8 * 16**2 + 2 * 16 * 8**2
    available = memory.weight_bytes(one.classifier) + 8 * 4 * inputs - 1
    monkeypatch.setattr(memory, "available_bytes", lambda: available)
    with pytest.raises(MemoryLimitError, match=r"image.batch: 8 images of 32x32 px .*image.chunk = [1-4]"):
        memory.check_fits(one)
    memory.check_fits(one.varied(chunk=7, remat=False))
    memory.check_fits(one.varied(chunk=None, remat=True))
    memory.check_fits(experiment(replaced(RECIPE, terms={"cross_entropy": {"weight": 1.0}}), 1))
    monkeypatch.setattr(memory, "available_bytes", lambda: available + 1)
    memory.check_fits(one)


def test_a_student_is_planned_for_as_it_is_run(tmp_path, capsys, one_block):
    """The plan and the run bind the same experiment; without the student's variables the plan could not be traced."""
    save_tiny(tmp_path / "tiny.safetensors", 0, name=one_block)
    save_tiny(tmp_path / "student.safetensors", 1, name=one_block)
    competition = 'student = "student.safetensors"\n' + CONFIG + "\n[terms.competition]\n"
    (tmp_path / "small.toml").write_text(competition)
    with without_optimization():
        assert main(["synthesize", str(tmp_path / "small.toml"), "--memory", "--set", "image.batch=1"]) == 0
    assert "largest batch" in capsys.readouterr().out
