"""The step over a batch that is sharded over eight (virtual) devices: the same code, the same numbers."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.objective import TERMS, Term
from jinv.core.parameterization import pooled_pixels
from jinv.core.synthesis import Stage, SynthesisState, make_step
from tests.networks import tiny_classifier

classifier = tiny_classifier().prepared()
optimizer, size, count = optax.sgd(0.05), (16, 16), 16
terms = [Term(name, TERMS[name], weight) for name, weight in
         (("cross_entropy", 1.0), ("total_variation", 1e-3), ("feature_statistics", 0.1))]
augmentations = [Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": 2}),
                 Augmentation("flip", AUGMENTATIONS["flip"], {}, "image")]
step = jax.jit(make_step(classifier.forward, terms, Stage(size, 1, optimizer), pooled_pixels(size, size),
                         augmentations=augmentations))
image = np.random.default_rng(0).normal(size=(count, *size, 3)).astype(np.float32)
mesh = Mesh(np.array(jax.devices()), ("batch",))
batch, everywhere = (NamedSharding(mesh, spec) for spec in (PartitionSpec("batch"), PartitionSpec()))

def take(batch, everywhere):
    image_, labels, ids = (jax.device_put(x, batch) for x in
                           (image, np.arange(count, dtype=np.int32) % 10, np.arange(count, dtype=np.uint32)))
    state = SynthesisState(image_, optimizer.init(image_), jax.device_put(jnp.int32(0), everywhere))
    variables, key, first = jax.device_put((classifier.variables, jax.random.key(0), jnp.int32(0)), everywhere)
    for _ in range(3):
        state, metrics = step(state, variables, labels, (key, ids), first)
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
