"""torchvision's Inception v3 in torch, without auxiliary head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jinv_convert.reference.googlenet import BasicConv

A_DOUBLE = (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3))


def _conv(inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1) -> BasicConv:
    """Padded by half of the kernel, or not at all where it is strided."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2) if stride == 1 else 0
    return BasicConv(inputs, outputs, kernel, stride, padding)


class Block(nn.Module):
    """Layers by name; `self.outputs` are their channels. They run in the order of the branches, as torchvision's do."""

    def __init__(self, inputs: int, unit: float) -> None:
        super().__init__()
        self.inputs, self.unit, self.outputs = inputs, unit, 0

    def branch(self, *layers: tuple[str, int, int | tuple[int, int]], stride: int = 1, ends: bool = True) -> None:
        """Add layers that follow one another, the last with `stride`; where the branch `ends`, its output is counted."""
        inputs = self.inputs
        for index, (name, outputs, kernel) in enumerate(layers):
            scaled = max(int(outputs * self.unit), 1)
            self.add_module(name, _conv(inputs, scaled, kernel, stride if index == len(layers) - 1 else 1))
            inputs = scaled
        self.outputs += inputs if ends else 0

    def through(self, x: Tensor, *names: str) -> Tensor:
        """The layers of these names, one after another."""
        for name in names:
            x = self.get_submodule(name)(x)
        return x


class InceptionA(Block):
    """1x1, 5x5, double 3x3, average."""

    def __init__(self, inputs: int, unit: float, pool: int) -> None:
        super().__init__(inputs, unit)
        self.branch(("branch1x1", 64, 1))
        self.branch(("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5))
        self.branch(*A_DOUBLE)
        self.branch(("branch_pool", pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.through(x, "branch1x1"), self.through(x, "branch5x5_1", "branch5x5_2")]
        parts.append(self.through(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
        parts.append(self.through(F.avg_pool2d(x, 3, 1, 1), "branch_pool"))
        return torch.cat(parts, 1)


class InceptionB(Block):
    """Strided 3x3, double 3x3, maximum."""

    def __init__(self, inputs: int, unit: float) -> None:
        super().__init__(inputs, unit)
        self.branch(("branch3x3", 384, 3), stride=2)
        self.branch(*A_DOUBLE, stride=2)
        self.outputs += inputs

    def forward(self, x: Tensor) -> Tensor:
        single = self.through(x, "branch3x3")
        double = self.through(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([single, double, F.max_pool2d(x, 3, 2)], 1)


class InceptionC(Block):
    """1x1, 7x7 in two, twice 7x7 in four, average."""

    def __init__(self, inputs: int, unit: float, width: int) -> None:
        super().__init__(inputs, unit)
        self.branch(("branch1x1", 192, 1))
        self.branch(("branch7x7_1", width, 1), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1)))
        self.branch(
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, (7, 1)),
            ("branch7x7dbl_3", width, (1, 7)),
            ("branch7x7dbl_4", width, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        )
        self.branch(("branch_pool", 192, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.through(x, "branch1x1")]
        parts.append(self.through(x, *(f"branch7x7_{i}" for i in (1, 2, 3))))
        parts.append(self.through(x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))))
        parts.append(self.through(F.avg_pool2d(x, 3, 1, 1), "branch_pool"))
        return torch.cat(parts, 1)


class InceptionD(Block):
    """Strided 3x3, 7x7 and strided 3x3, maximum."""

    def __init__(self, inputs: int, unit: float) -> None:
        super().__init__(inputs, unit)
        self.branch(("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3), stride=2)
        self.branch(
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3),
            stride=2,
        )
        self.outputs += inputs

    def forward(self, x: Tensor) -> Tensor:
        short = self.through(x, "branch3x3_1", "branch3x3_2")
        long = self.through(x, *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
        return torch.cat([short, long, F.max_pool2d(x, 3, 2)], 1)


class InceptionE(Block):
    """1x1, 3x3 as row beside column, the same behind another 3x3, average."""

    def __init__(self, inputs: int, unit: float) -> None:
        super().__init__(inputs, unit)
        self.branch(("branch1x1", 320, 1))
        self.branch(("branch3x3_1", 384, 1), ends=False)
        self.branch(("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), ends=False)
        wide = max(int(384 * unit), 1)
        for name in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(f"{name}a", _conv(wide, wide, (1, 3)))
            self.add_module(f"{name}b", _conv(wide, wide, (3, 1)))
        self.branch(("branch_pool", 192, 1))
        self.outputs += 4 * wide

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.through(x, "branch1x1")]
        y = self.through(x, "branch3x3_1")
        parts += [self.through(y, "branch3x3_2a"), self.through(y, "branch3x3_2b")]
        z = self.through(x, "branch3x3dbl_1", "branch3x3dbl_2")
        parts += [self.through(z, "branch3x3dbl_3a"), self.through(z, "branch3x3dbl_3b")]
        return torch.cat([*parts, self.through(F.avg_pool2d(x, 3, 1, 1), "branch_pool")], 1)


class InceptionV3(nn.Module):
    """(N, 3, H, W) -> logits."""

    def __init__(self, num_classes: int, width: int = 32, stage_sizes: tuple[int, ...] = (3, 4, 2)) -> None:
        super().__init__()
        unit = width / 32
        self.Conv2d_1a_3x3 = BasicConv(3, width, 3, 2)
        self.Conv2d_2a_3x3 = BasicConv(width, width, 3)
        self.Conv2d_2b_3x3 = BasicConv(width, 2 * width, 3, padding=1)
        self.Conv2d_3b_1x1 = BasicConv(2 * width, int(80 * unit), 1)
        self.Conv2d_4a_3x3 = BasicConv(int(80 * unit), 6 * width, 3)
        self.inputs, self.mixed = 6 * width, list[str]()
        for letter, pool in zip("bcd"[: stage_sizes[0]], (32, 64, 64), strict=False):
            self._add(f"Mixed_5{letter}", InceptionA(self.inputs, unit, pool))
        self._add("Mixed_6a", InceptionB(self.inputs, unit))
        for letter, wide in zip("bcde"[: stage_sizes[1]], (128, 160, 160, 192), strict=False):
            self._add(f"Mixed_6{letter}", InceptionC(self.inputs, unit, wide))
        self._add("Mixed_7a", InceptionD(self.inputs, unit))
        for letter in "bc"[: stage_sizes[2]]:
            self._add(f"Mixed_7{letter}", InceptionE(self.inputs, unit))
        self.fc = nn.Linear(self.inputs, num_classes)

    def _add(self, name: str, block: Block) -> None:
        self.add_module(name, block)
        self.mixed.append(name)
        self.inputs = block.outputs

    def forward(self, image: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(image)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self.mixed:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
