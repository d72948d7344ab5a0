"""torchvision's VGGs with batch normalization in torch, and those for 32-pixel images."""

from torch import Tensor, nn


def _features(stage_sizes: tuple[int, ...], width: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    inputs = 3
    for stage, convolutions in enumerate(stage_sizes):
        outputs = min(width * 2**stage, width * 8)
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers), inputs


class VGG(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(
        self, num_classes: int, stage_sizes: tuple[int, ...], width: int = 64, hidden: int = 4096, pooled: int = 7
    ) -> None:
        super().__init__()
        self.features, outputs = _features(stage_sizes, width)
        self.avgpool = nn.AdaptiveAvgPool2d((pooled, pooled))
        self.classifier = nn.Sequential(
            nn.Linear(outputs * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(image)).flatten(1))
        return logits


class LinearVGG(nn.Module):
    """(N, 3, H, W) -> logits; `hidden` and `pooled` are other VGGs'."""

    def __init__(
        self, num_classes: int, stage_sizes: tuple[int, ...], width: int = 64, hidden: int = 4096, pooled: int = 7
    ) -> None:
        super().__init__()
        self.features, outputs = _features(stage_sizes, width)
        self.classifier = nn.Linear(outputs, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        # At 32 pixels the map has one place, which kuangliu flattens.
        logits: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits
