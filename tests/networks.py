"""A tiny real network with random weights and statistics, for tests of everything around a network."""

import jax
import jax.numpy as jnp
import numpy as np

from jinv.models.classifier import Classifier
from jinv.models.resnet_cifar import ResNetCifar

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def tiny_variables(seed: int = 0, blocks: int = 1) -> dict:
    module = ResNetCifar(num_classes=10, blocks_per_stage=blocks, width=4)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("var", "scale"):
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        fan_in = max(int(np.prod(leaf.shape[:-1])), 1)
        return jnp.asarray(random.normal(size=leaf.shape) * (2 / fan_in) ** 0.5, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def tiny_classifier(seed: int = 0, blocks: int = 1) -> Classifier:
    return Classifier(
        architecture="tiny",
        module=ResNetCifar(num_classes=10, blocks_per_stage=blocks, width=4),
        variables=tiny_variables(seed, blocks),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        input_size=16,
        min_size=8,
        class_names=CLASSES,
        source={"source": {"sha256": f"tiny{seed}"}},
    )
