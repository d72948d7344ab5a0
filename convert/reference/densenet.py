"""torchvision's DenseNets in torch."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseLayer(nn.Module):
    """Returns its input with its output appended."""

    def __init__(self, inputs: int, growth_rate: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth_rate)
        self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.conv2(torch.relu(self.norm2(y)))
        return torch.cat([x, y], 1)


def _block(inputs: int, layers: int, growth_rate: int) -> nn.Sequential:
    names = [f"denselayer{i + 1}" for i in range(layers)]
    return nn.Sequential(
        OrderedDict((n, DenseLayer(inputs + i * growth_rate, growth_rate)) for i, n in enumerate(names))
    )


def _transition(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, block_sizes: tuple[int, ...], growth_rate: int = 32, width: int = 64) -> None:
        super().__init__()
        features = OrderedDict(
            conv0=nn.Conv2d(3, width, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(width),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        inputs = width
        for number, layers in enumerate(block_sizes, 1):
            features[f"denseblock{number}"] = _block(inputs, layers, growth_rate)
            inputs += layers * growth_rate
            if number < len(block_sizes):
                features[f"transition{number}"] = _transition(inputs)
                inputs //= 2
        features["norm5"] = nn.BatchNorm2d(inputs)
        self.features = nn.Sequential(features)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(F.relu(self.features(image)).mean((2, 3)))
        return logits
