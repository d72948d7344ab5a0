"""The step in PyTorch, twice: as the published loops take it, and as well as a user could make it run."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import problem
from benchmarks.problem import Problem
from jinv.core.choices import Precision
from jinv_convert.reference import make_reference


class Objective(nn.Module):
    """Image as the network sees it -> the weighted sum of the three terms; norms' inputs are met in forward hooks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in self.norms:
            layer.register_forward_pre_hook(self._measure)

    @staticmethod
    def _measure(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        mean, variance = x.mean((0, 2, 3), dtype=wide), x.to(wide).var((0, 2, 3), unbiased=True)
        layer.distance = torch.norm(mean - layer.running_mean) + torch.norm(variance - layer.running_var)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(self.network(image).float(), labels)
        vertical, horizontal = image[:, :, 1:] - image[:, :, :-1], image[:, :, :, 1:] - image[:, :, :, :-1]
        variation = torch.norm(vertical) + torch.norm(horizontal)
        statistics = sum(cast(Tensor, layer.distance) for layer in self.norms)
        loss: Tensor = (
            problem.CROSS_ENTROPY * cross_entropy
            + problem.TOTAL_VARIATION * variation
            + problem.FEATURE_STATISTICS * statistics
        )
        return loss


def torch_device(precision: Precision) -> torch.device:
    """The first CUDA device, told how to take products of float32 numbers, or the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Implementation:
    """PyTorch on its first CUDA device, or the CPU."""

    def __init__(self, case: Problem, path: Path, *, compiled: bool) -> None:
        self._arrays, weights = problem.read(path)
        self._device, self._precision = torch_device(case.precision), case.precision
        network = make_reference(case.model)
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
        # The published loops leave the weights' gradients on; eval mode keeps the running statistics fixed.
        network.requires_grad_(not compiled)
        self._layout = torch.channels_last if compiled else torch.contiguous_format
        objective: nn.Module = Objective(network.eval()).to(self._device)
        objective.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's own types leave it out
        self._network = network
        self._objective = torch.compile(objective, fullgraph=True) if compiled else objective
        self._fused = compiled
        self._labels = torch.from_numpy(self._arrays["labels"]).long().to(self._device)
        lower, upper = (torch.from_numpy(self._arrays[name]).to(self._device) for name in ("lower", "upper"))
        self._lower, self._upper = lower[None, :, None, None], upper[None, :, None, None]
        self._restart()
        self._take()  # compiles
        self._synchronize()

    def _restart(self) -> None:
        image = torch.from_numpy(self._arrays["image"]).permute(0, 3, 1, 2)
        # A copy: the optimizer writes in place, and a permuted view would keep NHWC memory.
        self._image = image.to(self._device).clone(memory_format=self._layout).requires_grad_()
        self._optimizer = torch.optim.Adam(
            [self._image], lr=problem.LEARNING_RATE, betas=problem.BETAS, eps=problem.EPSILON,
            fused=True if self._fused else None,
        )  # fmt: skip
        self._count = 0

    def _take(self) -> Tensor:
        shift = self._arrays["shifts"][self._count % problem.NUM_DRAWS]
        view = torch.roll(self._image, shifts=(int(shift[0]), int(shift[1])), dims=(2, 3))
        if self._arrays["flips"][self._count % problem.NUM_DRAWS]:
            view = torch.flip(view, dims=(3,))
        self._optimizer.zero_grad()
        self._network.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            loss = self._objective(view, self._labels)
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            self._image.clamp_(self._lower, self._upper)
        self._count += 1
        detached: Tensor = loss.detach()
        return detached

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def first_steps(self, steps: int) -> tuple[list[float], np.ndarray]:
        """(losses of the first steps, the first one's gradient NHWC)."""
        self._restart()
        losses, gradient = [], np.zeros(0)
        for index in range(steps):
            losses.append(float(self._take()))
            if index == 0 and self._image.grad is not None:
                gradient = self._image.grad.permute(0, 2, 3, 1).cpu().numpy().copy()
        return losses, gradient

    def run(self, steps: int) -> None:
        """That many steps; returns when they are done."""
        for _ in range(steps):
            self._take()
        self._synchronize()

    def matmul(self, size: int) -> Any:
        """A function that multiplies two square matrices once, in the case's precision."""
        dtype = torch.bfloat16 if self._precision == "bf16" else torch.float32
        a = torch.randn((size, size), device=self._device).to(dtype)  # a GPU multiplies zeros and ones faster

        def multiply() -> None:
            torch.mm(a, a)
            self._synchronize()

        return multiply

    def describe(self) -> dict[str, Any]:
        """Where it runs; on a GPU the memory that it has taken of it."""
        if self._device.type == "cpu":
            return {"device": "cpu"}
        return {"device": torch.cuda.get_device_name(), "peak_bytes": torch.cuda.max_memory_allocated()}
