"""The CIFAR Wide ResNets in torch."""

import torch
from torch import Tensor, nn


class WideBlock(nn.Module):
    """Two 3x3 convolutions behind norms and ReLUs."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == planes else nn.Conv2d(inputs, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = torch.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        outputs: Tensor = shortcut + self.conv2(torch.relu(self.bn2(self.conv1(activated))))
        return outputs


class ResNetWide(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, blocks_per_stage: int, width: int, stem_width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem_width, 3, 1, 1, bias=False)
        self.block1 = self._stage(stem_width, width, 1, blocks_per_stage)
        self.block2 = self._stage(width, width * 2, 2, blocks_per_stage)
        self.block3 = self._stage(width * 2, width * 4, 2, blocks_per_stage)
        self.bn1 = nn.BatchNorm2d(width * 4)
        self.fc = nn.Linear(width * 4, num_classes)

    @staticmethod
    def _stage(inputs: int, planes: int, stride: int, blocks: int) -> nn.ModuleDict:
        rest = [WideBlock(planes, planes, 1) for _ in range(blocks - 1)]
        return nn.ModuleDict({"layer": nn.Sequential(WideBlock(inputs, planes, stride), *rest)})

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image)
        for stage in (self.block1, self.block2, self.block3):
            x = stage["layer"](x)
        logits: Tensor = self.fc(torch.relu(self.bn1(x)).mean((2, 3)))
        return logits
