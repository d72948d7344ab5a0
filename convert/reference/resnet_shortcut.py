"""The CIFAR ResNets of kuangliu's names in torch, of three stages or four; also the robustness package's."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions, the first strided, or 1x1, 3x3 (strided) and 1x1 to four times the planes."""

    def __init__(self, inputs: int, planes: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = planes * 4 if bottleneck else planes
        first = nn.Conv2d(inputs, planes, 1, bias=False) if bottleneck else None
        self.conv1 = first or nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride if bottleneck else 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        if bottleneck:
            self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        projected = stride != 1 or inputs != outputs
        projection = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential(*(projection if projected else ()))
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + self.shortcut(x))


class ShortcutResNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self,
        num_classes: int,
        stage_sizes: tuple[int, ...],
        bottleneck: bool,
        groups: int = 1,
        width_per_group: int = 64,
        width: int = 64,
        stem: str = "3x3",
        stem_width: int | None = None,
    ) -> None:
        super().__init__()
        if (groups, width_per_group, stem) != (1, 64, "3x3"):
            raise ValueError(
                f"groups {groups}, width_per_group {width_per_group}, stem {stem}: nobody has published one"
            )
        inputs = stem_width or width
        self.conv1 = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.depth = len(stage_sizes)
        for stage, blocks in enumerate(stage_sizes):
            planes, layers = width * 2**stage, nn.Sequential()
            for index in range(blocks):
                layers.append(Block(inputs, planes, 1 + (stage > 0 and index == 0), bottleneck))
                inputs = planes * 4 if bottleneck else planes
            setattr(self, f"layer{stage + 1}", layers)
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(image)))
        for stage in range(self.depth):
            x = getattr(self, f"layer{stage + 1}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
