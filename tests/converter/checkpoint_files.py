"""Checkpoint files with random weights and statistics, written by torch as training scripts write them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jinv.weights.file import read_converted
from jinv_convert.reference import make_reference


def random_reference(name: str, num_classes: int | None = None, seed: int = 0) -> nn.Module:
    """A torch network with weights that keep activations near one, and statistics that no default resembles."""
    return randomize(make_reference(name, num_classes), seed)


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and running statistics that keep activations near one and that no default resembles."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like, low, high):
        return torch.empty_like(like).uniform_(low, high, generator=generator)

    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                if layer.bias is not None:
                    layer.bias.copy_(uniform(layer.bias, -0.5, 0.5))
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(uniform(layer.weight, 0.5, 1.0))
                layer.bias.copy_(uniform(layer.bias, -0.3, 0.3))
                layer.running_mean.copy_(uniform(layer.running_mean, -0.5, 0.5))
                layer.running_var.copy_(uniform(layer.running_var, 0.5, 2.0))
    return network.eval()


def save(tree: Any, path: Path, container: str = "zip") -> Path:
    """torch.save in the zip or the legacy container."""
    torch.save(tree, path, _use_new_zipfile_serialization=container == "zip")
    return path


NETWORK = random_reference("resnet20")


def state() -> dict[str, torch.Tensor]:
    """A state dict of `NETWORK` to spoil."""
    return {name: tensor.clone() for name, tensor in NETWORK.state_dict().items()}


def without(*names: str) -> dict[str, torch.Tensor]:
    """A state dict that lacks some tensors."""
    return {name: tensor for name, tensor in state().items() if name not in names}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    """The same under other names."""
    return {prefix + name: tensor for name, tensor in state().items()}


def assert_is_network(path: Path, network: nn.Module = NETWORK) -> None:
    """The converted file at `path` holds exactly the tensors of a CIFAR ResNet, each once and nothing else."""
    arrays, _ = read_converted(path)
    for name, tensor in network.state_dict().items():
        *modules, leaf = name.split(".")
        if leaf == "num_batches_tracked":
            continue
        # The rule for this family, written out once more from torch's names and layouts.
        module = "/".join([f"{modules[0]}_{modules[1]}", *modules[2:]] if modules[0].startswith("layer") else modules)
        folder, leaf = {
            "running_mean": ("batch_stats", "mean"),
            "running_var": ("batch_stats", "var"),
            "bias": ("params", "bias"),
            "weight": ("params", "scale" if tensor.ndim == 1 else "kernel"),
        }[leaf]
        expected = tensor.numpy().transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim])
        np.testing.assert_array_equal(arrays.pop(f"{folder}/{module}/{leaf}"), expected)
    assert not arrays
