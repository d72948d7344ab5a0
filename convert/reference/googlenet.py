"""torchvision's GoogLeNet in torch, without auxiliary heads."""

import torch
from torch import Tensor, nn

# output channels of branch1, branch2's two, branch3's two and branch4, in units of the stem's 64
INCEPTIONS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


class BasicConv(nn.Module):
    """Convolution, batch norm with epsilon 0.001, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, padding: object = 0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """1x1; 1x1 and 3x3, twice; pool and 1x1."""

    def __init__(self, inputs: int, outputs: list[int]) -> None:
        super().__init__()
        self.branch1 = BasicConv(inputs, outputs[0], 1)
        self.branch2 = nn.Sequential(BasicConv(inputs, outputs[1], 1), BasicConv(outputs[1], outputs[2], 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv(inputs, outputs[3], 1), BasicConv(outputs[3], outputs[4], 3, padding=1))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv(inputs, outputs[5], 1)
        )
        self.outputs = outputs[0] + outputs[2] + outputs[4] + outputs[5]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width: int = 64, stage_sizes: tuple[int, ...] = (2, 5, 2)) -> None:
        super().__init__()
        self.conv1 = BasicConv(3, width, 7, 2, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = BasicConv(width, width, 1)
        self.conv3 = BasicConv(width, 3 * width, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        inputs, self.order = 3 * width, ["conv1", "maxpool1", "conv2", "conv3", "maxpool2"]
        for name, features in INCEPTIONS.items():
            stage, place = int(name[-2]), "abcde".index(name[-1])
            if place >= stage_sizes[stage - 3]:
                continue
            if place == 0 and stage > 3:
                self.order.append(f"maxpool{stage - 1}")
            block = Inception(inputs, [max(int(width / 64 * n), 1) for n in features])
            self.add_module(name, block)
            self.order.append(name)
            inputs = block.outputs
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for name in self.order:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
