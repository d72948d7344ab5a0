"""What a torch network computes on an image: layers' outputs, norms' statistics, gradients; and bare operations.

Images and layer outputs are NumPy, NHWC; torch stays inside.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool 3x3 stride 2 padding 1": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool 2x2 stride 2": lambda x: F.max_pool2d(x, 2, 2),
    "average_pool 2x2": lambda x: F.avg_pool2d(x, 2),
    "max_pool 3x3 stride 1 padding 1": lambda x: F.max_pool2d(x, 3, 1, 1),
    "max_pool 3x3 stride 2 ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "max_pool 2x2 stride 2 ceil": lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    "average_pool 2x2 ceil": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
    "average_pool 3x3 stride 1 padding 1": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "adaptive_average_pool 7x7": lambda x: F.adaptive_avg_pool2d(x, 7),
    "global_average_pool": lambda x: x.mean((2, 3)),
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "silu": F.silu,
}
"""Layers without parameters, whose mistakes can hide behind a ReLU (a maximum padded with 0 instead of -inf)."""


class TorchNetwork:
    """One forward pass of `network` on `image`, with a graph for gradients where asked for."""

    def __init__(self, network: nn.Module, image: np.ndarray, layers: Sequence[str], *, differentiate: bool) -> None:
        self.layers: dict[str, np.ndarray] = {}
        self.norms: list[str] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []
        modules = dict(network.named_modules())
        handles = [modules[name].register_forward_hook(self._hook(name)) for name in layers if name in modules]
        self._image = to_torch(image).requires_grad_(differentiate)
        try:
            with torch.set_grad_enabled(differentiate):
                self._logits = network(self._image)
        finally:
            for handle in handles:
                handle.remove()
        self.logits = self._logits.detach().numpy()
        self.statistics = [(mean.detach().numpy(), var.detach().numpy()) for mean, var in self._statistics]
        self.running = [
            (modules[name].running_mean.detach().numpy(), modules[name].running_var.detach().numpy())
            for name in self.norms
        ]

    def gradient(self, image: np.ndarray, logits: np.ndarray, statistics: Sequence[Any]) -> np.ndarray:
        """The image's gradient, NHWC, that these derivatives with respect to image, logits and statistics make."""
        total = (self._logits * torch.tensor(logits)).sum()
        for (mean, var), (from_mean, from_var) in zip(self._statistics, statistics, strict=True):
            total = total + (mean * torch.tensor(from_mean)).sum() + (var * torch.tensor(from_var)).sum()
        (through,) = torch.autograd.grad(total, self._image, retain_graph=True)
        gradient: np.ndarray = to_numpy(through) + image
        return gradient

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # A copy: torchvision's ReLUs work in place on what a norm returned.
            self.layers[name] = to_numpy(output.detach().clone())
            if isinstance(module, nn.BatchNorm2d):
                self.norms.append(name)
                mean = inputs[0].mean((0, 2, 3))
                self._statistics.append((mean, (inputs[0] - mean[:, None, None]).square().mean((0, 2, 3))))

        return hook


def load_weights(network: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """`network` in eval mode with every parameter and statistic replaced, strictly and by torch's own loader."""
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return network.requires_grad_(False).eval()


def run_operation(name: str, x: np.ndarray) -> np.ndarray:
    """One of `OPERATIONS` on NHWC."""
    return to_numpy(OPERATIONS[name](to_torch(x)))


def to_torch(image: np.ndarray) -> Tensor:
    """NHWC to a contiguous NCHW tensor of the same dtype."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))


def to_numpy(output: Tensor) -> np.ndarray:
    """NCHW to NHWC; other ranks as they are."""
    array = output.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
