"""The pre-activation ResNets for 32-pixel images in torch."""

import torch
from torch import Tensor, nn


class PreActBlock(nn.Module):
    """Two 3x3 convolutions behind norms and ReLUs."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, raw_shortcut: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.shortcut = _projection(inputs, planes, stride)
        self.raw_shortcut = raw_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(x if self.raw_shortcut else y)
        outputs: Tensor = x + self.conv2(torch.relu(self.bn2(self.conv1(y))))
        return outputs


class PreActBottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1 to four times the planes."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, raw_shortcut: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.shortcut = _projection(inputs, 4 * planes, stride)
        self.raw_shortcut = raw_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(x if self.raw_shortcut else y)
        y = self.conv2(torch.relu(self.bn2(self.conv1(y))))
        outputs: Tensor = x + self.conv3(torch.relu(self.bn3(y)))
        return outputs


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))


class ResNetPreAct(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self,
        num_classes: int,
        stage_sizes: tuple[int, ...],
        bottleneck: bool,
        width: int = 64,
        final_norm: bool = False,
        raw_shortcut: bool = False,
    ) -> None:
        super().__init__()
        block = PreActBottleneck if bottleneck else PreActBlock
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        inputs, self.stages = width, []
        for stage, blocks in enumerate(stage_sizes):
            planes, layers = width * 2**stage, []
            for index in range(blocks):
                layers.append(block(inputs, planes, 2 if stage > 0 and index == 0 else 1, raw_shortcut))
                inputs = planes * block.expansion
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*layers))
        self.bn = nn.BatchNorm2d(inputs) if final_norm else None
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        if self.bn is not None:
            x = torch.relu(self.bn(x))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
