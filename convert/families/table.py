"""The rules of every family, by the Flax class that defines its networks: one literal table."""

import flax.linen as nn

from jinv.models.densenet import DenseNet
from jinv.models.efficientnet_lite import EfficientNetLite
from jinv.models.googlenet import GoogLeNet
from jinv.models.inception import InceptionV3
from jinv.models.mobilenet import FlatMobileNetV2, MobileNetV2
from jinv.models.mobilenet_v1 import MobileNetV1, TimmMobileNetV1
from jinv.models.resnet import ResNet, ResNetD
from jinv.models.resnet_cifar import ResNetCifar
from jinv.models.squeezenet import CaffeSqueezeNet, SqueezeNet
from jinv.models.vgg import VGG
from jinv_convert.families import (
    densenet,
    efficientnet_lite,
    googlenet,
    inception,
    mobilenet,
    mobilenet_v1,
    resnet,
    resnet_cifar,
    squeezenet,
    vgg,
)
from jinv_convert.families.family import Family

FAMILIES: dict[type[nn.Module], Family] = {
    CaffeSqueezeNet: squeezenet.CAFFE,
    DenseNet: densenet.FAMILY,
    EfficientNetLite: efficientnet_lite.FAMILY,
    GoogLeNet: googlenet.FAMILY,
    InceptionV3: inception.FAMILY,
    FlatMobileNetV2: mobilenet.FLAT,
    MobileNetV2: mobilenet.FAMILY,
    MobileNetV1: mobilenet_v1.FAMILY,
    TimmMobileNetV1: mobilenet_v1.TIMM,
    ResNet: resnet.FAMILY,
    ResNetD: resnet.D,
    ResNetCifar: resnet_cifar.FAMILY,
    SqueezeNet: squeezenet.FAMILY,
    VGG: vgg.FAMILY,
}
