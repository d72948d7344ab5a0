"""MobileNetV1 in torch: of marvis/pytorch-mobilenet's names, and timm's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def _strides(stage_sizes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(stage, doublings of the width, stride) of every block."""
    places = [(stage, index) for stage, blocks in enumerate(stage_sizes) for index in range(blocks)]
    return [(stage, stage + 1, 2 if index == 0 and stage else 1) for stage, index in places]


class MobileNetV1(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width: int = 32, stage_sizes: tuple[int, ...] = (1, 2, 2, 6, 2)) -> None:
        super().__init__()
        layers, inputs = [nn.Sequential(*_conv(3, width, 3, 2))], width
        for _, doublings, stride in _strides(stage_sizes):
            outputs = width << doublings
            layers.append(nn.Sequential(*_conv(inputs, inputs, 3, stride, inputs), *_conv(inputs, outputs, 1)))
            inputs = outputs
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.model(image).mean((2, 3)))
        return logits


class TimmSeparable(nn.Module):
    """Depthwise, pointwise, ReLU6 behind both."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x))))))


class TimmMobileNetV1(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width: int = 32, stage_sizes: tuple[int, ...] = (1, 2, 2, 6, 2)) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs, stages = width, [list[nn.Module]() for _ in stage_sizes]
        for stage, doublings, stride in _strides(stage_sizes):
            stages[stage].append(TimmSeparable(inputs, width << doublings, stride))
            inputs = width << doublings
        self.blocks = nn.Sequential(*(nn.Sequential(*blocks) for blocks in stages))
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.bn1(self.conv_stem(image))))
        logits: Tensor = self.classifier(torch.mean(x, (2, 3)))
        return logits
