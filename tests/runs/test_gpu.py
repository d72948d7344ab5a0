"""On a GPU, where there is one: a run has the same bits twice, each time in a process of its own that compiles anew."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import machine
from tests.small_runs import CONFIG, save_tiny


def images(folder, name, platforms):
    command = [sys.executable, "-m", "jinv.cli", "synthesize", "run.toml", "--out", name]
    settings = ["--set", "evaluate.verifiers=[]", "image.batch=3"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")} | platforms
    done = subprocess.run(command + settings, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return np.load(folder / name / "images.npy")


def same_twice(folder, platforms):
    save_tiny(folder / "tiny.safetensors", 0)
    (folder / "run.toml").write_text(CONFIG)
    np.testing.assert_array_equal(images(folder, "one", platforms), images(folder, "other", platforms))


@pytest.mark.skipif(not machine.gpus(), reason="no NVIDIA GPU is here")
def test_a_run_on_a_gpu_has_the_same_bits_twice(tmp_path):
    same_twice(tmp_path, {"JAX_PLATFORMS": "cuda"})


def test_the_test_above_runs_where_there_is_none(tmp_path):
    same_twice(tmp_path, {"JAX_PLATFORMS": "cpu"})
