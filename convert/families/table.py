"""The rules of every family, by the Flax class that defines its networks: one literal table."""

import flax.linen as nn

from jinv.models.densenet import DenseNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.mobilenet import MobileNetV2
from jinv.models.resnet import ResNet, ShortcutResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG, LinearVGG
from jinv_convert.families import (
    densenet,
    efficientnet_lite,
    mobilenet,
    resnet,
    resnet_cifar,
    resnet_preact,
    resnet_wide,
    squeezenet,
    vgg,
)
from jinv_convert.families.family import Family

FAMILIES: dict[type[nn.Module], Family] = {
    CaffeSqueezeNet: squeezenet.CAFFE,
    DenseNet: densenet.FAMILY,
    EfficientNetLite: efficientnet_lite.FAMILY,
    LinearVGG: vgg.LINEAR,
    MobileNetV2: mobilenet.FAMILY,
    ResNet: resnet.FAMILY,
    ResNetCifar: resnet_cifar.FAMILY,
    ResNetPreAct: resnet_preact.FAMILY,
    ResNetWide: resnet_wide.FAMILY,
    ShortcutResNet: resnet.SHORTCUT,
    SqueezeNet: squeezenet.FAMILY,
    VGG: vgg.FAMILY,
}
