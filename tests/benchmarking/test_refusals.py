"""A benchmark takes minutes, or a rented card: what could only end in a traceback is refused before, in a line."""

from importlib import import_module

import pytest

WRITERS = [
    "devices", "formulations", "gpu", "growth", "long_run", "recognition", "startup", "step", "sweep_members", "vmapped", "whole_run",
]  # fmt: skip
PLACES = ("--twins", "--stranger", "--sibling", "--reference", "--real", "--out")
NEEDED = {
    "recognition": ["imagenet", "--judge", "a.onnx"],
    "sweep_members": ["a.safetensors"],
    "robustness_curve": [word for option in PLACES for word in (option, "a")],
}


def refused(name, arguments, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main([*NEEDED.get(name, []), *arguments])
    *_, line = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith(f"python -m benchmarks.{name}: error: ")
    return line


@pytest.mark.parametrize("name", WRITERS)
def test_a_result_that_could_not_be_written_is_refused(name, capsys):
    assert "--json /nowhere/x.json: no folder /nowhere" in refused(name, ["--json", "/nowhere/x.json"], capsys)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("devices", "--devices"), ("formulations", "--rounds"), ("gpu", "--log-every"), ("gpu", "--batch"), ("growth", "--seconds"),
        ("long_run", "--rounds"), ("profile", "--steps"), ("recognition", "--every"), ("step", "--rounds"), ("sweep", "--rounds"),
        ("sweep_members", "--images"), ("vmapped", "--runs"), ("whole_run", "--count"),
    ],
)  # fmt: skip
def test_an_amount_of_nothing_is_refused(name, option, capsys):
    assert f"{option} 0: above 0" in refused(name, [option, "0"], capsys).replace("0.0", "0")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
@pytest.mark.parametrize("name", ["step", "growth", "sweep"])
def test_no_time_at_all_is_refused(name, seconds, capsys):
    assert f"--seconds {float(seconds)}: above 0" in refused(name, ["--seconds", seconds], capsys)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("devices", ["--steps", "1"], "--steps 1: 2 or more"),
        ("devices", ["--model", "resnet21"], "resnet21"),
        ("sweep_members", ["--settings", "1"], "--settings 1: 2 or more"),
        ("sweep_members", ["--settings", "0"], "--settings 0: 2 or more"),
        ("long_run", ["--images", "400"], "--images 400: 401 or more"),
        ("long_run", ["--images", "0"], "--images 0: 401 or more"),
        ("growth", ["--model", "resnet21"], "resnet21"),
        ("growth", ["--picture", "growth.pgn"], "--picture growth.pgn: FILE.png"),
        ("robustness_curve", ["--figure", "/nowhere/x.svg"], "--figure /nowhere/x.svg: no folder /nowhere"),
    ],
)
def test_what_would_end_after_minutes_is_refused_before(name, arguments, words, capsys):
    assert words in refused(name, arguments, capsys)


def test_a_folder_is_no_place_for_a_result(tmp_path, capsys):
    assert f"--json {tmp_path}: a folder" in refused("step", ["--json", str(tmp_path)], capsys)


@pytest.mark.parametrize("text", ["stages = 3", 'model = "x"\n[image]\nlabels = [0]\nbatch = 2\nbacth = 3', None])
def test_a_recipe_that_cannot_be_read_is_refused_before_the_others_run(text, tmp_path, monkeypatch, capsys):
    recognition = import_module("benchmarks.recognition")
    monkeypatch.setattr(recognition, "measure", lambda *_: pytest.fail("it was begun"))
    config = tmp_path / "a.toml"
    if text is not None:
        config.write_text(text)
    assert recognition.main([*NEEDED["recognition"], "--config", str(config)]) != 0
    assert "a.toml" in capsys.readouterr().err
