"""MobileNetV2 in torch: torchvision's, and the older one of flat blocks."""

from torch import Tensor, nn

# expansion, features, repeats, stride
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _rounded(features: float) -> int:
    rounded = max(8, int(features + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * features else rounded


def _conv_norm_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv_norm_relu6(inputs, width, 1)]
        layers.append(_conv_norm_relu6(width, width, 3, stride, groups=width))
        layers += [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> logits."""

    block: type[nn.Module] = InvertedResidual

    def __init__(self, num_classes: int, width_coefficient: float = 1.0) -> None:
        super().__init__()
        inputs = _rounded(32 * width_coefficient)
        layers: list[nn.Module] = [_conv_norm_relu6(3, inputs, 3, 2)]
        for expansion, features, repeats, stride in STAGES:
            outputs = _rounded(features * width_coefficient)
            for repeat in range(repeats):
                layers.append(self.block(inputs, outputs, stride if repeat == 0 else 1, expansion))
                inputs = outputs
        head = _rounded(1280 * max(1.0, width_coefficient))
        self.features = nn.Sequential(*layers, _conv_norm_relu6(inputs, head, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits


class FlatResidual(nn.Module):
    """One Sequential of convolutions, norms and activations."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width, layers = inputs * expansion, list[nn.Module]()
        if expansion > 1:
            layers += [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        layers += [depthwise, nn.BatchNorm2d(width), nn.ReLU6()]
        self.conv = nn.Sequential(*layers, nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class FlatMobileNetV2(MobileNetV2):
    """The same network under older names."""

    block: type[nn.Module] = FlatResidual
