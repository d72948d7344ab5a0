"""torchvision's MobileNetV3, small and large, in torch."""

from torch import Tensor, nn
from torch.nn import functional as F

# One letter for the activation (r ReLU, h hardswish), an "s" where there is squeeze-and-excitation;
# kernel size, channels inside, channels behind, stride.
LARGE = """
    r  3  16  16 1
    r  3  64  24 2
    r  3  72  24 1
    rs 5  72  40 2
    rs 5 120  40 1
    rs 5 120  40 1
    h  3 240  80 2
    h  3 200  80 1
    h  3 184  80 1
    h  3 184  80 1
    hs 3 480 112 1
    hs 3 672 112 1
    hs 5 672 160 2
    hs 5 960 160 1
    hs 5 960 160 1
"""
SMALL = """
    rs 3  16  16 2
    r  3  72  24 2
    r  3  88  24 1
    hs 5  96  40 2
    hs 5 240  40 1
    hs 5 240  40 1
    hs 5 120  48 1
    hs 5 144  48 1
    hs 5 288  96 2
    hs 5 576  96 1
    hs 5 576  96 1
"""
PLANS = {"large": (LARGE, 1280), "small": (SMALL, 1024)}


def _eighths(channels: float) -> int:
    """The multiple of 8 next to `channels`, not below nine tenths of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activation: nn.Module | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01)
    return nn.Sequential(conv, norm) if activation is None else nn.Sequential(conv, norm, activation)


class SqueezeExcite(nn.Module):
    """To an eighth-rounded quarter and back; a hard sigmoid weighs the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _eighths(channels // 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))
        # F.hardsigmoid in words: its derivative in float64 is torch's float32 of a sixth, off by 3e-8.
        return F.relu6(self.fc2(y) + 3) / 6 * x


class Block(nn.Module):
    """Expand, depthwise, excite, project."""

    def __init__(self, inputs: int, kind: str, kernel: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        activation = nn.Hardswish if kind[0] == "h" else nn.ReLU
        layers: list[nn.Module] = []
        if width != inputs:
            layers.append(_conv_norm(inputs, width, 1, activation=activation()))
        layers.append(_conv_norm(width, width, kernel, stride, width, activation()))
        if kind.endswith("s"):
            layers.append(SqueezeExcite(width))
        layers.append(_conv_norm(width, outputs, 1))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, variant: str, width_coefficient: float) -> None:
        super().__init__()
        plan, hidden = PLANS[variant]
        inputs = _eighths(16 * width_coefficient)
        layers: list[nn.Module] = [_conv_norm(3, inputs, 3, 2, activation=nn.Hardswish())]
        for line in plan.split("\n")[1:-1]:
            kind, *numbers = line.split()
            kernel, inside, behind, stride = map(int, numbers)
            width, outputs = _eighths(inside * width_coefficient), _eighths(behind * width_coefficient)
            layers.append(Block(inputs, kind, kernel, width, outputs, stride))
            inputs = outputs
        layers.append(_conv_norm(inputs, 6 * inputs, 1, activation=nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        hidden = _eighths(hidden * width_coefficient)
        self.classifier = nn.Sequential(
            nn.Linear(6 * inputs, hidden), nn.Hardswish(), nn.Dropout(), nn.Linear(hidden, num_classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits
