"""One synthesis problem as plain arrays in a file, so that every implementation starts from the same numbers.

Weights are an installed checkpoint's where there is one; elsewhere random ones with random statistics, scaled so that
activations stay of order one: speed does not depend on the values, only on their being ordinary numbers.
"""

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jinv.core.choices import Precision
from jinv.models.registry import get_architecture

if TYPE_CHECKING:
    import jax

    from jinv.core.augment import Augmentation

CROSS_ENTROPY, TOTAL_VARIATION, FEATURE_STATISTICS = 1.0, 1e-4, 1e-2
LEARNING_RATE, BETAS, EPSILON = 0.05, (0.9, 0.999), 1e-8
SEED = 0
NUM_DRAWS = 64


@dataclass(frozen=True)
class Problem:
    """What is timed: a network, a batch of square images in pixels, and the arithmetic."""

    model: str
    batch: int
    size: int
    precision: Precision = "float32"

    def write(self, path: Path) -> dict[str, Any]:
        """Everything that an implementation needs, as .npz; returns the facts that a result reports."""
        architecture = get_architecture(self.model)
        weights, origin, flops = _weights(self.model, self.size)
        random = np.random.default_rng(SEED)
        mean, std = np.asarray(architecture.mean, np.float32), np.asarray(architecture.std, np.float32)
        image = random.normal(size=(self.batch, self.size, self.size, 3)).astype(np.float32)
        labels = random.integers(architecture.num_classes, size=self.batch).astype(np.int32)
        arrays: dict[str, Any] = {"image": image, "labels": labels, "lower": -mean / std, "upper": (1 - mean) / std}
        arrays |= self._draws() | {f"weights/{key}": value for key, value in weights.items()}
        np.savez(path, **arrays)
        # Forward and the image's gradient; the weights' gradients are never needed.
        return asdict(self) | {"weights": origin, "flops_per_step": 2 * flops * self.batch}

    def _draws(self) -> dict[str, np.ndarray]:
        """The shifts and flips of jinv's first steps, read off an image of coordinates."""
        import jax
        import jax.numpy as jnp

        from jinv.core.augment import augment_batch
        from jinv.core.step import step_keys

        size = self.size
        coordinates = jnp.arange(size * size, dtype=jnp.float32).reshape(1, size, size, 1)

        def augmented(step: jax.Array) -> jax.Array:
            return augment_batch(augmentations(size), *step_keys(run_keys(1), step), coordinates)[0, 0, :2, 0]

        corners = np.asarray(jax.jit(jax.vmap(augmented))(jnp.arange(NUM_DRAWS))).astype(int)
        rows, columns = corners // size, corners % size
        flips = (columns[:, 1] - columns[:, 0]) % size != 1
        horizontal = np.where(flips, size - 1 - columns[:, 0], -columns[:, 0]) % size
        return {"shifts": np.stack([-rows[:, 0] % size, horizontal], axis=1), "flips": flips}


def augmentations(size: int) -> "list[Augmentation]":
    """Roll and flip, one draw for the batch, as the thesis and the papers have them."""
    from jinv.core.augment import AUGMENTATIONS, Augmentation

    return [
        Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": size // 8}),
        Augmentation("flip", AUGMENTATIONS["flip"], {}),
    ]


def run_keys(batch: int) -> "tuple[jax.Array, jax.Array]":
    """(run key, image ids)."""
    import jax
    import jax.numpy as jnp

    return jax.random.key(SEED), jnp.arange(batch, dtype=jnp.uint32)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(arrays, the checkpoint's tensors by name)."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    weights = {name.removeprefix("weights/"): array for name, array in arrays.items() if name.startswith("weights/")}
    return {name: array for name, array in arrays.items() if "/" not in name}, weights


def _weights(model: str, size: int) -> tuple[dict[str, np.ndarray], str, float]:
    """(tensors, where they are from, direct FLOPs of one image's forward pass)."""
    import torch
    from torch import nn

    from jinv_convert.reference import make_reference

    torch.manual_seed(SEED)
    network = make_reference(model).requires_grad_(False)
    embedded = get_architecture(model).embedded
    spec = find_spec(embedded.package) if embedded else None
    if embedded and embedded.file.endswith(".pth") and spec and spec.origin:
        network.load_state_dict(torch.load(Path(spec.origin).parent / embedded.file, weights_only=True))
        origin = "published"
    else:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
            elif isinstance(layer, nn.BatchNorm2d):
                # Half-sized slopes keep a chain of residual sums from growing with its length.
                for tensor, low, high in (
                    (layer.weight, 0.25, 0.75), (layer.bias, -0.2, 0.2),
                    (layer.running_mean, -0.3, 0.3), (layer.running_var, 0.5, 2.0),
                ):  # fmt: skip
                    assert tensor is not None
                    nn.init.uniform_(tensor, low, high)
        origin = "random"
    return {key: value.numpy() for key, value in network.state_dict().items()}, origin, _flops(network, size)


def _flops(network: Any, size: int) -> float:
    import torch
    from torch import nn

    counted: list[float] = []

    def count(layer: Any, _: Any, output: Any) -> None:
        counted.append(2.0 * layer.weight[0].numel() * output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return sum(counted)
