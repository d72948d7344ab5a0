"""torchvision's EfficientNet-B0 to B7 in torch."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# kernel size, stride, expansion, channels, blocks of B0
PLAN = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def _eighths(channels: float) -> int:
    """The multiple of 8 next to `channels`, not below nine tenths of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcite(nn.Module):
    """Two 1x1 convolutions on the mean over the image; their sigmoid weighs the channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)


class Block(nn.Module):
    """Expand, depthwise, excite, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, epsilon: float) -> None:
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_conv_norm_silu(inputs, width, 1, 1, epsilon))
        layers += [
            _conv_norm_silu(width, width, kernel, stride, epsilon, groups=width),
            SqueezeExcite(width, max(1, inputs // 4)),
            nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=epsilon)),
        ]
        self.block = nn.Sequential(*layers)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y + x if self.residual else y


def _conv_norm_silu(
    inputs: int, outputs: int, kernel: int, stride: int, epsilon: float, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=epsilon), nn.SiLU())


class EfficientNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width_coefficient: float, depth_coefficient: float, epsilon: float) -> None:
        super().__init__()
        inputs = _eighths(32 * width_coefficient)
        stages: list[nn.Module] = [_conv_norm_silu(3, inputs, 3, 2, epsilon)]
        for kernel, stride, expansion, channels, blocks in PLAN:
            outputs, stage = _eighths(channels * width_coefficient), []
            for _ in range(math.ceil(blocks * depth_coefficient)):
                stage.append(Block(inputs, outputs, kernel, stride, expansion, epsilon))
                inputs, stride = outputs, 1
            stages.append(nn.Sequential(*stage))
        stages.append(_conv_norm_silu(inputs, 4 * inputs, 1, 1, epsilon))
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(4 * inputs, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(self.features(image), 1).flatten(1))
        return logits
