"""The networks for CIFAR's 32-pixel images: rows of the registry, by repository; every one also has 100 outputs.

Their layers' names tell the repositories apart: kuangliu's `shortcut` and `linear` (suffix `_cifar`, of three stages `_b`,
"option B"), torchvision's `downsample` and `fc` (suffix `_fc`). VGGs with hidden layers are called after their width.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jinv.models.architecture import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD, Alike, Architecture
from jinv.models.resnet import ResNet, ShortcutResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from jinv.models.vgg import VGG, LinearVGG

POOLED = "a max-pool behind the 3x3 stem"
RAW = "shortcuts that project a block's input, not what is behind its first ReLU"

# Stages, and whether of bottlenecks.
DEEP: dict[int, tuple[tuple[int, ...], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
VGGS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _cifar(
    name: str, make: Callable[[int], nn.Module], min_size: int = 8, alike: tuple[str, str] | None = None
) -> Architecture:
    other = Alike(*alike) if alike else None
    return Architecture(name, make, 32, min_size, CIFAR_MEAN, CIFAR_STD, 10, class_names="cifar10", alike=other)


def _option_a(blocks_per_stage: int) -> Architecture:
    make = partial(ResNetCifar, blocks_per_stage=blocks_per_stage)
    name = f"resnet{6 * blocks_per_stage + 2}"
    return Architecture(name, make, 32, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names="cifar10")


def _three_stages(suffix: str, family: type[ResNet], blocks: int) -> Architecture:
    make = partial(family, stage_sizes=(blocks,) * 3, bottleneck=False, width=16, stem="3x3")
    return _cifar(f"resnet{6 * blocks + 2}_{suffix}", make)


def _four_times_wider(blocks: int) -> Architecture:
    make = partial(ResNet, stage_sizes=(blocks,) * 3, bottleneck=False, width=64, stem="3x3", stem_width=32)
    return _cifar(f"resnet{6 * blocks + 2}x4", make)


def _four_stages(suffix: str, family: type[ResNet], depth: int, width: int = 64) -> Architecture:
    sizes, bottleneck = DEEP[depth]
    make = partial(family, stage_sizes=sizes, bottleneck=bottleneck, width=width, stem="3x3")
    return _cifar(f"resnet{depth}_{suffix}", make)


def _pooled(depth: int) -> Architecture:
    sizes, bottleneck = DEEP[depth]
    make = partial(ResNet, stage_sizes=sizes, bottleneck=bottleneck, stem="3x3 pooled")
    return _cifar(f"resnet{depth}_fc_pooled", make, 16, alike=(f"resnet{depth}_fc", POOLED))


def _preact(
    suffix: str,
    depth: int,
    alike: tuple[str, str] | None = None,
    *,
    final_norm: bool = False,
    raw_shortcut: bool = False,
) -> Architecture:
    sizes, bottleneck = DEEP[depth]
    make = partial(ResNetPreAct, final_norm=final_norm, raw_shortcut=raw_shortcut)
    name = f"preactresnet{depth}"
    other = (name + alike[0], alike[1]) if alike else None
    return _cifar(name + suffix, partial(make, stage_sizes=sizes, bottleneck=bottleneck), alike=other)


def _wide(depth: int, factor: int) -> Architecture:
    make = partial(ResNetWide, blocks_per_stage=(depth - 4) // 6, width=16 * factor)
    return _cifar(f"wrn_{depth}_{factor}", make)


CIFAR: tuple[Architecture, ...] = (
    *(_option_a(blocks) for blocks in (3, 5, 7, 9, 18)),
    *(_three_stages("b", ShortcutResNet, blocks) for blocks in (3, 5, 7, 9, 18)),
    *(_three_stages("fc", ResNet, blocks) for blocks in (1, 2, 3, 5, 7, 9, 18)),
    *(_four_times_wider(blocks) for blocks in (1, 5)),
    *(_four_stages("cifar", ShortcutResNet, depth) for depth in DEEP),
    _four_stages("cifar_wide", ShortcutResNet, 18, width=320),
    *(_four_stages("fc", ResNet, depth) for depth in DEEP),
    *(_pooled(depth) for depth in (18, 34, 50)),
    *(_preact("", depth) for depth in (18, 34, 50, 101, 152)),
    *(_preact("_raw", depth, ("", RAW), raw_shortcut=True) for depth in (18, 34)),
    *(_preact("_bn", depth, final_norm=True) for depth in (18, 34, 50)),
    *(_preact("_bn_raw", depth, ("_bn", RAW), final_norm=True, raw_shortcut=True) for depth in (18, 34)),
    *(_wide(16, factor) for factor in (1, 2, 4, 8)),
    *(_wide(28, factor) for factor in (2, 4, 5, 10)),
    *(_wide(34, factor) for factor in (5, 10, 15, 20)),
    *(_wide(40, factor) for factor in (1, 2, 4)),
    _wide(70, 16),
    *(_cifar(f"vgg{depth}_bn_cifar", partial(LinearVGG, stage_sizes=sizes), 32) for depth, sizes in VGGS.items()),
    *(
        _cifar(f"vgg{depth}_bn_{hidden}", partial(VGG, stage_sizes=sizes, hidden=hidden, pooled=1), 32)
        for hidden in (512, 4096)
        for depth, sizes in VGGS.items()
    ),
)
"""Every network for CIFAR that has a name."""
