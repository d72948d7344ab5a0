"""torchvision's ShuffleNetV2 in torch."""

import torch
from torch import Tensor, nn


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class Unit(nn.Module):
    """Half of the channels as they are, half through three layers; all of them on both ways where the stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        branch = outputs // 2
        self.splits = stride == 1
        self.branch1 = (
            nn.Sequential() if self.splits else nn.Sequential(*_depthwise(inputs, stride), *_pointwise(inputs, branch))
        )
        self.branch2 = nn.Sequential(
            *_pointwise(branch if self.splits else inputs, branch),
            *_depthwise(branch, stride),
            *_pointwise(branch, branch),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.splits else (x, x)
        y = torch.cat((self.branch1(left), self.branch2(right)), 1)
        n, channels, height, width = y.shape
        return y.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)


class ShuffleNetV2(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self, num_classes: int, width: int, head_features: int, stage_sizes: tuple[int, ...], stem_features: int
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(3, stem_features, 3, 2, 1, bias=False)
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(stem_features), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = stem_features, []
        for stage, units in enumerate(stage_sizes, start=2):
            rest = [Unit(width, width, 1) for _ in range(units - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(Unit(inputs, width, 2), *rest))
            stages.append(f"stage{stage}")
            inputs, width = width, 2 * width
        self.stages = stages
        self.conv5 = nn.Sequential(*_pointwise(inputs, head_features))
        self.fc = nn.Linear(head_features, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(image))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.conv5(x).mean((2, 3)))
        return logits
