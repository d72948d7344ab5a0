"""The rules of every family, by the Flax class that defines its networks: one literal table."""

import flax.linen as nn

from jinv.models.densenet import DenseNet
from jinv.models.efficientnet import EfficientNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.mobilenet_v3 import MobileNetV3
from jinv.models.regnet import RegNet
from jinv.models.resnet import ResNet, ResNetD, ShortcutResNet
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.resnet_preact import ResNetPreAct
from jinv.models.resnet_wide import ResNetWide
from jinv.models.shufflenet import ShuffleNetV2
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG, LinearVGG
from jinv_convert.families import (
    densenet,
    efficientnet,
    efficientnet_lite,
    googlenet,
    inception,
    mobilenet,
    mobilenet_v1,
    mobilenet_v3,
    regnet,
    resnet,
    resnet_cifar,
    resnet_preact,
    resnet_wide,
    shufflenet,
    squeezenet,
    vgg,
)
from jinv_convert.families.family import Family

FAMILIES: dict[type[nn.Module], Family] = {
    CaffeSqueezeNet: squeezenet.CAFFE,
    DenseNet: densenet.FAMILY,
    EfficientNet: efficientnet.FAMILY,
    EfficientNetLite: efficientnet_lite.FAMILY,
    FlatMobileNetV2: mobilenet.FLAT,
    GoogLeNet: googlenet.FAMILY,
    InceptionV3: inception.FAMILY,
    LinearVGG: vgg.LINEAR,
    MobileNetV1: mobilenet_v1.FAMILY,
    MobileNetV2: mobilenet.FAMILY,
    MobileNetV3: mobilenet_v3.FAMILY,
    RegNet: regnet.FAMILY,
    ResNet: resnet.FAMILY,
    ResNetCifar: resnet_cifar.FAMILY,
    ResNetD: resnet.D,
    ResNetPreAct: resnet_preact.FAMILY,
    ResNetWide: resnet_wide.FAMILY,
    ShortcutResNet: resnet.SHORTCUT,
    ShuffleNetV2: shufflenet.FAMILY,
    SqueezeNet: squeezenet.FAMILY,
    TimmMobileNetV1: mobilenet_v1.TIMM,
    VGG: vgg.FAMILY,
}
