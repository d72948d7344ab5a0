"""A sweep's settings over two (virtual) devices: the same numbers as on one, and said which axis was split."""

import os
import subprocess
import sys

import numpy as np

from jinv.record.directory import RunDirectory
from tests.compiling import UNOPTIMIZED
from tests.small_runs import CONFIG, save_tiny

PROGRAM = """
import sys, jax, jinv.record.unfinished as run
from jinv.cli import main
save = run.Work.save
def says(self, kept):
    save(self, kept)
    for leaf in (kept.leaves or ())[:1]:  # at a stage's end an image lies in their place
        print("on", len(leaf.sharding.device_set), leaf.sharding.shard_shape(leaf.shape)[:2], leaf.shape[:2])
run.Work.save = says
codes = [main([*sys.argv[2:4], *words.split()]) for words in sys.argv[4:]]
sys.exit(max(codes))
"""


def test_settings_over_two_devices_equal_those_on_one(tmp_path):
    """Four settings of three images: only the settings can be split. Three of four: only the images."""
    save_tiny(tmp_path / "tiny.safetensors", 1)
    short = CONFIG.replace("[[stages]]\nsize = 8\nsteps = 4\n", "").replace("batch = 2\n", "batch = 3\n")
    short = short.replace("[[stages]]", '[[stages]]\noptimizer = "sgd"\nlearning_rate = 1e-7').replace(
        '["other.safetensors"]', "[]"
    )
    (tmp_path / "small.toml").write_text(short)
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in UNOPTIMIZED.items())
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {flags}",
    }
    weights = "--vary terms.feature_statistics.weight=0.01:1:log4"
    four = "image.labels=[0,1,2,3] image.batch=4"
    runs = [
        f"{weights} --set checkpoint.every_steps=2 --out {tmp_path}/one",
        f"{weights} --set checkpoint.every_steps=2 devices=2 --out {tmp_path}/two",
        f"--vary seed=[0,1,2] --set checkpoint.every_steps=2 devices=2 {four} --out {tmp_path}/images",
    ]
    command = [sys.executable, "-c", PROGRAM, "", "sweep", str(tmp_path / "small.toml"), *runs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("on ")]
    expected = ["on 1 (4, 3) (4, 3)", "on 2 (2, 3) (4, 3)", "on 2 (3, 2) (3, 4)"]
    assert list(dict.fromkeys(told)) == expected, told
    assert "2 devices, which share the settings" in done.stderr and "2 devices, which share the images" in done.stderr
    for run in sorted(path for path in (tmp_path / "one").iterdir() if path.is_dir()):
        one, two = (np.load(folder / run.name / "images.npy") for folder in (tmp_path / "one", tmp_path / "two"))
        assert np.abs(one - two).max() < 1e-4 * np.abs(one).max()
        totals = [
            [line.total for line in RunDirectory(f / run.name).metrics()] for f in (tmp_path / "one", tmp_path / "two")
        ]
        np.testing.assert_allclose(*totals, rtol=1e-4)
    refused = [sys.executable, "-m", "jinv.cli", "sweep", str(tmp_path / "small.toml"), "--vary", "seed=[0,1,2]"]
    refused += ["--set", "devices=2", "--out", str(tmp_path / "none")]
    done = subprocess.run(refused, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "devices: 2 can't share a batch of 3 images and 3 settings evenly" in done.stderr
    assert not (tmp_path / "none").exists()
