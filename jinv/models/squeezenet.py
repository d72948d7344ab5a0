"""SqueezeNet 1.1 (Iandola et al. 2016), as torchvision has it and as its authors trained it in Caffe; no batch norm.

The Caffe weights run with TensorFlow's "SAME" convolutions at whatever size comes, and without a ReLU behind the last one.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jinv.models import ops, pooling
from jinv.models.efficientnet_lite import same_padding
from jinv.models.formulations import Padding
from jinv.models.layers import Conv, Head, Stats

# place in torchvision's Sequential, squeezed features, expanded features of each kind; a pool follows places 4 and 7
FIRES = (
    (3, 16, 64),
    (4, 16, 64),
    (6, 32, 128),
    (7, 32, 128),
    (9, 48, 192),
    (10, 48, 192),
    (11, 64, 256),
    (12, 64, 256),
)
POOLED = (0, 4, 7)


class Fire(nn.Module):
    """Squeeze 1x1, then expand 1x1 and 3x3 side by side."""

    squeezed: int
    expanded: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(Conv(self.squeezed, 1, use_bias=True, name="squeeze")(x))
        narrow = Conv(self.expanded, 1, use_bias=True, name="expand1x1")(x)
        wide = Conv(self.expanded, 3, use_bias=True, name="expand3x3")(x)
        return jnp.concatenate([nn.relu(narrow), nn.relu(wide)], axis=-1)


class SqueezeNet(nn.Module):
    """(N, H, W, 3) -> (logits, no statistics); torchvision's: an unpadded stem, pools that keep a last half window."""

    num_classes: int
    width: int = 64

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        x = nn.relu(Conv(self.width, 3, 2, self.stem_padding(image), use_bias=True, name="features_0")(image))
        x = self.pooled(x)
        for place, squeezed, expanded in FIRES:
            scaled = (max(features * self.width // 64, 1) for features in (squeezed, expanded))
            x = Fire(*scaled, name=f"features_{place}")(x)
            x = self.pooled(x) if place in POOLED else x
        x = Head(self.num_classes, 1, use_bias=True, name="classifier_1")(x)
        return ops.global_average_pool(self.activated(x)), ()

    def stem_padding(self, image: Array) -> Padding:
        """Of the first convolution."""
        return ops.NO_PADDING

    def pooled(self, x: Array) -> Array:
        """3x3 maxima, stride 2; of an even length the last window sees one pixel less, torch's `ceil_mode`."""
        return pooling.ceil_max_pool(x, window=3, stride=2)

    def activated(self, x: Array) -> Array:
        """What is averaged over the last convolution's map."""
        return nn.relu(x)


class CaffeSqueezeNet(SqueezeNet):
    """The same with a padded stem, pools of whole windows, and the mean of the last convolution itself."""

    def stem_padding(self, image: Array) -> Padding:
        """TensorFlow's "SAME" of this image."""
        rows, columns = (same_padding(length, 3, 2)[0] for length in image.shape[1:3])
        return rows, columns

    def pooled(self, x: Array) -> Array:
        """3x3 maxima, stride 2, "VALID"."""
        return pooling.max_pool(x, window=3, stride=2)

    def activated(self, x: Array) -> Array:
        """As it is."""
        return x
