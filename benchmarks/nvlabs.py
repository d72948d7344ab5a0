"""DeepInversion as NVlabs' programs run it, in PyTorch: written from the recipe's numbers, in eager mode and compiled.

Yin et al. (2020), "Dreaming to Distill via Deep Inversion", and the settings that its authors published for ImageNet
(84 images: 2,000 steps on 2x2 means, then 1,000) and for CIFAR-10 (256 images, 2,000 steps). Left out, as in
configs/peers: the norm over the whole CIFAR-10 batch. The images are the last iterate's.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_step import torch_device
from jinv_convert.reference import make_reference


@dataclass(frozen=True)
class Setting:
    """A published setting. stages: (pixels pooled to one per side, steps), each with an Adam of its own; warmup: steps of it
    before a cosine, None for a constant rate; shift: the largest of a roll, before pooling; weights of the terms."""

    batch: int
    size: int
    stages: tuple[tuple[int, int], ...]
    learning_rate: float
    betas: tuple[float, float]
    warmup: int | None
    shift: int
    flip: bool
    clip: bool
    total_variation: float
    image_norm: float
    feature_statistics: float
    first_layer: float

    def shrunk(self, batch: int | None, divisor: int) -> "Setting":
        """Of another batch, and of a part of the steps: for a try."""
        stages = tuple((pooled, max(steps // divisor, 2)) for pooled, steps in self.stages)
        warmup = None if self.warmup is None else self.warmup // divisor
        return replace(self, batch=batch or self.batch, stages=stages, warmup=warmup)


SETTINGS = {
    "imagenet": Setting(84, 224, ((2, 2000), (1, 1000)), 0.25, (0.5, 0.9), 100, 30, True, True, 1e-4, 1e-5, 1e-2, 10.0),
    # What its README calls the paper's, and what it says makes better pictures.
    "cifar10_paper": Setting(256, 32, ((1, 2000),), 0.05, (0.9, 0.999), None, 2, False, False, 2.5e-5, 0.0, 10.0, 1.0),
    "cifar10_pictures": Setting(256, 32, ((1, 2000),), 0.1, (0.9, 0.999), None, 2, False, False, 1e-3, 0.0, 10.0, 1.0),
}


class Objective(nn.Module):
    """What the network is shown -> the loss; batch norms' inputs are met in forward hooks."""

    def __init__(self, network: nn.Module, setting: Setting) -> None:
        super().__init__()
        self.network, self.setting = network, setting
        self.norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in self.norms:
            layer.register_forward_pre_hook(self._measure)

    @staticmethod
    def _measure(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
        layer.distance = torch.norm(layer.running_var - variance) + torch.norm(layer.running_mean - mean)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        """The weighted sum of cross-entropy, total variation over eight neighbours, each image's norm, and statistics."""
        setting = self.setting
        loss = F.cross_entropy(self.network(image), labels)
        across, down = image[..., :, 1:] - image[..., :, :-1], image[..., 1:, :] - image[..., :-1, :]
        falling, rising = image[..., 1:, 1:] - image[..., :-1, :-1], image[..., 1:, :-1] - image[..., :-1, 1:]
        loss = loss + setting.total_variation * sum(torch.norm(part) for part in (across, down, falling, rising))
        loss = loss + setting.image_norm * torch.norm(image.flatten(1), dim=1).mean()
        first, *others = (cast(Tensor, layer.distance) for layer in self.norms)
        whole: Tensor = loss + setting.feature_statistics * (setting.first_layer * first + sum(others))
        return whole


def rate(setting: Setting, step: int, steps: int) -> float:
    """The learning rate at a step of a stage."""
    warmup = setting.warmup
    if warmup is None:
        return setting.learning_rate
    if step < warmup:
        return setting.learning_rate * (step + 1) / warmup
    return setting.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


@dataclass(frozen=True)
class Mark:
    """Images, NHWC in network units, after `step` of all steps, the `stage_step`-th of a stage, and the seconds of all so far."""

    stage: int
    stage_step: int
    step: int
    seconds: float
    images: np.ndarray


class Program:
    """A network under a setting; `compiled` as well as a user could make it run: compiled, frozen, channels last."""

    def __init__(self, model: str, weights: dict[str, np.ndarray], setting: Setting, *, compiled: bool) -> None:
        network = make_reference(model)
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
        # The published programs leave the weights' gradients on; eval mode keeps the running statistics fixed.
        network.requires_grad_(not compiled)
        self._device = torch_device("float32")
        self._layout = torch.channels_last if compiled else torch.contiguous_format
        objective: nn.Module = Objective(network.eval(), setting).to(self._device)
        objective.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's own types leave it out
        self._network, self._setting, self._compiled = network, setting, compiled
        self._objective = torch.compile(objective, fullgraph=True, dynamic=False) if compiled else objective

    def warm_up(self, images: int) -> float:
        """Seconds of steps of every stage, as it is and flipped, of images that are thrown away: after them all is compiled."""
        started, setting = time.perf_counter(), self._setting
        if not self._compiled:
            return 0.0
        labels = torch.zeros(images, dtype=torch.long, device=self._device)
        for pooled, _ in setting.stages:
            for flip in (False, True) if setting.flip else (False,):
                image = self._noise(images, torch.Generator())
                optimizer = self._optimizer(image)
                for _ in range(4):  # hooks leave tensors behind, for which the next steps are compiled anew
                    self._step(image, labels, optimizer, pooled, [1, 1], flip)
        return time.perf_counter() - started

    def run(
        self, labels: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], every: int, seed: int = 0
    ) -> Iterator[Mark]:
        """The synthesis from noise; a mark after every so many steps and at a stage's end. Only steps are on the clock."""
        setting, random = self._setting, torch.Generator().manual_seed(seed)
        image, targets = self._noise(len(labels), random), torch.from_numpy(labels).long().to(self._device)
        lower, upper = (torch.from_numpy(bound).float()[None, :, None, None].to(self._device) for bound in bounds)
        seconds, done = 0.0, 0
        for stage, (pooled, steps) in enumerate(setting.stages):
            optimizer, most = self._optimizer(image), setting.shift // pooled
            for step in range(steps):
                started = time.perf_counter()
                optimizer.param_groups[0]["lr"] = rate(setting, step, steps)
                shift = torch.randint(-most, most + 1, (2,), generator=random).tolist()
                flip = torch.rand((), generator=random).item() > 0.5 and setting.flip
                self._step(image, targets, optimizer, pooled, shift, flip)
                if setting.clip:
                    with torch.no_grad():
                        image.clamp_(lower, upper)
                seconds, done = seconds + time.perf_counter() - started, done + 1
                if (step + 1) % every == 0 or step + 1 == steps:
                    yield Mark(stage, step + 1, done, seconds, image.detach().permute(0, 2, 3, 1).cpu().numpy().copy())

    def _noise(self, images: int, random: torch.Generator) -> Tensor:
        noise = torch.randn(images, 3, self._setting.size, self._setting.size, generator=random)
        return noise.to(self._device, memory_format=self._layout).requires_grad_()

    def _optimizer(self, image: Tensor) -> torch.optim.Adam:
        setting = self._setting
        return torch.optim.Adam([image], setting.learning_rate, setting.betas, fused=self._compiled or None)

    def _step(self, image: Tensor, labels: Tensor, optimizer: Any, pooled: int, shift: list[int], flip: bool) -> None:
        view = F.avg_pool2d(image, pooled) if pooled > 1 else image
        view = torch.roll(view, shift, (2, 3))
        if flip:
            view = torch.flip(view, (3,))
        optimizer.zero_grad()
        self._network.zero_grad()
        loss = self._objective(view.contiguous(memory_format=self._layout), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # the published programs read it in every step
