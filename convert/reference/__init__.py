"""The networks of `jinv.models` as torch modules: what validation, benchmarks and tests compare with.

    resnet, resnet_cifar, resnet_preact, resnet_shortcut, resnet_wide, vgg, mobilenet, mobilenet_v1, mobilenet_v3,
    densenet, googlenet, inception, efficientnet, efficientnet_lite, regnet, shufflenet, squeezenet   one file per family,
                 named as in `jinv/models/`; resnet_shortcut: the ResNets of kuangliu's names
    measure   what a torch network computes on an image: layers, statistics, gradients

The keys of a module's state dict are exactly those of the published files. Written beside the Flax definitions, not
derived from them, so that an error in one shows as a difference. May import torch and `jinv.models`. `parity` and
`validate` use it.
"""

import warnings
from dataclasses import fields

import flax.linen as flax_nn
from torch import Tensor, nn

from jinv.models import densenet as flax_densenet
from jinv.models import efficientnet as flax_efficientnet
from jinv.models import efficientnet_lite as flax_efficientnet_lite
from jinv.models import googlenet as flax_googlenet
from jinv.models import inception as flax_inception
from jinv.models import mobilenet as flax_mobilenet
from jinv.models import mobilenet_v1 as flax_mobilenet_v1
from jinv.models import mobilenet_v3 as flax_mobilenet_v3
from jinv.models import regnet as flax_regnet
from jinv.models import resnet as flax_resnet
from jinv.models import resnet_cifar as flax_resnet_cifar
from jinv.models import resnet_preact as flax_resnet_preact
from jinv.models import resnet_wide as flax_resnet_wide
from jinv.models import shufflenet as flax_shufflenet
from jinv.models import squeezenet as flax_squeezenet
from jinv.models import vgg as flax_vgg
from jinv.models.registry import get_architecture
from jinv_convert.reference import (
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
    resnet_shortcut,
    resnet_wide,
    shufflenet,
    squeezenet,
    vgg,
)

REFERENCES: dict[type[flax_nn.Module], type[nn.Module]] = {
    flax_densenet.DenseNet: densenet.DenseNet,
    flax_efficientnet.EfficientNet: efficientnet.EfficientNet,
    flax_efficientnet_lite.EfficientNetLite: efficientnet_lite.EfficientNetLite,
    flax_googlenet.GoogLeNet: googlenet.GoogLeNet,
    flax_inception.InceptionV3: inception.InceptionV3,
    flax_mobilenet.FlatMobileNetV2: mobilenet.FlatMobileNetV2,
    flax_mobilenet.MobileNetV2: mobilenet.MobileNetV2,
    flax_mobilenet_v3.MobileNetV3: mobilenet_v3.MobileNetV3,
    flax_regnet.RegNet: regnet.RegNet,
    flax_mobilenet_v1.MobileNetV1: mobilenet_v1.MobileNetV1,
    flax_mobilenet_v1.TimmMobileNetV1: mobilenet_v1.TimmMobileNetV1,
    flax_resnet.ResNet: resnet.ResNet,
    flax_resnet.ShortcutResNet: resnet_shortcut.ShortcutResNet,
    flax_resnet.ResNetD: resnet.ResNetD,
    flax_resnet_cifar.ResNetCifar: resnet_cifar.ResNetCifar,
    flax_resnet_preact.ResNetPreAct: resnet_preact.ResNetPreAct,
    flax_resnet_wide.ResNetWide: resnet_wide.ResNetWide,
    flax_shufflenet.ShuffleNetV2: shufflenet.ShuffleNetV2,
    flax_squeezenet.CaffeSqueezeNet: squeezenet.CaffeSqueezeNet,
    flax_squeezenet.SqueezeNet: squeezenet.SqueezeNet,
    flax_vgg.LinearVGG: vgg.LinearVGG,
    flax_vgg.VGG: vgg.VGG,
}
"""The torch module of every family, by the Flax class that defines its networks."""


def make_reference(name: str, num_classes: int | None = None) -> nn.Module:
    """The torch module of a registered architecture, in eval mode, with torch's own random weights."""
    architecture = get_architecture(name)
    return reference_for(architecture.make(architecture.num_classes if num_classes is None else num_classes))


def reference_for(module: flax_nn.Module) -> nn.Module:
    """The torch module with the same configuration as a Flax one: same fields, widths included."""
    # `remat` is how a gradient is computed, not what the network is.
    others = ("parent", "name", "remat")
    config = {field.name: getattr(module, field.name) for field in fields(module) if field.name not in others}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        network = REFERENCES[type(module)](**config).eval()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and layer.out_features == 0:
            network.set_submodule(name, NoHead())
    return network


class NoHead(nn.Module):
    """Stands for a last layer that is not there: (N, features) -> (N, 0), without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :0]
