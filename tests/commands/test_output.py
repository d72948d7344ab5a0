"""What happens to a command's output does not happen to its work."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jinv.cli import main
from tests.compiling import unoptimized_process
from tests.small_runs import CONFIG, save_tiny

ROOT = Path(__file__).resolve().parents[2]
JINV = f"{sys.executable} -m jinv.cli"


def shell(command, folder, **variables):
    environment = os.environ | unoptimized_process() | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def config(tmp_path):
    save_tiny(tmp_path / "tiny.safetensors", 1)
    save_tiny(tmp_path / "other.safetensors", 2)
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path / "small.toml"


@pytest.mark.parametrize("how", [">&- 2>&-", "2>&1 | head -1", "> /dev/full 2>&1"])
def test_a_run_outlives_its_output(how, config, tmp_path):
    done = shell(f"{JINV} synthesize small.toml --out run {how}; echo ${{PIPESTATUS[0]}} >&2", tmp_path)
    run = tmp_path / "run"
    assert (run / "images.npy").is_file() and (run / "report.html").is_file() and (run / "evaluation.json").is_file()
    assert "Traceback" not in done.stdout + done.stderr and done.stderr.strip().endswith("0"), done.stderr


def test_what_an_encoding_lacks_is_shown_as_a_question_mark(tmp_path):
    done = shell(f"{JINV} terms", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "cross_entropy" in done.stdout and "Traceback" not in done.stderr


def test_every_command_ends_well_where_not_every_character_can_be_said(config, tmp_path):
    variables = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    labels = CONFIG.replace('"cat"', '"caf\u00e9 \u540d"')
    (tmp_path / "labels.toml").write_text(labels, encoding="utf-8")
    few = "--set stages.0.steps=1 stages.1.steps=0 image.labels=[3]"
    place = tmp_path / "caf\u00e9 \u540d"
    place.mkdir()
    commands = (
        f"synthesize '{tmp_path}/small.toml' --out run {few}", "evaluate run", "report run", "models",
        f"config '{tmp_path}/labels.toml'", "config --schema",
    )  # fmt: skip
    script = "; ".join(f"{JINV} {command}; echo =$? >&2" for command in commands)
    done = shell(script, place, **variables)
    codes = [line for line in done.stderr.splitlines() if line.startswith("=")]
    assert codes == ["=0"] * len(commands), done.stderr
    assert "Traceback" not in done.stderr and (place / "run" / "evaluation.json").is_file()
    assert '"caf\\u00e9 \\u540d"' in done.stdout


@pytest.mark.parametrize("columns", [{}, {"COLUMNS": "40"}])
def test_tables_in_a_pipe_are_whole(columns, tmp_path):
    from jinv.core.regularizers import total_variation
    from jinv.models.registry import ARCHITECTURES

    done = shell(f"{JINV} terms | cat; {JINV} models | cat", tmp_path, **columns)
    assert "\u2026" not in done.stdout and total_variation.__doc__.splitlines()[0] in done.stdout
    assert {line.partition(" ")[0] for line in done.stdout.splitlines()} > ARCHITECTURES.keys()


@pytest.mark.parametrize("platform", ["cuda", "tpu", "nonsense"])
def test_a_device_that_is_not_there_is_named_in_one_line(platform, config, tmp_path):
    done = shell(f"{JINV} synthesize small.toml --out run", tmp_path, JAX_PLATFORMS=platform)
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    lines = [line for line in done.stderr.splitlines() if line.startswith("jinv: error")]
    assert len(lines) == 1 and f"JAX_PLATFORMS={platform}: no such device here" in lines[0]
    assert "Traceback" not in done.stderr


def start(config, array, name="start.npy"):
    np.save(config.parent / name, array)
    return ["synthesize", str(config), "--out", str(config.parent / "run"), "--replace", "--set",
            f"image.init={config.parent / name}", "stages.0.steps=0", "stages.1.steps=0"]  # fmt: skip


def test_start_images_of_bytes_are_pixels(config, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    assert main(start(config, pixels)) == 0, capsys.readouterr().err
    from jinv.record.run import open_run

    assert (open_run(config.parent / "run").pictures == pixels).all()


@pytest.mark.parametrize("array", [np.full((3, 16, 16, 3), 200.0), np.full((3, 16, 16, 3), 200)])
def test_start_images_in_no_known_units_are_refused(array, config, capsys):
    assert main(start(config, array)) == 2
    message = capsys.readouterr().err
    assert "image.init" in message and "uint8" in message and not (config.parent / "run").exists()


def test_start_images_from_zero_to_one_are_doubted(config):
    with pytest.warns(UserWarning, match="taken as network units, in which black is"):
        assert main(start(config, np.linspace(0, 1, 3 * 16 * 16 * 3).reshape(3, 16, 16, 3))) == 0
