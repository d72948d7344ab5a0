"""torchvision's RegNets, X and Y, in torch."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class SqueezeExcite(nn.Module):
    """Two 1x1 convolutions on the mean over the image; their sigmoid weighs the channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(mean)))) * x


class Block(nn.Module):
    """A residual bottleneck without a bottleneck."""

    def __init__(self, inputs: int, outputs: int, stride: int, group_width: int, excited: bool) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["a"] = nn.Sequential(*_conv_norm(inputs, outputs, 1), nn.ReLU())
        parts["b"] = nn.Sequential(*_conv_norm(outputs, outputs, 3, stride, outputs // group_width), nn.ReLU())
        if excited:
            parts["se"] = SqueezeExcite(outputs, round(0.25 * inputs))
        parts["c"] = nn.Sequential(*_conv_norm(outputs, outputs, 1))
        changes = stride != 1 or inputs != outputs
        self.proj = nn.Sequential(*_conv_norm(inputs, outputs, 1, stride)) if changes else nn.Sequential()
        self.f = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.proj(x) + self.f(x))


class RegNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self,
        num_classes: int,
        stage_sizes: tuple[int, ...],
        widths: tuple[int, ...],
        group_widths: tuple[int, ...],
        excited: bool,
        stem_features: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_norm(3, stem_features, 3, 2), nn.ReLU())
        inputs, self.trunk_output = stem_features, nn.Sequential()
        for number, blocks in enumerate(stage_sizes, start=1):
            outputs, stage = widths[number - 1], nn.Sequential()
            for index in range(blocks):
                block = Block(inputs, outputs, 1 if index else 2, group_widths[number - 1], excited)
                stage.add_module(f"block{number}-{index}", block)
                inputs = outputs
            self.trunk_output.add_module(f"block{number}", stage)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.trunk_output(self.stem(image)).mean((2, 3)))
        return logits
