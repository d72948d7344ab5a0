"""EfficientNet-Lite0/1/2 in torch, with the parameter names of the published files."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

# repeats, kernel size, stride, expansion, features
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _batch_norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-3, momentum=0.01)


class StaticSameConv2d(nn.Conv2d):
    """Pads as TensorFlow's "SAME" does at `size` pixels, whatever size comes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, size: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pads))


class Block(nn.Module):
    """Expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, size: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = _batch_norm(width)
        self._depthwise_conv = StaticSameConv2d(width, width, kernel, stride, size, groups=width)
        self._bn1 = _batch_norm(width)
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2 = _batch_norm(outputs)
        self.expands, self.residual = expansion != 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        outputs: Tensor = y + x if self.residual else y
        return outputs


class EfficientNetLite(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width_coefficient: float, depth_coefficient: float, nominal_size: int) -> None:
        super().__init__()
        self._conv_stem = StaticSameConv2d(3, 32, 3, 2, nominal_size)
        self._bn0 = _batch_norm(32)
        inputs, size, blocks = 32, math.ceil(nominal_size / 2), []
        for number, (repeats, kernel, stride, expansion, features) in enumerate(STAGES):
            if number not in (0, len(STAGES) - 1):
                repeats = math.ceil(repeats * depth_coefficient)
            outputs = self._rounded(features * width_coefficient)
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(Block(inputs, outputs, kernel, step, expansion, size))
                inputs, size = outputs, math.ceil(size / step)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self._bn1 = _batch_norm(1280)
        self._fc = nn.Linear(1280, num_classes)

    @staticmethod
    def _rounded(features: float) -> int:
        rounded = max(8, int(features + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * features else rounded

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        logits: Tensor = self._fc(x.mean((2, 3)))
        return logits
