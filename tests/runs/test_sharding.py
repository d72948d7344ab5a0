"""The step over a batch that is sharded over eight (virtual) devices: the same code, the same numbers."""

import json
import os
import subprocess
import sys

import numpy as np

from tests.small_runs import save_tiny, under_way

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.objective import TERMS, Term
from jinv.core.step import Inputs, Method, Stage, SynthesisState, make_step
from tests.networks import tiny_classifier

classifier = tiny_classifier().prepared()
optimizer, size, count = optax.sgd(0.05), (16, 16), 16
terms = [Term(name, TERMS[name], weight) for name, weight in
         (("cross_entropy", 1.0), ("total_variation", 1e-3), ("feature_statistics", 0.1))]
augmentations = [Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": 2}),
                 Augmentation("flip", AUGMENTATIONS["flip"], {}, "image")]
stage = Stage(size, 1, terms, optimizer, augmentations=augmentations)
step = jax.jit(make_step(classifier.forward, stage, Method(size)))
image = np.random.default_rng(0).normal(size=(count, *size, 3)).astype(np.float32)
mesh = Mesh(np.array(jax.devices()), ("batch",))
batch, everywhere = (NamedSharding(mesh, spec) for spec in (PartitionSpec("batch"), PartitionSpec()))

def take(batch, everywhere):
    image_, labels, ids = (jax.device_put(x, batch) for x in
                           (image, np.arange(count, dtype=np.int32) % 10, np.arange(count, dtype=np.uint32)))
    state = SynthesisState(image_, optimizer.init(image_), jax.device_put(jnp.int32(0), everywhere))
    variables, key, first = jax.device_put((classifier.variables, jax.random.key(0), jnp.int32(0)), everywhere)
    for _ in range(3):
        state, metrics = step(state, Inputs(variables, labels, key, ids, first))
    return state.params, float(metrics.total)

one, many = take(jax.devices()[0], jax.devices()[0]), take(batch, everywhere)
change = float(np.abs(np.asarray(one[0]) - image).max())
print(json.dumps({
    "devices": len(many[0].sharding.device_set), "replicated": many[0].is_fully_replicated,
    "image": float(np.abs(np.asarray(one[0]) - np.asarray(many[0])).max()) / change, "loss": many[1] / one[1] - 1,
}))
"""


def test_a_sharded_batch_equals_one_device_and_stays_sharded():
    """Statistics are over the global batch: those of each device's own two images would be far off."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["devices"] == 8
    assert not result["replicated"]
    assert abs(result["loss"]) < 1e-5
    assert result["image"] < 1e-4


CONFIG = """
model = "tiny.safetensors"
keep = "best"
[image]
size = 16
labels = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
batch = 8
[[stages]]
size = 16
steps = 6
optimizer = "sgd"  # Adam makes rounding of a gradient near zero as large as a step
[augment.roll]
[augment.flip]
[terms.cross_entropy]
[terms.feature_statistics]
weight = 1e-2
[checkpoint]
every_steps = 3
"""

# Says at every checkpoint on how many devices its images lay, and dies at the first one.
DIES = """
import sys, jax, jinv.record.unfinished as run
from jinv.cli import main
save, calls = run.Work.save, []
def dies(self, kept):
    save(self, kept)
    batch, step, leaves, image = kept.batch, kept.step, kept.leaves, kept.image
    print(batch, step, max(len(leaf.sharding.device_set) for leaf in leaves or [image]))
    if batch == 0 and step == 3:
        raise KeyboardInterrupt
run.Work.save = dies
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_over_eight_devices_equals_one_and_resumes(tmp_path):
    save_tiny(tmp_path / "tiny.safetensors", 1)
    (tmp_path / "small.toml").write_text(CONFIG)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}

    def jinv(program, *arguments):
        command = [sys.executable, *program, "synthesize", str(tmp_path / "small.toml"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    cli = ("-m", "jinv.cli")
    many = ("--out", str(tmp_path / "many"), "--set", "devices='all'")
    died = jinv(("-c", DIES), *many)
    assert died.returncode == 130 and "0 3 8" in died.stdout, died.stdout + died.stderr
    checkpoint = np.load(under_way(tmp_path / "many") / "checkpoint.npz")
    assert checkpoint["position"].tolist() == [0, 0, 3] and checkpoint["leaf_0000"].shape == (8, 16, 16, 3)
    resumed = jinv(("-c", DIES.replace("batch == 0", "False")), *many, "--resume")
    # The last batch's four images lie on four of the devices.
    assert resumed.returncode == 0 and "0 6 8" in resumed.stdout and "1 6 4" in resumed.stdout, (
        resumed.stdout + resumed.stderr
    )
    one = jinv(cli, "--out", str(tmp_path / "one"))
    assert one.returncode == 0 and "devices" not in one.stderr, one.stderr
    images, expected = (np.load(tmp_path / name / "images.npy") for name in ("many", "one"))
    assert images.shape == (12, 16, 16, 3)
    assert np.abs(images - expected).max() < 1e-4 * np.abs(expected).max()
    refused = jinv(cli, "--out", str(tmp_path / "none"), "--set", "devices=3")
    assert refused.returncode == 2 and "devices: 3 can't share a batch of 8" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not (tmp_path / "none").exists()
    absent = jinv(cli, "--out", str(tmp_path / "none"), "--set", "devices=9")
    assert absent.returncode == 2 and "devices: 9, but JAX sees 8" in absent.stderr
