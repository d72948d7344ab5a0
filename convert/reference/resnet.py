"""torchvision's ResNets, ResNeXts and Wide ResNets (v1.5) in torch, those of the same names for CIFAR, timm's ResNet-D."""

from typing import Any

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, groups: int, width_per_group: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped and strided), 1x1 to four times the planes."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, groups: int, width_per_group: int) -> None:
        super().__init__()
        width = int(planes * width_per_group / 64) * groups
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = _downsample(inputs, planes * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self,
        num_classes: int,
        stage_sizes: tuple[int, ...],
        bottleneck: bool,
        groups: int = 1,
        width_per_group: int = 64,
        width: int = 64,
        stem: str = "7x7",
        stem_width: int | None = None,
    ) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        inputs, self.stages = stem_width or width, []
        small = {"3x3": True, "3x3 pooled": True, "7x7": False}[stem]
        self.conv1 = nn.Conv2d(3, inputs, 3, 1, 1, bias=False) if small else nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.maxpool = nn.Identity() if stem == "3x3" else nn.MaxPool2d(3, 2, 1)
        for stage, blocks in enumerate(stage_sizes):
            planes, layers = width * 2**stage, []
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(block(inputs, planes, stride, groups, width_per_group))
                inputs = planes * block.expansion
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class ResNetD(ResNet):
    """A stem of three convolutions; shortcuts that halve the image by means."""

    def __init__(self, num_classes: int, width: int = 64, **others: Any) -> None:
        super().__init__(num_classes, width=width, **others)
        half = width // 2
        self.conv1 = nn.Sequential(  # type: ignore[assignment]
            nn.Conv2d(3, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, 1, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, width, 3, 1, 1, bias=False),
        )
        for stage in self.stages:
            first = self.get_submodule(stage)[0]  # type: ignore[index]
            if first.downsample is not None:
                conv, norm = first.downsample
                strided = conv.stride == (2, 2)
                pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False) if strided else nn.Identity()
                project = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False)
                first.downsample = nn.Sequential(pool, project, norm)
