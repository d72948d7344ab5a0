"""Checkpoint files with random weights and statistics, written by torch as training scripts write them."""

from pathlib import Path
from typing import Any

import torch

from convert.reference import make_reference


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
