"""A benchmark takes minutes, or a rented card: what could only end in a traceback is refused before, in a line."""

from importlib import import_module

import pytest

WRITERS = [
    "devices", "formulations", "gpu", "growth", "long_run", "recognition", "startup", "step", "sweep_members", "vmapped", "whole_run",
]  # fmt: skip
NEEDED = {"recognition": ["imagenet", "--judge", "a.onnx"], "sweep_members": ["a.safetensors"]}


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
        ("long_run", "--images"), ("profile", "--steps"), ("recognition", "--every"), ("step", "--rounds"), ("sweep", "--rounds"),
        ("sweep_members", "--settings"), ("vmapped", "--runs"), ("whole_run", "--count"),
    ],
)  # fmt: skip
def test_an_amount_of_nothing_is_refused(name, option, capsys):
    assert f"{option} 0: above 0" in refused(name, [option, "0"], capsys).replace("0.0", "0")
