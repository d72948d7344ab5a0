"""Checkpoint files with random weights and statistics, written by torch as training scripts write them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from convert.reference import make_reference
from jinv.converted import read_converted


def random_reference(name: str, num_classes: int | None = None, seed: int = 0) -> torch.nn.Module:
    """A torch network with weights that keep activations near one, and statistics that no default resembles."""
    torch.manual_seed(seed)
    return randomize(make_reference(name, num_classes))


def randomize(network: torch.nn.Module) -> torch.nn.Module:
    """Draws every parameter and statistic of `network` from torch's global generator."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
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


def assert_is_network(path: Path, network: torch.nn.Module = NETWORK) -> None:
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
