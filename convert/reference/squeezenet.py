"""SqueezeNet 1.1 in torch, twice: torchvision's, and the Caffe network as TensorFlow pads it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Fire(nn.Module):
    """Squeeze, expand by two kernels, side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class SqueezeNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        unit = width / 64

        def fire(inputs: int, squeezed: int, expanded: int) -> Fire:
            return Fire(int(unit * inputs), max(int(unit * squeezed), 1), int(unit * expanded))

        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(64, 16, 64),
            fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(128, 32, 128),
            fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(256, 48, 192),
            fire(384, 48, 192),
            fire(384, 64, 256),
            fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(8 * width, num_classes, 1), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(image)).mean((2, 3))
        return logits


class CaffeFire(nn.Module):
    """The same by Caffe's names."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze1x1(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class CaffeSqueezeNet(nn.Module):
    """(N, 3, H, W), red first, -> logits; the network itself sees blue first, as its kernel was trained."""

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2)
        inputs = width
        for number in range(2, 10):
            grade = number // 2
            squeezed, expanded = max(width * grade // 4, 1), width * grade
            self.add_module(f"fire{number}", CaffeFire(inputs, squeezed, expanded))
            inputs = 2 * expanded
        self.conv10 = nn.Conv2d(inputs, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = ((math.ceil(n / 2) - 1) * 2 + 3 - n for n in image.shape[2:])
        pads = (width // 2, width - width // 2, height // 2, height - height // 2)
        x = F.max_pool2d(F.relu(self.conv1(F.pad(image.flip(1), pads))), 3, 2)
        for number in range(2, 10):
            x = getattr(self, f"fire{number}")(x)
            if number in (3, 5):
                x = F.max_pool2d(x, 3, 2)
        logits: Tensor = self.conv10(x).mean((2, 3))
        return logits
